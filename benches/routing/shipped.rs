//! The numbers that are shipped: fitted to everything that was measured, and written as Rust.

use std::fmt::Write as _;
use std::path::Path;

use anyhow::Context as _;
use convene::decide::geo::hubs::HUBS;
use convene::decide::geo::{Fitted, Network, network};

use crate::data::{AWS_2025, CLOUD_2022, Measured};
use crate::fit::fit;

/// Writes the file.
pub(crate) fn write(root: &Path) -> anyhow::Result<()> {
    let path = root.join("src/decide/geo/fitted.rs");
    std::fs::write(&path, render()?).with_context(|| format!("{} cannot be written", path.display()))
}

/// Fails when the shipped numbers are not what these measurements and links give. By a millisecond they may differ: the
/// sine of another machine's library can turn a tie between two ways.
pub(crate) fn check() -> anyhow::Result<()> {
    let again = Network::new(&fitted()?)?;
    for (from, to) in (0..HUBS.len()).flat_map(|from| (0..from).map(move |to| (from, to))) {
        let (shipped, again) = (network().between_ms(from, to), again.between_ms(from, to));
        let (from, to) = (HUBS[from].code, HUBS[to].code);
        anyhow::ensure!(
            (shipped - again).abs() < 1.0,
            "{from}-{to} takes {shipped:.1} ms in fitted.rs, and {again:.1} ms by the fit: run `make fit-routing`"
        );
    }
    Ok(())
}

fn fitted() -> anyhow::Result<Fitted> {
    fit(&Measured::of(&[CLOUD_2022, AWS_2025], |_| true)?)
}

fn render() -> anyhow::Result<String> {
    let fitted = fitted()?;
    let mut text = format!(
        "//! The numbers of the network of hubs. Written by `make fit-routing`; not to be edited by hand.\n\n\
         use super::{{Fitted, Link}};\n\n\
         /// What was fitted.\n\
         pub(super) fn fitted() -> Fitted {{\n    \
         let link = |&(from, to, ms), seldom| Link {{ ends: [from, to], ms, seldom }};\n    \
         let used = USED.iter().map(|ends| link(ends, false));\n    \
         let links = used.chain(SELDOM.iter().map(|ends| link(ends, true))).collect();\n    \
         Fitted {{ access_ms: {:.1}, leg_ms_per_km: {:.4}, links }}\n}}\n",
        fitted.access_ms, fitted.leg_ms_per_km
    );
    table(&mut text, "USED", "Ends and round trips, ms, of links that carry traffic", &fitted, false);
    table(&mut text, "SELDOM", "The same of links over which networks seldom exchange traffic", &fitted, true);
    Ok(text)
}

fn table(text: &mut String, name: &str, what: &str, fitted: &Fitted, seldom: bool) {
    let links: Vec<_> = fitted.links.iter().filter(|link| link.seldom == seldom).collect();
    let _ = write!(text, "\n/// {what}.\n#[rustfmt::skip]\nconst {name}: &[(&str, &str, f64)] = &[\n");
    for line in links.chunks(5) {
        let cells = line.iter().map(|link| format!("(\"{}\", \"{}\", {:.1})", link.ends[0], link.ends[1], link.ms));
        let _ = writeln!(text, "    {},", cells.collect::<Vec<_>>().join(", "));
    }
    text.push_str("];\n");
}
