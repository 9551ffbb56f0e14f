//! `tollgate models`: the bundled catalogue.

use std::io::{self, Write};

use super::{EXIT_FAILED, EXIT_OK, ModelsArgs, ModelsFormat};
use crate::config::catalogue::{self, CatalogueEntry};

/// Prints the entries that the arguments ask for; exits with 1 when there are none.
///
/// # Errors
/// When `out` cannot be written to.
pub fn run(args: &ModelsArgs, out: &mut dyn Write) -> io::Result<u8> {
    let filter = args.filter.as_deref().unwrap_or_default().to_lowercase();
    let entries: Vec<&CatalogueEntry> = catalogue::entries()
        .iter()
        .filter(|entry| {
            args.provider
                .as_ref()
                .is_none_or(|provider| entry.provider == *provider)
        })
        .filter(|entry| entry.name.to_lowercase().contains(&filter))
        .collect();
    match args.format {
        ModelsFormat::Json => {
            serde_json::to_writer_pretty(&mut *out, &entries)?;
            writeln!(out)?;
        }
        ModelsFormat::Table => write_table(&entries, out)?,
    }
    Ok(if entries.is_empty() {
        EXIT_FAILED
    } else {
        EXIT_OK
    })
}

fn write_table(entries: &[&CatalogueEntry], out: &mut dyn Write) -> io::Result<()> {
    let Some(newest) = entries.iter().map(|entry| entry.date.as_str()).max() else {
        return writeln!(
            out,
            "no model in the catalogue matches; see `tollgate models` for all"
        );
    };
    let header = [
        "MODEL",
        "PROVIDER",
        "INPUT",
        "CACHED",
        "WRITE",
        "OUTPUT",
        "CONTEXT",
        "MAX OUTPUT",
        "SUPPORTS",
        "UNTIL",
    ];
    let rows: Vec<[String; 10]> = entries.iter().map(|entry| row(entry)).collect();
    let widths: Vec<usize> = header
        .iter()
        .enumerate()
        .map(|(column, title)| {
            let longest = rows.iter().map(|row| row[column].len()).max();
            longest.unwrap_or(0).max(title.len())
        })
        .collect();
    write_row(&header.map(ToOwned::to_owned), &widths, out)?;
    for row in &rows {
        write_row(row, &widths, out)?;
    }
    let count = entries.len();
    writeln!(
        out,
        "\n{count} models; USD per million tokens as of {newest}."
    )?;
    writeln!(
        out,
        "*: dearer above some length of input; `--format json` shows it as long_context, or as \
         price_holds_to_tokens where the dearer price is not known."
    )
}

fn row(entry: &CatalogueEntry) -> [String; 10] {
    let price = |price: Option<f64>| price.map_or_else(|| "-".to_owned(), |usd| usd.to_string());
    let tokens = |count: Option<u64>| count.map_or_else(|| "-".to_owned(), thousands);
    let step = if entry.price_holds_to_tokens.is_some() || !entry.long_context.is_empty() {
        "*"
    } else {
        ""
    };
    [
        entry.name.clone(),
        entry.provider.clone(),
        format!("{}{step}", entry.input),
        price(entry.cached_input),
        price(entry.cache_write),
        price(entry.output),
        tokens(entry.context_tokens),
        tokens(entry.max_output_tokens),
        entry.supports.join(","),
        entry.deprecated_on.clone().unwrap_or_default(),
    ]
}

/// Columns 2 to 7 are numbers and stand to the right.
fn write_row(row: &[String; 10], widths: &[usize], out: &mut dyn Write) -> io::Result<()> {
    let mut line = String::new();
    for (column, (cell, &width)) in row.iter().zip(widths).enumerate() {
        let padding = " ".repeat(width.saturating_sub(cell.len()));
        let numeric = (2..=7).contains(&column);
        let (before, after) = if numeric {
            (padding, String::new())
        } else {
            (String::new(), padding)
        };
        for piece in [&before, cell, &after, "  "] {
            line.push_str(piece);
        }
    }
    writeln!(out, "{}", line.trim_end())
}

fn thousands(count: u64) -> String {
    let digits = count.to_string();
    let mut text = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(provider: Option<&str>, filter: Option<&str>, format: ModelsFormat) -> (u8, String) {
        let args = ModelsArgs {
            format,
            provider: provider.map(ToOwned::to_owned),
            filter: filter.map(ToOwned::to_owned),
        };
        let mut out = Vec::new();
        let code = run(&args, &mut out).expect("written");
        (code, String::from_utf8(out).expect("UTF-8"))
    }

    #[test]
    fn the_table_can_be_narrowed() {
        let (code, text) = check(Some("anthropic"), Some("OPUS"), ModelsFormat::Table);
        assert_eq!(code, 0);
        assert!(
            text.contains("claude-opus-5-5") && !text.contains("gpt-"),
            "{text}"
        );
        assert_eq!(check(None, Some("no-such-model"), ModelsFormat::Table).0, 1);
    }

    #[test]
    fn json_holds_every_entry_with_its_source() {
        let (_, text) = check(None, None, ModelsFormat::Json);
        let entries: Vec<CatalogueEntry> = serde_json::from_str(&text).expect("JSON");
        assert_eq!(entries.len(), catalogue::entries().len());
    }

    #[test]
    fn thousands_are_grouped() {
        assert_eq!(thousands(1_048_576), "1,048,576");
        assert_eq!(thousands(100), "100");
    }
}
