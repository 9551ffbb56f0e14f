//! CSV as RFC 4180 has it, with the line and column of every cell, for messages about bad ones.

/// A cell and where it begins, both counted from 1, the column in characters.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::cli::report) struct Cell {
    pub text: String,
    pub line: usize,
    pub column: usize,
}

/// A quoted cell that does not end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::cli::report) struct Unclosed {
    pub line: usize,
    pub column: usize,
}

/// Reads all records. Lines end with LF or CRLF, empty ones are left out, a byte-order mark is
/// skipped. The separator is what the first line has more of: comma, semicolon or tab.
pub(in crate::cli::report) fn read(text: &str) -> Result<Vec<Vec<Cell>>, Unclosed> {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let mut reader = Reader {
        letters: text.chars().peekable(),
        separator: separator(text),
        line: 1,
        column: 1,
    };
    let mut records = Vec::new();
    while let Some(record) = reader.record()? {
        let is_empty = record.iter().all(|cell| cell.text.trim().is_empty());
        if !is_empty {
            records.push(record);
        }
    }
    Ok(records)
}

fn separator(text: &str) -> char {
    let first = text.lines().next().unwrap_or_default();
    let count = |separator: &char| first.matches(*separator).count();
    // The first of equals wins when the order is turned round.
    let separators = ['\t', ';', ','];
    separators.into_iter().max_by_key(count).unwrap_or(',')
}

struct Reader<'t> {
    letters: std::iter::Peekable<std::str::Chars<'t>>,
    separator: char,
    line: usize,
    column: usize,
}

impl Reader<'_> {
    fn next(&mut self) -> Option<char> {
        let letter = self.letters.next()?;
        if letter == '\n' {
            self.line += 1;
            self.column = 1;
        } else {
            self.column += 1;
        }
        Some(letter)
    }

    fn record(&mut self) -> Result<Option<Vec<Cell>>, Unclosed> {
        if self.letters.peek().is_none() {
            return Ok(None);
        }
        let mut cells = Vec::new();
        loop {
            let (line, column) = (self.line, self.column);
            let text = self.cell(Unclosed { line, column })?;
            cells.push(Cell { text, line, column });
            match self.next() {
                Some(letter) if letter == self.separator => {}
                _ => return Ok(Some(cells)),
            }
        }
    }

    /// Reads up to the separator, the end of the line or of the text.
    fn cell(&mut self, start: Unclosed) -> Result<String, Unclosed> {
        let mut text = String::new();
        if self.letters.next_if_eq(&'"').is_some() {
            self.column += 1;
            loop {
                match self.next() {
                    Some('"') if self.letters.peek() == Some(&'"') => {
                        self.next();
                        text.push('"');
                    }
                    Some('"') => break,
                    Some(letter) => text.push(letter),
                    None => return Err(start),
                }
            }
        }
        while let Some(&letter) = self.letters.peek() {
            if letter == self.separator || letter == '\n' {
                break;
            }
            self.next();
            text.push(letter);
        }
        Ok(text.trim_end_matches('\r').to_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, expect: &[&[&str]]) {
        let records = read(text).expect("CSV");
        let texts: Vec<Vec<&str>> = records
            .iter()
            .map(|record| record.iter().map(|cell| cell.text.as_str()).collect())
            .collect();
        assert_eq!(texts, expect, "{text:?}");
    }

    #[test]
    fn cells_are_cut_as_rfc_4180_says() {
        check("a,b\n1,2\n", &[&["a", "b"], &["1", "2"]]);
        check(
            "\u{feff}a;b\r\n\r\n\"x;\"\"y\"\"\";2",
            &[&["a", "b"], &["x;\"y\"", "2"]],
        );
        check(
            "a\tb\n\"two\nlines\"\t",
            &[&["a", "b"], &["two\nlines", ""]],
        );
        check("", &[]);
    }

    #[test]
    fn every_cell_knows_its_place() {
        let records = read("a,b\n\"x\ny\",é,z\n").expect("CSV");
        let places: Vec<_> = records[1]
            .iter()
            .map(|cell| (cell.line, cell.column))
            .collect();
        assert_eq!(places, [(2, 1), (3, 4), (3, 6)]);
        let unclosed = Unclosed { line: 2, column: 3 };
        assert_eq!(read("a,b\n1,\"x\n"), Err(unclosed));
    }
}
