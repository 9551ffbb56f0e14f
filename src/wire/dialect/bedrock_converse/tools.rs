//! Tools and whether they must be called: `toolConfig`.

use super::blocks_read::read_cache_point;
use super::blocks_write::write_cache_point;
use super::family::Family;
use super::{NAME, settings};
use crate::types::chat::{ChatRequest, Extra, Notes, RawJson, Tool, ToolChoice, ToolKind};
use crate::wire::dialect::anthropic_messages::schema;
use crate::wire::foreign::note_extra;
use crate::wire::json_in::{Object, Raw};
use crate::wire::json_out::{JsonOut, Members};
use crate::wire::nested::{has, keep, kept, others};

/// Takes `toolConfig` out of `body`; returns what has no name in the neutral form.
pub(super) fn read(body: &mut Object<'_>, request: &mut ChatRequest) -> Extra {
    let mut left = Extra::none();
    let Some(mut config) = body.take_if("toolConfig", Raw::object) else {
        return left;
    };
    let tools = config.take("tools").and_then(Raw::array);
    for raw in tools.unwrap_or_default() {
        let mark = read_cache_point(raw);
        let marked = request
            .tools
            .last_mut()
            .filter(|it| it.cache_mark.is_none());
        if let (Some(mark), Some(tool)) = (mark, marked) {
            tool.cache_mark = Some(mark);
        } else {
            request.tools.push(read_tool(raw));
        }
    }
    request.tool_choice = config.take("toolChoice").map(read_choice);
    keep(&mut left, "toolConfig", &config.rest());
    left
}

fn read_tool(raw: Raw<'_>) -> Tool {
    read_function(raw).unwrap_or_else(|| Tool::native(raw.owned()))
}

fn read_function(raw: Raw<'_>) -> Option<Tool> {
    let mut object = raw.object()?;
    let mut spec = object.take("toolSpec")?.object()?;
    let name = spec.take_string("name")?;
    let description = spec.take_string("description");
    let schema = spec.take_if("inputSchema", |schema| {
        let mut schema = schema.object()?;
        let json = schema.take("json")?.owned();
        schema.rest().is_empty().then_some(json)
    });
    let strict = spec.take_boolean("strict");
    let mut tool = Tool {
        kind: ToolKind::Function {
            parameters: schema,
            strict,
        },
        name,
        description,
        cache_mark: None,
        extra: object.rest(),
    };
    keep(&mut tool.extra, "toolSpec", &spec.rest());
    Some(tool)
}

fn read_choice(raw: Raw<'_>) -> ToolChoice {
    let known = || {
        let mut object = raw.object()?;
        let choice = if let Some(tool) = object.take("tool") {
            let mut tool = tool.object()?;
            let name = tool.take_string("name")?;
            tool.rest().is_empty().then_some(ToolChoice::Named(name))?
        } else {
            let (name, value) = object.iter().next()?;
            let choice = match name {
                "auto" => ToolChoice::Auto,
                "any" => ToolChoice::Required,
                _ => return None,
            };
            let (name, value) = (name.to_owned(), value.object()?.rest());
            object.take(&name);
            value.is_empty().then_some(choice)?
        };
        object.rest().is_empty().then_some(choice)
    };
    known().unwrap_or_else(|| ToolChoice::Native(raw.owned()))
}

/// The tools that are written, and the choice among them.
struct Offer<'r> {
    tools: Vec<(usize, &'r Tool)>,
    /// Tools that the conversation calls though the request declares none.
    undeclared: Vec<&'r str>,
    choice: Option<Choice<'r>>,
}

