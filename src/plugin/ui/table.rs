//! Tables in kubectl's style: upper-case heads, three spaces, no borders. Lays out; prints nothing.

use super::human::harmless;

/// What stands in a cell that has no value.
pub const NONE: &str = "<none>";

/// Columns with a head, or pairs of name and value without one.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Table {
    head: Vec<&'static str>,
    rows: Vec<Vec<String>>,
}

impl Table {
    /// A table with these heads, in upper case.
    #[must_use]
    pub fn new(head: impl IntoIterator<Item = &'static str>) -> Self {
        Self { head: head.into_iter().collect(), rows: Vec::new() }
    }

    /// A list of names and values, without a head.
    #[must_use]
    pub fn pairs(pairs: impl IntoIterator<Item = (&'static str, String)>) -> Self {
        let rows = pairs.into_iter().map(|(name, value)| vec![format!("{name}:"), value]).collect();
        Self { head: Vec::new(), rows }
    }

    /// Adds a row. An empty cell is shown as `<none>`.
    #[must_use]
    pub fn row(mut self, cells: impl IntoIterator<Item = String>) -> Self {
        self.rows.push(cells.into_iter().collect());
        self
    }

    /// Adds rows.
    #[must_use]
    pub fn rows(self, rows: impl IntoIterator<Item = Vec<String>>) -> Self {
        rows.into_iter().fold(self, Self::row)
    }

    /// There is nothing to show.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// The table as text, each line ended.
    #[must_use]
    pub fn render(&self, with_head: bool) -> String {
        let head = (with_head && !self.head.is_empty()).then(|| self.head.iter().map(|cell| (*cell).to_owned()).collect());
        let lines: Vec<Vec<String>> =
            head.into_iter().chain(self.rows.iter().map(|row| row.iter().map(|c| shown(c)).collect())).collect();
        let columns = lines.iter().map(Vec::len).max().unwrap_or(0);
        let widths: Vec<usize> = (0..columns).map(|column| width_of(&lines, column)).collect();
        lines.iter().map(|line| laid_out(line, &widths)).collect()
    }
}

fn shown(cell: &str) -> String {
    if cell.is_empty() { NONE.to_owned() } else { harmless(cell).into_owned() }
}

fn width_of(lines: &[Vec<String>], column: usize) -> usize {
    lines.iter().filter_map(|line| line.get(column)).map(|cell| console::measure_text_width(cell)).max().unwrap_or(0)
}

fn laid_out(line: &[String], widths: &[usize]) -> String {
    let mut text = String::new();
    for (index, cell) in line.iter().enumerate() {
        text.push_str(cell);
        if index + 1 < line.len() {
            let padding = widths[index].saturating_sub(console::measure_text_width(cell)) + 3;
            text.push_str(&" ".repeat(padding));
        }
    }
    text.push('\n');
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_as_wide_as_their_widest_cell_and_lines_have_no_tail() {
        let table = Table::new(["ID", "TARGET", "AGE"]).row(["a-long-one".into(), String::new(), "5h".into()]).row([
            "b".into(),
            "über".into(),
            "2m".into(),
        ]);
        assert_eq!(table.render(true), "ID           TARGET   AGE\na-long-one   <none>   5h\nb            über     2m\n");
        assert_eq!(table.render(false), "a-long-one   <none>   5h\nb            über     2m\n");
    }

    #[test]
    fn a_cell_cannot_forge_a_row_or_a_colour() {
        assert_eq!(Table::new(["A"]).row(["x\nfake\x1b[2J".into()]).render(false), "x\\nfake\\u{1b}[2J\n");
    }

    #[test]
    fn pairs_stand_under_each_other() {
        assert_eq!(
            Table::pairs([("Version", "1".to_owned()), ("OS", "linux".to_owned())]).render(true),
            "Version:   1\nOS:        linux\n"
        );
    }
}
