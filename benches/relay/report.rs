//! The figures: told as they come, their medians printed as tables at the end.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io::{Write as _, stderr, stdout};

use crate::Args;
use crate::server::Kind;

/// What was measured, in order, and what it means.
const ABOUT: [(&str, &str); 5] = [
    ("saturation", "Saturation: 50 rooms × 5 members, 256 B; each has 16 messages under way that not all have heard"),
    ("small", "Fixed rate: 100 rooms × 5 members × 10 messages/s × 256 B"),
    ("large", "Fixed rate: 20 rooms × 20 members × 5 messages/s × 1 KiB"),
    ("idle", "Many idle connections, five a room, 64 handshakes at a time"),
    ("highest", "Highest rate of 100 rooms × 5 × 256 B with p99 under 50 ms (at most two runs)"),
];

/// One row: its name, and by server what each run gave.
struct Figure {
    name: &'static str,
    runs: BTreeMap<&'static str, Vec<f64>>,
}

pub(crate) struct Report {
    args: Args,
    /// By measurement and place in it.
    figures: BTreeMap<(String, usize), Figure>,
    failures: Vec<String>,
}

impl Report {
    pub(crate) fn new(args: &Args) -> Self {
        Self { args: args.clone(), figures: BTreeMap::new(), failures: Vec::new() }
    }

    /// A server that cannot take a load is told, and the others go on.
    pub(crate) fn add(
        &mut self,
        kind: Kind,
        what: &str,
        measured: anyhow::Result<Vec<(&'static str, f64)>>,
    ) -> anyhow::Result<()> {
        let mut line = format!("{what:<10}  {:<18}", kind.name());
        match measured {
            Ok(figures) => {
                for (at, (name, value)) in figures.into_iter().enumerate() {
                    write!(line, "  {name} {}", shown(value))?;
                    let place =
                        self.figures.entry((what.to_owned(), at)).or_insert(Figure { name, runs: BTreeMap::new() });
                    place.runs.entry(kind.name()).or_default().push(value);
                }
            }
            Err(error) => {
                write!(line, "  FAILED: {error:#}")?;
                self.failures.push(format!("{error:#}"));
            }
        }
        writeln!(stderr(), "{line}")?;
        Ok(())
    }

    /// Prints the table. Fails if nothing could be measured.
    pub(crate) fn finish(self) -> anyhow::Result<()> {
        anyhow::ensure!(!self.figures.is_empty(), "nothing could be measured");
        write!(stdout(), "{}", self.table()?)?;
        Ok(())
    }

    fn table(&self) -> anyhow::Result<String> {
        let mut text = String::new();
        let servers: Vec<&str> = self.args.servers.iter().map(|kind| kind.name()).collect();
        writeln!(
            text,
            "Medians of {} runs in turns of {} s, lowest to highest in brackets.",
            self.args.runs(),
            self.args.seconds()
        )?;
        for (what, about) in ABOUT.iter().filter(|(what, _)| self.args.what().iter().any(|wanted| wanted == what)) {
            writeln!(text, "\n**{about}**\n\n| | {} |\n|---|{}", servers.join(" | "), "---|".repeat(servers.len()))?;
            for (_, figure) in self.figures.iter().filter(|((measured, _), _)| measured == what) {
                let cells =
                    servers.iter().map(|server| figure.runs.get(server).map_or("–".to_owned(), |runs| cell(runs)));
                writeln!(text, "| {} | {} |", figure.name, cells.collect::<Vec<_>>().join(" | "))?;
            }
        }
        for failure in &self.failures {
            writeln!(text, "\nFailed: {failure}")?;
        }
        Ok(text)
    }
}

fn cell(runs: &[f64]) -> String {
    let mut sorted = runs.to_vec();
    sorted.sort_by(f64::total_cmp);
    let at = |place: usize| sorted.get(place).copied().map(shown).unwrap_or_default();
    if sorted.len() == 1 {
        return at(0);
    }
    format!("{} ({}–{})", at(sorted.len() / 2), at(0), at(sorted.len() - 1))
}

/// Three digits that count, thousands apart.
fn shown(value: f64) -> String {
    if value < 100.0 {
        return format!("{value:.2}");
    }
    let digits = format!("{value:.0}");
    let mut text = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at) % 3 == 0 {
            text.push(',');
        }
        text.push(digit);
    }
    text
}
