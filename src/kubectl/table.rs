//! Columns for people, as kubectl prints them.

/// Between two columns.
const GAP: &str = "   ";

/// A table; the first row is its head.
#[derive(Debug)]
pub(super) struct Table(Vec<Vec<String>>);

impl Table {
    pub(super) fn new(head: &[&str]) -> Self {
        Self(vec![head.iter().map(|cell| (*cell).to_owned()).collect()])
    }

    pub(super) fn row(&mut self, cells: Vec<String>) {
        self.0.push(cells);
    }

    /// Its lines; nothing if there is nothing below the head. The last column is as wide as it is.
    pub(super) fn render(&self) -> String {
        let Self(rows) = self;
        if rows.len() < 2 {
            return String::new();
        }
        let rows: Vec<Vec<String>> = rows.iter().map(|row| row.iter().map(|cell| harmless(cell)).collect()).collect();
        let width = |column: usize| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or_default();
        let widths: Vec<usize> = (0..rows[0].len()).map(width).collect();
        let line = |row: &Vec<String>| {
            let cells: Vec<String> = row.iter().zip(&widths).map(|(cell, width)| format!("{cell:width$}")).collect();
            format!("{}\n", cells.join(GAP).trim_end())
        };
        rows.iter().map(line).collect()
    }
}

/// What stands in objects must not write on the screen.
pub(super) fn harmless(text: &str) -> String {
    text.chars().map(|character| if character.is_control() { ' ' } else { character }).collect()
}

/// A time span as kubectl writes it: two units at most.
pub(super) fn span(seconds: i64) -> String {
    let seconds = seconds.max(0);
    let (minutes, hours, days) = (seconds / 60, seconds / 3600, seconds / 86_400);
    match seconds {
        0..120 => format!("{seconds}s"),
        120..3600 => format!("{minutes}m{}s", seconds % 60),
        3600..172_800 => format!("{hours}h{}m", minutes % 60),
        _ => format!("{days}d{}h", hours % 24),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_as_wide_as_what_stands_in_them_and_write_nothing_else() {
        let mut table = Table::new(&["A", "LONG"]);
        assert_eq!(table.render(), "");
        table.row(vec!["größer".to_owned(), "\u{1b}[2Jx".to_owned()]);
        assert_eq!(table.render(), "A        LONG\ngrößer    [2Jx\n");
    }

    #[test]
    fn spans_have_two_units() {
        for (seconds, text) in
            [(-5, "0s"), (119, "119s"), (290, "4m50s"), (7_260, "2h1m"), (172_799, "47h59m"), (180_000, "2d2h")]
        {
            assert_eq!(span(seconds), text);
        }
    }
}
