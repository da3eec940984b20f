//! Tables for people: columns of text, as narrow as they can be.

use comfy_table::{CellAlignment, presets};

use super::output::harmless;

/// A table.
#[derive(Debug)]
pub(super) struct Table(comfy_table::Table);

impl Table {
    /// A table with these headings; none for one without.
    pub(super) fn new(headings: &[&str]) -> Self {
        let mut table = comfy_table::Table::new();
        table.load_preset(presets::NOTHING);
        if !headings.is_empty() {
            table.set_header(headings.iter().map(|heading| heading.to_uppercase()));
        }
        Table(table)
    }

    /// Adds a row. What the cells say cannot act on a terminal.
    pub(super) fn row<T: AsRef<str>>(&mut self, cells: impl IntoIterator<Item = T>) {
        self.0.add_row(cells.into_iter().map(|cell| harmless(cell.as_ref())));
    }

    /// Puts the figures of these columns to the right.
    pub(super) fn figures(&mut self, columns: &[usize]) {
        for column in columns {
            if let Some(column) = self.0.column_mut(*column) {
                column.set_cell_alignment(CellAlignment::Right);
            }
        }
    }
}

impl std::fmt::Display for Table {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // Every cell has a blank on either side; the first column needs none before it.
        let lines = self.0.lines();
        lines
            .map(|line| line.trim_end().to_owned())
            .try_for_each(|line| writeln!(formatter, "{}", line.strip_prefix(' ').unwrap_or(&line)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_aligned_and_cells_harmless() {
        let mut table = Table::new(&["name", "size"]);
        table.row(["a\u{1b}[0m", "1"]);
        table.row(["bb", "22"]);
        table.figures(&[1]);
        assert_eq!(table.to_string(), "NAME        SIZE\na\\u{1b}[0m     1\nbb            22\n");
    }
}
