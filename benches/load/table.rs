//! Tables as Markdown with even columns, so that the terminal and the documents show the same.

/// A table that is filled row by row.
#[derive(Debug)]
pub struct Table {
    rows: Vec<Vec<String>>,
}

impl Table {
    /// With these column heads; all but the first are figures.
    pub fn new(heads: &[&str]) -> Self {
        Self {
            rows: vec![heads.iter().map(|head| (*head).to_owned()).collect()],
        }
    }

    pub fn row(&mut self, cells: Vec<String>) {
        self.rows.push(cells);
    }

    /// Prints it under a title.
    pub fn print(&self, title: &str) {
        println!("\n{title}\n");
        let widths: Vec<usize> = (0..self.rows[0].len())
            .map(|column| {
                self.rows
                    .iter()
                    .map(|row| row[column].chars().count())
                    .max()
                    .unwrap_or(0)
                    .max(4)
            })
            .collect();
        for (index, row) in self.rows.iter().enumerate() {
            print_row(row, &widths);
            if index == 0 {
                let rule: Vec<String> = widths
                    .iter()
                    .enumerate()
                    .map(|(column, width)| match column {
                        0 => "-".repeat(*width),
                        _ => format!("{}:", "-".repeat(width - 1)),
                    })
                    .collect();
                print_row(&rule, &widths);
            }
        }
    }
}

fn print_row(row: &[String], widths: &[usize]) {
    let cells: Vec<String> = row
        .iter()
        .zip(widths)
        .enumerate()
        .map(|(column, (cell, width))| {
            if column == 0 {
                format!("{cell:<width$}")
            } else {
                format!("{cell:>width$}")
            }
        })
        .collect();
    println!("| {} |", cells.join(" | "));
}
