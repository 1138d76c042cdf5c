//! One metric out of Prometheus' text format: the sum of its series. Strict, since a number that was misread could have a
//! relay deleted: what is not certainly right is refused, with the reason.

use std::collections::HashSet;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};

/// Longest text, in bytes.
pub const MAX_BYTES: usize = 1024 * 1024;
/// Longest line, in bytes.
const MAX_LINE: usize = 64 * 1024;
/// Most series of the metric.
const MAX_SERIES: usize = 10_000;

/// Why nothing was learnt from a text.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unreadable {
    /// It, or a line, or the number of series, is above the limits.
    #[error("its text is too long")]
    TooLarge,
    /// A line of the metric is not in the format, or the text ends within a line.
    #[error("its text is not in Prometheus' format")]
    Malformed,
    /// The metric is not there.
    #[error("the metric is not in its text")]
    Missing,
    /// The same series stands there twice.
    #[error("a series of the metric stands in its text twice")]
    Duplicate,
    /// The metric is a counter or of another type whose value is not how many there are now.
    #[error("the metric is not a gauge")]
    NotAGauge,
    /// A value has a time of its own: it may be of long ago.
    #[error("a value of the metric has a time of its own")]
    Dated,
    /// A value is NaN or infinite.
    #[error("a value of the metric is not a number")]
    NotANumber,
    /// A value is below zero.
    #[error("a value of the metric is negative")]
    Negative,
}

/// Reads a text that comes in pieces.
#[derive(Debug)]
pub struct Reader<'a> {
    metric: &'a str,
    /// A line that has not ended.
    line: Vec<u8>,
    bytes: usize,
    sum: f64,
    /// Hashes of the labels of the series so far. Two that collide are refused as one: that is the safe side.
    series: HashSet<u64>,
}

impl<'a> Reader<'a> {
    /// Looks for this metric.
    pub fn new(metric: &'a str) -> Self {
        Self { metric, line: Vec::new(), bytes: 0, sum: 0.0, series: HashSet::new() }
    }

    /// Takes what has come.
    pub fn feed(&mut self, bytes: &[u8]) -> Result<(), Unreadable> {
        self.bytes += bytes.len();
        if self.bytes > MAX_BYTES {
            return Err(Unreadable::TooLarge);
        }
        for piece in bytes.split_inclusive(|byte| *byte == b'\n') {
            self.line.extend_from_slice(piece);
            if self.line.len() > MAX_LINE {
                return Err(Unreadable::TooLarge);
            }
            if piece.ends_with(b"\n") {
                let line = std::mem::take(&mut self.line);
                self.end_line(line.trim_ascii())?;
            }
        }
        Ok(())
    }

    /// The sum of the metric's series, once the text has ended.
    pub fn end(self) -> Result<f64, Unreadable> {
        if !self.line.is_empty() {
            return Err(Unreadable::Malformed);
        }
        if self.series.is_empty() { Err(Unreadable::Missing) } else { Ok(self.sum) }
    }

    fn end_line(&mut self, line: &[u8]) -> Result<(), Unreadable> {
        if let Some(comment) = line.strip_prefix(b"#") {
            return self.comment(comment);
        }
        let Some(rest) = line.strip_prefix(self.metric.as_bytes()) else { return Ok(()) };
        if rest.first().is_some_and(|byte| !matches!(byte, b'{' | b' ' | b'\t')) {
            // Another metric, whose name begins alike.
            return Ok(());
        }
        let rest = std::str::from_utf8(rest).map_err(|_| Unreadable::Malformed)?;
        let (labels, value) = labels(rest.trim_start()).ok_or(Unreadable::Malformed)?;
        self.sum += number(value)?;
        let mut hasher = DefaultHasher::new();
        labels.hash(&mut hasher);
        if !self.series.insert(hasher.finish()) {
            return Err(Unreadable::Duplicate);
        }
        if self.series.len() > MAX_SERIES { Err(Unreadable::TooLarge) } else { Ok(()) }
    }

