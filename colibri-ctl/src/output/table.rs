//! Aligned rows of at most [`COLUMNS`] columns.

use crate::text::{clean, fit, pad, pad_left, width, COLUMNS};

use super::Style;

/// A column: its heading and the most columns of the screen that it takes.
pub struct Column {
    /// Heading.
    pub name: &'static str,
    /// Most columns; the last column takes what is left instead.
    pub most: usize,
    /// Numbers stand at the right.
    pub right: bool,
}

/// A column of text.
#[must_use]
pub const fn left(name: &'static str, most: usize) -> Column {
    let right = false;
    Column { name, most, right }
}

/// A column of numbers.
#[must_use]
pub const fn right(name: &'static str, most: usize) -> Column {
    let right = true;
    Column { name, most, right }
}

/// The headings and the rows as cells, each padded to the width of its column, so that they fit into
/// `columns_all` with two blanks in between. The `most` of all columns but the last must leave room for that
/// one. Cells are cleaned here.
#[must_use]
pub fn cells<const N: usize>(
    columns: &[Column; N],
    rows: &[[String; N]],
    columns_all: usize,
) -> Vec<[String; N]> {
    let mut lines = vec![columns.each_ref().map(|c| c.name.to_owned())];
    lines.extend(rows.iter().map(|row| row.each_ref().map(|c| clean(c))));
    let mut left = columns_all;
    let mut widths = [0; N];
    for (at, column) in columns.iter().enumerate() {
        let most = if at + 1 == N { left } else { column.most };
        let widest = lines.iter().map(|l| width(&l[at])).max().unwrap_or(0);
        widths[at] = widest.min(most);
        left = left.saturating_sub(widths[at] + 2);
    }
    for line in &mut lines {
        for (at, cell) in line.iter_mut().enumerate() {
            let fitting = fit(cell, widths[at]);
            *cell = match columns[at].right {
                true => pad_left(&fitting, widths[at]),
                false => pad(&fitting, widths[at]),
            };
        }
    }
    lines
}

/// Draws the rows under their headings, two blanks between columns, each as wide as its content.
#[must_use]
pub fn draw<const N: usize>(columns: &[Column; N], rows: &[[String; N]], style: &Style) -> String {
    let mut out = String::new();
    for cells in cells(columns, rows, COLUMNS) {
        let words = cells.each_ref().map(|c| style.word(c.trim(), c));
        out.push_str(words.join("  ").trim_end());
        out.push('\n');
    }
    out
}

impl Style {
    /// `shown`, in the colour of `word` if that is a state and colours are wanted.
    #[must_use]
    pub fn word(&self, word: &str, shown: &str) -> String {
        let code = match word {
            "error" => "31",
            "blocked" => "33",
            "working" => "36",
            "done" => "32",
            _ => return shown.to_owned(),
        };
        if self.colour {
            format!("\x1b[{code}m{shown}\x1b[0m")
        } else {
            shown.to_owned()
        }
    }
}