enum Choice<'r> {
    Auto,
    Any,
    Tool(&'r str),
    Native(&'r RawJson),
}

/// Writes `toolConfig`. `called` are the tools that the conversation calls: Bedrock refuses calls and
/// results without declarations.
pub(super) fn write(
    it: &mut Members<'_>,
    request: &ChatRequest,
    family: Family,
    called: Vec<&str>,
    notes: &mut Notes,
) {
    let is_own = request.dialect == NAME;
    let offer = offer(request, called, notes);
    if request.parallel_tool_calls == Some(false) {
        notes.dropped("parallel_tool_calls");
    }
    let is_kept = is_own && has(&request.extra, "toolConfig");
    if offer.tools.is_empty() && offer.undeclared.is_empty() && !is_kept && offer.choice.is_none() {
        return;
    }
    it.object("toolConfig", |it| {
        it.array("tools", |list| {
            for (index, tool) in &offer.tools {
                write_tool(list, tool, *index, is_own, family, notes);
            }
            for name in &offer.undeclared {
                write_undeclared(list, name);
            }
        });
        if let Some(choice) = &offer.choice {
            it.object("toolChoice", |it| match choice {
                Choice::Auto => it.object("auto", |_| {}),
                Choice::Any => it.object("any", |_| {}),
                Choice::Tool(name) => it.object("tool", |it| it.string("name", name)),
                Choice::Native(native) => {
                    let native = Object::read(native.get()).unwrap_or_default();
                    it.extra(&native.rest());
                }
            });
        }
        if is_own {
            kept(it, &request.extra, "toolConfig");
        }
    });
}

fn offer<'r>(request: &'r ChatRequest, called: Vec<&'r str>, notes: &mut Notes) -> Offer<'r> {
    let is_own = request.dialect == NAME;
    let all = || request.tools.iter().enumerate();
    let mut offer = Offer {
        tools: all().collect(),
        undeclared: Vec::new(),
        choice: None,
    };
    offer.choice = match &request.tool_choice {
        None => None,
        Some(ToolChoice::Auto) => Some(Choice::Auto),
        Some(ToolChoice::Required) => Some(Choice::Any),
        Some(ToolChoice::Named(name)) => Some(Choice::Tool(name)),
        Some(ToolChoice::Native(native)) => Some(Choice::Native(native)),
        Some(ToolChoice::Among { names, required }) => {
            notes.changed("tool_choice", "only the allowed tools are declared");
            offer.tools.retain(|(_, tool)| names.contains(&tool.name));
            Some(if *required { Choice::Any } else { Choice::Auto })
        }
        Some(ToolChoice::None) if called.is_empty() => {
            notes.changed("tool_choice", "no tools are declared");
            offer.tools.clear();
            None
        }
        Some(ToolChoice::None) => {
            let what = "the tools stay declared, since the conversation calls them";
            notes.changed("tool_choice", what);
            None
        }
    };
    if !is_own {
        offer.choice = offer.choice.filter(|_| !offer.tools.is_empty());
        if offer.tools.is_empty() && !called.is_empty() {
            notes.changed(
                "tools",
                "declared without a schema: the conversation calls them",
            );
            offer.undeclared = called;
        }
    }
    offer
}

fn write_tool(
    list: &mut JsonOut,
    tool: &Tool,
    index: usize,
    is_own: bool,
    family: Family,
    notes: &mut Notes,
) {
    let place = || format!("tools[{index}]");
    match &tool.kind {
        ToolKind::Function { parameters, strict } => {
            let is_strict = strict.filter(|_| is_own || family.binds_schema());
            if *strict == Some(true) && is_strict.is_none() {
                notes.dropped(format!("{}.strict", place()));
            }
            let bound = is_strict == Some(true) && !is_own;
            let schema = parameters.as_ref().map(|schema| {
                let raw = Raw::parse(schema.get()).ok().filter(|_| bound);
                raw.map_or_else(
                    || schema.clone(),
                    |raw| schema::closed(raw, "tools.parameters", notes),
                )
            });
            list.object(|it| {
                it.object("toolSpec", |it| {
                    it.string("name", &tool.name);
                    let description = tool.description.as_deref();
                    it.maybe_string(
                        "description",
                        description.filter(|it| is_own || !it.is_empty()),
                    );
                    write_schema(it, schema.as_ref(), is_own);
                    it.maybe_boolean("strict", is_strict);
                    if is_own {
                        kept(it, &tool.extra, "toolSpec");
                    }
                });
                if is_own {
                    others(it, &tool.extra, &["toolSpec"]);
                }
            });
        }
        ToolKind::Native(native) => list.raw(native),
        ToolKind::Custom { .. } => {}
    }
    if !is_own {
        note_extra(&tool.extra, place, notes);
    }
    match tool.cache_mark {
        Some(mark) if is_own || family.takes_cache_points_in_tools() => {
            write_cache_point(list, mark);
        }
        Some(_) => notes.dropped(format!("{}.cache_control", place())),
        None => {}
    }
}

/// A tool without arguments takes an empty object.
fn write_schema(it: &mut Members<'_>, schema: Option<&RawJson>, is_own: bool) {
    match schema {
        Some(schema) => it.object("inputSchema", |it| it.raw("json", schema)),
        None if is_own => {}
        None => it.object("inputSchema", |it| {
            it.object("json", settings::write_empty_schema);
        }),
    }
}

fn write_undeclared(list: &mut JsonOut, name: &str) {
    list.object(|it| {
        it.object("toolSpec", |it| {
            it.string("name", name);
            write_schema(it, None, false);
        });
    });
}