    /// Of comments, only the type of the metric says anything.
    fn comment(&self, comment: &[u8]) -> Result<(), Unreadable> {
        let mut words = comment.split(u8::is_ascii_whitespace).filter(|word| !word.is_empty());
        if words.next() != Some(b"TYPE") || words.next() != Some(self.metric.as_bytes()) {
            return Ok(());
        }
        match words.next() {
            Some(b"gauge" | b"untyped" | b"unknown") => Ok(()),
            _ => Err(Unreadable::NotAGauge),
        }
    }
}

/// A value, and nothing behind it.
fn number(text: &str) -> Result<f64, Unreadable> {
    let mut words = text.split_ascii_whitespace();
    let value: f64 = words.next().and_then(|word| word.parse().ok()).ok_or(Unreadable::Malformed)?;
    match words.next() {
        None => {}
        Some(time) if time.parse::<i64>().is_ok() && words.next().is_none() => return Err(Unreadable::Dated),
        Some(_) => return Err(Unreadable::Malformed),
    }
    if !value.is_finite() {
        Err(Unreadable::NotANumber)
    } else if value < 0.0 {
        Err(Unreadable::Negative)
    } else {
        Ok(value)
    }
}

/// The labels of a series, sorted, and what comes after them.
fn labels(text: &str) -> Option<(Vec<(&str, String)>, &str)> {
    let Some(mut rest) = text.strip_prefix('{') else { return Some((vec![], text)) };
    let mut labels = Vec::new();
    loop {
        rest = rest.trim_start();
        if let Some(after) = rest.strip_prefix('}') {
            labels.sort_unstable();
            let twice = labels.windows(2).any(|pair: &[(&str, String)]| pair[0].0 == pair[1].0);
            return (!twice).then_some((labels, after));
        }
        let (name, after) = rest.split_once('=')?;
        let (value, after) = quoted(after.trim_start())?;
        let name = name.trim_end();
        let is_name = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
        if name.is_empty() || name.as_bytes()[0].is_ascii_digit() || !name.bytes().all(is_name) {
            return None;
        }
        labels.push((name, value));
        rest = after.trim_start();
        match rest.strip_prefix(',') {
            Some(after) => rest = after,
            None if rest.starts_with('}') => {}
            None => return None,
        }
    }
}

