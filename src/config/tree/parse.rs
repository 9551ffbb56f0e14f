//! From text to tree, in one pass over the parser's events. Bounded: an alias that multiplies itself, a
//! deep nest or a huge file is a diagnostic, never a stack overflow or gigabytes of memory.

use std::borrow::Cow;
use std::ops::Range;

use granit_parser::{Event, Options, Parser, ScalarStyle, Span, StrInput};
use rustc_hash::{FxHashMap, FxHashSet};

use super::{Entry, Fault, Node, Position, Scalar, Step, Value, render_path};

/// Largest file: 10,000 keys take about 2 MiB, so this is generous and still parsed in a second.
pub const MAX_FILE_BYTES: usize = 16 << 20;
/// Most values after aliases are expanded, a long text counting once per [`TEXT_UNIT`] bytes:
/// 10,000 keys have about 120,000.
const MAX_NODES: usize = 1_000_000;
/// Bytes of text that count as one value, so that an aliased text cannot multiply unseen.
const TEXT_UNIT: usize = 32;
/// Most levels of nesting: the schema needs eight.
const MAX_DEPTH: usize = 64;

/// Parses one YAML document. Duplicate keys are collected in `faults` (the first one counts) and do
/// not end the parse.
///
/// # Errors
/// When the text is not YAML, or is too large or too deep.
pub fn parse(text: &str, faults: &mut Vec<Fault>) -> Result<Node, Fault> {
    if text.len() > MAX_FILE_BYTES {
        return Err(fault(
            Position { line: 1, column: 1 },
            format!(
                "the file has {} bytes; at most {MAX_FILE_BYTES} are read",
                text.len()
            ),
        ));
    }
    let mut options = Options::default();
    options.set_emit_comments(false);
    let mut builder = Builder {
        parser: Parser::new_from_str_with_options(text, options),
        anchors: FxHashMap::default(),
        nodes_left: MAX_NODES,
        faults,
        path: Vec::new(),
        end: end_of(text),
    };
    builder.document()
}

fn end_of(text: &str) -> Position {
    Position {
        line: to_u32(text.lines().count().max(1)),
        column: 1,
    }
}

fn fault(at: Position, message: impl Into<String>) -> Fault {
    Fault {
        at,
        path: String::new(),
        message: message.into(),
        suggestion: None,
    }
}

fn to_u32(count: usize) -> u32 {
    u32::try_from(count).unwrap_or(u32::MAX)
}

fn start(span: &Span) -> Position {
    Position {
        line: to_u32(span.start.line()),
        column: to_u32(span.start.col().saturating_add(1)),
    }
}

fn byte_range(span: &Span) -> Range<usize> {
    span.byte_range().unwrap_or(0..0)
}

struct Builder<'t, 'f> {
    parser: Parser<'t, StrInput<'t>>,
    anchors: FxHashMap<usize, (Node, usize)>,
    nodes_left: usize,
    faults: &'f mut Vec<Fault>,
    path: Vec<Step<'static>>,
    end: Position,
}

