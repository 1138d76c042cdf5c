//! The demo's table.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::time::Duration;

use crate::wire::session::Rung;

/// One session.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Row {
    pub(super) city: &'static str,
    pub(super) guest: &'static str,
    pub(super) session: String,
    pub(super) region: String,
    /// From what the lobby knew how far it is.
    pub(super) rung: Rung,
    /// What it made of that, in milliseconds.
    pub(super) estimate_ms: Option<f64>,
    /// The next best region that could have taken the session, and how far that is thought to be.
    pub(super) runner_up: Option<(String, Option<f64>)>,
    pub(super) messages: u32,
    pub(super) bytes: u64,
    pub(super) p50: Duration,
    pub(super) p99: Duration,
}

/// The value below which `percent` of the sorted times lie (nearest rank).
pub(super) fn percentile(times: &mut [Duration], percent: usize) -> Duration {
    times.sort_unstable();
    let rank = (times.len() * percent).div_ceil(100);
    times.get(rank.saturating_sub(1)).copied().unwrap_or_default()
}

/// The table and its footer.
pub(super) fn render(rows: &[Row]) -> String {
    let head = [
        "city",
        "guest in",
        "session",
        "known by",
        "region chosen",
        "est. ms",
        "runner-up",
        "est. ms",
        "messages",
        "p50 ms",
        "p99 ms",
    ];
    let right = [false, false, false, false, false, true, false, true, true, true, true];
    let cells: Vec<[String; 11]> = rows.iter().map(row).collect();
    let mut widths = head.map(|title| title.chars().count());
    for row in &cells {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = (*width).max(cell.chars().count());
        }
    }
    let mut text = String::new();
    for line in std::iter::once(&head.map(ToOwned::to_owned)).chain(&cells) {
        let mut out = String::new();
        for ((cell, width), right) in line.iter().zip(widths).zip(right) {
            let _ = if right { write!(out, "{cell:>width$}  ") } else { write!(out, "{cell:<width$}  ") };
        }
        let _ = writeln!(text, "{}", out.trim_end());
    }
    text + &footer(rows)
}

fn row(row: &Row) -> [String; 11] {
    let (runner_up, runner_up_ms) =
        row.runner_up.as_ref().map_or(("-".to_owned(), String::new()), |(region, ms)| (region.clone(), whole(*ms)));
    [
        row.city.to_owned(),
        row.guest.to_owned(),
        row.session.chars().take(8).collect(),
        row.rung.as_str().to_owned(),
        row.region.clone(),
        whole(row.estimate_ms),
        runner_up,
        runner_up_ms,
        row.messages.to_string(),
        milliseconds(row.p50),
        milliseconds(row.p99),
    ]
}

fn footer(rows: &[Row]) -> String {
    let regions: BTreeSet<&str> = rows.iter().map(|row| row.region.as_str()).collect();
    let messages: u64 = rows.iter().map(|row| u64::from(row.messages)).sum();
    let bytes: u64 = rows.iter().map(|row| row.bytes).sum();
    format!(
        "\n{} sessions in {} regions; {messages} messages, {bytes} bytes: each byte arrived once and in order.\n\
        Estimates are of the way from the city to the region. p50 and p99 were measured between host and guest through the\n\
        relay, all within this cluster: local, not geographic.\n",
        rows.len(),
        regions.len(),
    )
}

fn whole(ms: Option<f64>) -> String {
    ms.map_or_else(|| "?".to_owned(), |ms| format!("{ms:.0}"))
}

fn milliseconds(time: Duration) -> String {
    format!("{:.2}", time.as_secs_f64() * 1000.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_is_aligned_and_says_that_latency_is_local() {
        let tokyo = Row {
            city: "Tokyo",
            guest: "Dubai",
            session: "AbCdEfGhIjKl".to_owned(),
            region: "asia-northeast1".to_owned(),
            rung: Rung::Coordinates,
            estimate_ms: Some(2.4),
            runner_up: Some(("asia-south1".to_owned(), Some(121.9))),
            messages: 400,
            bytes: 7_000_000,
            p50: Duration::from_micros(412),
            p99: Duration::from_micros(12_345),
        };
        let sao = Row {
            city: "São Paulo",
            region: "southamerica-east1".to_owned(),
            rung: Rung::DeclaredOrder,
            estimate_ms: None,
            runner_up: None,
            ..tokyo.clone()
        };
        let expected = "\
city       guest in  session   known by       region chosen       est. ms  runner-up    est. ms  messages  p50 ms  p99 ms
Tokyo      Dubai     AbCdEfGh  coordinates    asia-northeast1           2  asia-south1      122       400    0.41   12.35
São Paulo  Dubai     AbCdEfGh  declaredOrder  southamerica-east1        ?  -                          400    0.41   12.35

2 sessions in 2 regions; 800 messages, 14000000 bytes: each byte arrived once and in order.
Estimates are of the way from the city to the region. p50 and p99 were measured between host and guest through the
relay, all within this cluster: local, not geographic.
";
        assert_eq!(render(&[tokyo, sao]), expected);
    }

    #[test]
    fn percentiles_are_of_the_nearest_rank() {
        let ms = Duration::from_millis;
        let mut times: Vec<Duration> = (1..=200).rev().map(ms).collect();
        assert_eq!((percentile(&mut times, 50), percentile(&mut times, 99)), (ms(100), ms(198)));
        assert_eq!(percentile(&mut [ms(7)], 99), ms(7));
        assert_eq!(percentile(&mut [], 50), Duration::ZERO);
    }
}