/// A text in quotes, and what comes after it.
fn quoted(text: &str) -> Option<(String, &str)> {
    let text = text.strip_prefix('"')?;
    let (mut value, mut letters) = (String::new(), text.char_indices());
    while let Some((at, letter)) = letters.next() {
        match letter {
            '"' => return Some((value, &text[at + 1..])),
            '\\' => value.push(match letters.next()?.1 {
                'n' => '\n',
                letter @ ('\\' | '"') => letter,
                _ => return None,
            }),
            letter => value.push(letter),
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn read(text: &str) -> Result<f64, Unreadable> {
        let mut reader = Reader::new("rooms");
        reader.feed(text.as_bytes())?;
        reader.end()
    }

    #[test]
    fn the_series_of_the_metric_are_added_up() {
        for (text, expected) in [
            ("rooms 3\n", 3.0),
            ("rooms 0\n", 0.0),
            ("\trooms \t 2.5e1 \r\n", 25.0),
            ("# HELP rooms How many.\n# TYPE rooms gauge\nrooms{} 1\n\nother NaN\nrooms_total -7 x\n", 1.0),
            ("rooms{kind=\"a\"} 1\nrooms{kind=\"b\",} 2\nrooms { kind = \"}\" , of = \"\\\"\\\\\\n\" } 4\n", 7.0),
            ("# TYPE other counter\n#EOF\nrooms +1\n", 1.0),
            ("rooms -0\n", 0.0),
        ] {
            assert_eq!(read(text), Ok(expected), "{text}");
        }
    }

    #[test]
    fn what_is_not_certainly_right_is_refused() {
        use Unreadable::{Dated, Duplicate, Malformed, Missing, Negative, NotAGauge, NotANumber, TooLarge};
        for (text, expected) in [
            ("", Missing),
            ("<html>\n", Missing),
            ("rooms_now 1\n", Missing),
            ("rooms 1", Malformed),
            ("rooms\n", Malformed),
            ("rooms one\n", Malformed),
            ("rooms 1 2 3\n", Malformed),
            ("rooms 1 # {trace=\"x\"} 1\n", Malformed),
            ("rooms{ 1\n", Malformed),
            ("rooms{a} 1\n", Malformed),
            ("rooms{a=1} 1\n", Malformed),
            ("rooms{a=\"\\x\"} 1\n", Malformed),
            ("rooms{a=\"1\" b=\"2\"} 1\n", Malformed),
            ("rooms{1a=\"1\"} 1\n", Malformed),
            ("rooms{a=\"1\",a=\"1\"} 1\n", Malformed),
            ("rooms{,} 1\n", Malformed),
            ("rooms 0x10\n", Malformed),
            ("rooms 1\nrooms{} 1\n", Duplicate),
            ("rooms{a=\"1\",b=\"2\"} 1\nrooms{b=\"2\",a=\"1\"} 1\n", Duplicate),
            ("# TYPE rooms counter\nrooms 1\n", NotAGauge),
            ("# TYPE rooms\nrooms 1\n", NotAGauge),
            ("rooms 1 1700000000000\n", Dated),
            ("rooms NaN\n", NotANumber),
            ("rooms +Inf\n", NotANumber),
            ("rooms 1\nrooms{a=\"1\"} -1\n", Negative),
        ] {
            assert_eq!(read(text), Err(expected), "{text}");
        }
        assert_eq!(read(&format!("rooms{{a=\"{}\"}} 1\n", "x".repeat(MAX_LINE))), Err(TooLarge));
        assert_eq!(read(&"#\n".repeat(MAX_BYTES / 2 + 1)), Err(TooLarge));
        let many: Vec<String> = (0..=MAX_SERIES).map(|of| format!("rooms{{a=\"{of}\"}} 1\n")).collect();
        assert_eq!(read(&many.concat()), Err(TooLarge));
        let mut bytes = Reader::new("rooms");
        assert_eq!(bytes.feed(b"rooms{a=\"\xff\"} 1\n"), Err(Malformed));
    }

    proptest! {
        /// Whatever stands there, what comes out is a number of sessions or nothing, and the same however it was cut.
        #[test]
        fn no_text_gives_what_is_no_number(
            lines in proptest::collection::vec("(rooms|other|# TYPE rooms|)(\\{(a=\"[^\"]{0,3}\",?)?\\})? ?(gauge|NaN|[-+]?(Inf|[0-9]{0,4}(\\.[0-9]+)?(e[0-9]{1,3})?))?( [0-9]+)?\n?", 0..6),
            size in 1..9_usize,
        ) {
            let text = lines.concat();
            let whole = read(&text);
            if let Ok(sum) = whole {
                prop_assert!(sum >= 0.0 && !sum.is_nan());
            }
            let mut reader = Reader::new("rooms");
            let cut = text.as_bytes().chunks(size).try_for_each(|piece| reader.feed(piece)).and_then(|()| reader.end());
            prop_assert_eq!(cut, whole);
        }

        /// How many there are is what was written, whatever stands beside it.
        #[test]
        fn what_was_written_is_read(values in proptest::collection::vec(0..100_000_u32, 1..20), beside in "[a-z]{1,8} -?[0-9]{1,3}") {
            let series = values.iter().enumerate().map(|(of, value)| format!("rooms{{of=\"{of}\"}} {value}\n{beside}x\n"));
            let text: String = series.collect();
            prop_assert_eq!(read(&text), Ok(values.iter().copied().map(f64::from).sum()));
        }
    }
}