impl<'t> Builder<'t, '_> {
    fn next(&mut self) -> Result<(Event<'t>, Span), Fault> {
        match self.parser.next_event() {
            Some(Ok(pair)) => Ok(pair),
            Some(Err(error)) => {
                let marker = error.marker();
                let at = Position {
                    line: to_u32(marker.line().max(1)),
                    column: to_u32(marker.col().saturating_add(1)),
                };
                Err(fault(at, format!("not valid YAML: {}", error.info())))
            }
            None => Err(fault(self.end, "not valid YAML: the text ends too early")),
        }
    }

    fn document(&mut self) -> Result<Node, Fault> {
        loop {
            let (event, span) = self.next()?;
            match event {
                Event::StreamStart | Event::DocumentStart(..) => {}
                Event::StreamEnd => {
                    return Err(fault(
                        self.end,
                        "the file is empty; it needs at least `version: 1`",
                    ));
                }
                event => {
                    let (node, _) = self.node(event, &span, 0)?;
                    self.expect_end()?;
                    return Ok(node);
                }
            }
        }
    }

    fn expect_end(&mut self) -> Result<(), Fault> {
        loop {
            let (event, span) = self.next()?;
            match event {
                Event::StreamEnd => return Ok(()),
                Event::DocumentEnd => {}
                _ => {
                    return Err(fault(
                        start(&span),
                        "a second YAML document begins here; the file holds exactly one",
                    ));
                }
            }
        }
    }

    /// The node that begins with `event`, and how many nodes it holds.
    fn node(
        &mut self,
        event: Event<'t>,
        span: &Span,
        depth: usize,
    ) -> Result<(Node, usize), Fault> {
        let at = start(span);
        if depth > MAX_DEPTH {
            return Err(fault(at, format!("nested deeper than {MAX_DEPTH} levels")));
        }
        let (anchor, value, size) = match event {
            Event::Scalar(text, style, anchor, _) => {
                let scalar = Scalar {
                    text: text.into_owned(),
                    plain: style == ScalarStyle::Plain,
                };
                let size = 1 + scalar.text.len() / TEXT_UNIT;
                self.spend(size, at)?;
                (anchor, Value::Scalar(scalar), size)
            }
            Event::SequenceStart(_, anchor, _) => {
                self.spend(1, at)?;
                let (items, size) = self.list(depth)?;
                (anchor, Value::List(items), size)
            }
            Event::MappingStart(_, anchor, _) => {
                self.spend(1, at)?;
                let (entries, size) = self.map(depth)?;
                (anchor, Value::Map(entries), size)
            }
            Event::Alias(id) => return self.alias(id, at, depth),
            _ => return Err(fault(at, "not valid YAML: a value was expected here")),
        };
        let node = Node {
            at,
            bytes: byte_range(span),
            index: 0,
            value,
        };
        if anchor != 0 {
            self.anchors.insert(anchor, (node.clone(), size));
        }
        Ok((node, size))
    }

    fn alias(&mut self, id: usize, at: Position, depth: usize) -> Result<(Node, usize), Fault> {
        let Some((node, size)) = self.anchors.get(&id) else {
            return Err(fault(
                at,
                "an alias that refers to the value that it stands in",
            ));
        };
        let (mut node, size) = (node.clone(), *size);
        self.spend(size, at)?;
        if depth + height(&node) > MAX_DEPTH {
            return Err(fault(at, format!("nested deeper than {MAX_DEPTH} levels")));
        }
        node.at = at;
        Ok((node, size))
    }

    fn spend(&mut self, nodes: usize, at: Position) -> Result<(), Fault> {
        match self.nodes_left.checked_sub(nodes) {
            Some(left) => {
                self.nodes_left = left;
                Ok(())
            }
            None => Err(fault(
                at,
                format!("more than {MAX_NODES} values once aliases are expanded"),
            )),
        }
    }

    fn list(&mut self, depth: usize) -> Result<(Vec<Node>, usize), Fault> {
        let (mut items, mut size) = (Vec::new(), 1);
        loop {
            let (event, span) = self.next()?;
            if matches!(event, Event::SequenceEnd) {
                return Ok((items, size));
            }
            self.path.push(Step::Index(items.len()));
            let (mut node, nodes) = self.node(event, &span, depth + 1)?;
            self.path.pop();
            node.index = items.len();
            items.push(node);
            size += nodes;
        }
    }

    fn map(&mut self, depth: usize) -> Result<(Vec<Entry>, usize), Fault> {
        let mut entries: Vec<Entry> = Vec::new();
        let mut seen: FxHashSet<String> = FxHashSet::default();
        let mut merges: Vec<Node> = Vec::new();
        let mut size = 1;
        loop {
            let (event, span) = self.next()?;
            let key_at = start(&span);
            let (key, plain) = match event {
                Event::MappingEnd => break,
                Event::Scalar(text, style, ..) => (text.into_owned(), style == ScalarStyle::Plain),
                Event::Alias(_) => return Err(fault(key_at, "an alias cannot be a key")),
                _ => {
                    return Err(fault(
                        key_at,
                        "a key must be a single word or a quoted text",
                    ));
                }
            };
            self.path.push(Step::Key(Cow::Owned(key.clone())));
            let (event, span) = self.next()?;
            let (value, nodes) = self.node(event, &span, depth + 1)?;
            size += nodes + 1;
            if key == "<<" && plain {
                merges.push(value);
            } else if seen.insert(key.clone()) {
                entries.push(Entry { key, key_at, value });
            } else {
                self.duplicate(&key, key_at, &entries);
            }
            self.path.pop();
        }
        merge(&mut entries, &mut seen, merges);
        Ok((entries, size))
    }

    fn duplicate(&mut self, key: &str, at: Position, entries: &[Entry]) {
        let first = entries.iter().find(|entry| entry.key == key);
        let line = first.map_or(0, |entry| entry.key_at.line);
        self.faults.push(Fault {
            at,
            path: render_path(&self.path),
            message: format!("duplicate key `{key}`; it already stands on line {line}"),
            suggestion: Some("remove one of the two".to_owned()),
        });
    }
}

/// Levels below and with this node.
fn height(node: &Node) -> usize {
    let below = match &node.value {
        Value::Scalar(_) => 0,
        Value::List(items) => items.iter().map(height).max().unwrap_or(0),
        Value::Map(entries) => entries
            .iter()
            .map(|entry| height(&entry.value))
            .max()
            .unwrap_or(0),
    };
    below + 1
}

/// `<<: *anchor` (or a list of them): keys that are not there yet are taken over.
fn merge(entries: &mut Vec<Entry>, seen: &mut FxHashSet<String>, merges: Vec<Node>) {
    for node in merges {
        let sources = match node.value {
            Value::List(items) => items,
            value => vec![Node { value, ..node }],
        };
        for source in sources {
            if let Value::Map(merged) = source.value {
                entries.extend(
                    merged
                        .into_iter()
                        .filter(|entry| seen.insert(entry.key.clone())),
                );
            }
        }
    }
}
