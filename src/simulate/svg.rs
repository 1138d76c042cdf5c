//! The picture: for each autoscaler a panel with sessions, seats, and where seats were short.

use std::fmt::Write as _;

use super::report::{Outcome, quotient};
use super::world::{Point, Tally};

const WIDTH: u32 = 960;
const LEFT: u32 = 60;
const RIGHT: u32 = 20;
const TOP: u32 = 76;
const PANEL: u32 = 170;
const GAP: u32 = 44;
/// Points of a line.
const COLUMNS: u32 = 440;

/// Draws it.
pub(super) fn draw(outcome: &Outcome) -> String {
    let panels = u32::try_from(outcome.worlds.len()).unwrap_or(0);
    let height = TOP + panels * (PANEL + GAP);
    let columns: Vec<Vec<Point>> = outcome.worlds.iter().map(|tally| columns(&tally.points)).collect();
    let most = columns.iter().flatten().map(|point| point.seats.max(point.sessions + point.waiting)).max().unwrap_or(0);
    let scale = Scale { most: round_up(most.max(1)), seconds: outcome.events.length };
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {height}\" font-family=\"sans-serif\" font-size=\"12\">\n\
        <title>Sessions and seats: {title}</title>\n\
        <rect width=\"{WIDTH}\" height=\"{height}\" fill=\"#ffffff\"/>\n\
        <text x=\"{LEFT}\" y=\"20\" font-size=\"15\" fill=\"#1b1f24\">{title}</text>\n\
        <rect x=\"{LEFT}\" y=\"30\" width=\"12\" height=\"10\" fill=\"#b6d4fe\"/><text x=\"78\" y=\"39\" fill=\"#1b1f24\">sessions</text>\n\
        <path d=\"M150 35h14\" stroke=\"#1a7f37\" stroke-width=\"2\"/><text x=\"170\" y=\"39\" fill=\"#1b1f24\">seats of relays that serve</text>\n\
        <rect x=\"340\" y=\"30\" width=\"12\" height=\"10\" fill=\"#cf222e\"/><text x=\"358\" y=\"39\" fill=\"#1b1f24\">waiting for a seat</text>\n",
        title = escaped(&format!("{} under {}", outcome.trace, outcome.policy)),
    );
    for (index, (tally, columns)) in (0..).zip(outcome.worlds.iter().zip(&columns)) {
        panel(&mut svg, TOP + index * (PANEL + GAP), tally, columns, &scale);
    }
    svg + "</svg>\n"
}

struct Scale {
    most: u32,
    seconds: u32,
}

impl Scale {
    /// Tenths of a point from the left of the panel.
    fn x(column: u32, of: u32) -> String {
        tenths(u64::from(LEFT) * 10 + u64::from(WIDTH - LEFT - RIGHT) * 10 * u64::from(column) / u64::from(of.max(1)))
    }

    fn y(&self, top: u32, value: u32) -> String {
        let bottom = u64::from(top + PANEL) * 10;
        tenths(bottom - u64::from(PANEL) * 10 * u64::from(value.min(self.most)) / u64::from(self.most))
    }
}

fn tenths(value: u64) -> String {
    format!("{}.{}", value / 10, value % 10)
}

fn panel(svg: &mut String, top: u32, tally: &Tally, columns: &[Point], scale: &Scale) {
    let bottom = top + PANEL;
    let right = WIDTH - RIGHT;
    for part in 0..=4 {
        let value = scale.most * part / 4;
        let y = scale.y(top, value);
        let _ = writeln!(
            svg,
            "<path d=\"M{LEFT} {y}H{right}\" stroke=\"#e1e4e8\"/><text x=\"{}\" y=\"{y}\" dy=\"4\" text-anchor=\"end\" fill=\"#57606a\">{value}</text>",
            LEFT - 8
        );
    }
    let minutes = scale.seconds / 60;
    for part in 0..=6 {
        let (x, minute) = (Scale::x(part, 6), minutes * part / 6);
        let _ = writeln!(
            svg,
            "<text x=\"{x}\" y=\"{}\" text-anchor=\"middle\" fill=\"#57606a\">{}:{:02}</text>",
            bottom + 16,
            minute / 60,
            minute % 60
        );
    }
    let of = u32::try_from(columns.len()).unwrap_or(0);
    let steps = |value: &dyn Fn(&Point) -> u32| {
        let mut steps: Vec<(String, String)> = Vec::new();
        for (column, point) in (0..).zip(columns) {
            let (y, x) = (scale.y(top, value(point)), Scale::x(column + 1, of));
            match steps.last_mut().filter(|last| last.0 == y) {
                Some(last) => last.1 = x,
                None => steps.push((y, x)),
            }
        }
        steps.iter().fold(String::new(), |path, (y, x)| path + "V" + y + "H" + x)
    };
    let short = steps(&|point| if point.waiting > 0 { point.sessions + point.waiting } else { 0 });
    let _ = writeln!(svg, "<path d=\"M{LEFT} {bottom}{short}V{bottom}Z\" fill=\"#cf222e\"/>");
    let sessions = steps(&|point| point.sessions);
    let _ = writeln!(svg, "<path d=\"M{LEFT} {bottom}{sessions}V{bottom}Z\" fill=\"#b6d4fe\"/>");
    let seats = steps(&|point| point.seats);
    let first = columns.first().map_or_else(String::new, |point| scale.y(top, point.seats));
    let _ = writeln!(svg, "<path d=\"M{LEFT} {first}{seats}\" fill=\"none\" stroke=\"#1a7f37\" stroke-width=\"1.5\"/>");
    let _ = writeln!(
        svg,
        "<text x=\"{LEFT}\" y=\"{}\" fill=\"#1b1f24\">{}: {} seats short at worst, {} gave up, {} relay-hours, {} sessions cut</text>",
        top - 6,
        escaped(tally.name),
        tally.short,
        tally.gave_up,
        quotient(tally.relay_seconds, 3600),
        tally.cut,
    );
}

/// As many points as fit: of each stretch the most sessions and waiters, and the fewest seats.
fn columns(points: &[Point]) -> Vec<Point> {
    let stretch = points.len().div_ceil(COLUMNS as usize).max(1);
    let worst = |points: &[Point]| Point {
        sessions: points.iter().map(|point| point.sessions).max().unwrap_or(0),
        waiting: points.iter().map(|point| point.waiting).max().unwrap_or(0),
        seats: points.iter().map(|point| point.seats).min().unwrap_or(0),
    };
    points.chunks(stretch).map(worst).collect()
}

/// To a number that four lines divide well.
fn round_up(most: u32) -> u32 {
    let unit = [4, 20, 40, 100, 200, 400, 1000].into_iter().find(|unit| most <= unit * 10).unwrap_or(4000);
    most.div_ceil(unit) * unit
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}
