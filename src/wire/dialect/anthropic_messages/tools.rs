//! Tools and the choice among them, both ways.

use super::generation::Generation;
use super::{NAME, blocks_read, blocks_write, call_ids, refuse, schema};
use crate::error::ProxyError;
use crate::types::chat::{ChatRequest, Inexpressible, Notes, RawJson, Tool, ToolChoice, ToolKind};
use crate::wire::foreign::note_extra;
use crate::wire::json_in::{Object, Raw};
use crate::wire::json_out::{JsonOut, Members};

/// `tools`.
pub(super) fn read(raw: Option<Raw<'_>>) -> Result<Vec<Tool>, ProxyError> {
    let Some(raw) = raw else {
        return Ok(Vec::new());
    };
    let tools: Option<Vec<_>> = raw
        .array()
        .and_then(|tools| tools.into_iter().map(read_one).collect());
    tools.ok_or_else(|| {
        ProxyError::invalid("tools", "`tools` must be an array of objects with a `name`")
    })
}

/// Tools of a type with a date in its name are Anthropic's own.
fn read_one(raw: Raw<'_>) -> Option<Tool> {
    let mut tool = raw.object()?;
    let kind = tool.get("type").and_then(Raw::string);
    if kind.is_some_and(|kind| kind != "custom") {
        return Some(Tool::native(raw.owned()));
    }
    Some(Tool {
        name: tool.take_string("name")?,
        description: tool.take_string("description"),
        cache_mark: tool.take_if("cache_control", blocks_read::cache_mark),
        kind: ToolKind::Function {
            parameters: tool.take("input_schema").map(Raw::owned),
            strict: tool.take_boolean("strict"),
        },
        extra: tool.rest(),
    })
}

/// `tool_choice` with its `disable_parallel_tool_use`.
pub(super) fn read_choice(body: &mut Object<'_>) -> (Option<ToolChoice>, Option<bool>) {
    let Some(raw) = body.take("tool_choice") else {
        return (None, None);
    };
    let Some(mut choice) = raw.object() else {
        return (Some(ToolChoice::Native(raw.owned())), None);
    };
    let native = Some(ToolChoice::Native(raw.owned()));
    let parallel = choice
        .take_boolean("disable_parallel_tool_use")
        .map(|disabled| !disabled);
    let kind = match choice.take_string("type").as_deref() {
        Some("auto") => ToolChoice::Auto,
        Some("any") => ToolChoice::Required,
        Some("none") => ToolChoice::None,
        Some("tool") => match choice.take_string("name") {
            Some(name) => ToolChoice::Named(name),
            None => return (native, None),
        },
        _ => return (native, None),
    };
    if choice.rest().is_empty() {
        (Some(kind), parallel)
    } else {
        (native, None)
    }
}

/// True when the model must call a tool.
pub(super) const fn is_forced(request: &ChatRequest) -> bool {
    matches!(
        request.tool_choice,
        Some(
            ToolChoice::Required | ToolChoice::Named(_) | ToolChoice::Among { required: true, .. }
        )
    )
}

/// The tools that go out: those that may be called.
///
/// # Errors
/// For tools that only another provider runs and for names that Anthropic does not take.
pub(super) fn sent<'r>(
    request: &'r ChatRequest,
    notes: &mut Notes,
) -> Result<Vec<&'r Tool>, Inexpressible> {
    let own = request.dialect == NAME;
    let mut sent = Vec::with_capacity(request.tools.len());
    for (index, tool) in request.tools.iter().enumerate() {
        match &tool.kind {
            _ if own => {}
            ToolKind::Native(_) => {
                let why = "it is run by another provider; give a function instead";
                return Err(refuse(format!("tools[{index}]"), why));
            }
            ToolKind::Custom { .. } => {
                let why = "tools take JSON here, not free text; give a function instead";
                return Err(refuse(format!("tools[{index}]"), why));
            }
            ToolKind::Function { .. } if !call_ids::is_tool_name(&tool.name) => {
                let why = "a tool's name may have 1 to 128 letters, digits, `_` and `-`";
                return Err(refuse(format!("tools[{index}].name"), why));
            }
            ToolKind::Function { .. } => {}
        }
        if let Some(ToolChoice::Among { names, .. }) = &request.tool_choice
            && !names.contains(&tool.name)
        {
            notes.changed("tool_choice", "only the allowed tools are sent");
            continue;
        }
        if !own {
            note_extra(&tool.extra, || format!("tools[{index}]"), notes);
        }
        sent.push(tool);
    }
    Ok(sent)
}

/// `tools` and `tool_choice`.
///
/// # Errors
/// For a choice that only another provider knows.
pub(super) fn write(
    it: &mut Members<'_>,
    request: &ChatRequest,
    tools: &[&Tool],
    generation: Generation,
    notes: &mut Notes,
) -> Result<(), Inexpressible> {
    let own = request.dialect == NAME;
    if !tools.is_empty() {
        it.array("tools", |out| {
            for tool in tools {
                write_one(out, tool, own, generation, notes);
            }
        });
    }
    if let Some(ToolChoice::Native(raw)) = &request.tool_choice {
        if !own {
            return Err(refuse(
                "tool_choice",
                "it is of another provider's own kind",
            ));
        }
        it.raw("tool_choice", raw);
        return Ok(());
    }
    if tools.is_empty() && !own {
        if request.tool_choice.is_some() {
            // Nothing can be called without tools, whatever was chosen.
            notes.changed("tool_choice", "left out: there are no tools");
        }
        return Ok(());
    }
    choice(it, request);
    Ok(())
}

fn choice(it: &mut Members<'_>, request: &ChatRequest) {
    let parallel = request.parallel_tool_calls;
    let (kind, name) = match &request.tool_choice {
        // To call several at once is what Anthropic does anyway.
        None if parallel != Some(false) => return,
        None | Some(ToolChoice::Auto | ToolChoice::Native(_)) => ("auto", None),
        Some(ToolChoice::Among { required, .. }) => (if *required { "any" } else { "auto" }, None),
        Some(ToolChoice::Required) => ("any", None),
        Some(ToolChoice::None) => ("none", None),
        Some(ToolChoice::Named(name)) => ("tool", Some(name.as_str())),
    };
    it.object("tool_choice", |it| {
        it.string("type", kind);
        it.maybe_string("name", name);
        if kind != "none" {
            it.maybe_boolean(
                "disable_parallel_tool_use",
                parallel.map(|parallel| !parallel),
            );
        }
    });
}

fn write_one(out: &mut JsonOut, tool: &Tool, own: bool, generation: Generation, notes: &mut Notes) {
    let (parameters, strict) = match &tool.kind {
        ToolKind::Native(raw) => return out.raw(raw),
        ToolKind::Function { parameters, strict } => (parameters.as_ref(), *strict),
        ToolKind::Custom { .. } => (None, None),
    };
    out.object(|it| {
        it.string("name", &tool.name);
        it.maybe_string("description", tool.description.as_deref());
        if own {
            it.maybe_raw("input_schema", parameters);
            it.maybe_boolean("strict", strict);
        } else {
            foreign_schema(it, parameters, strict == Some(true), generation, notes);
        }
        if let Some(mark) = tool.cache_mark {
            blocks_write::cache_control(it, mark);
        }
        if own {
            it.extra(&tool.extra);
        }
    });
}

fn foreign_schema(
    it: &mut Members<'_>,
    parameters: Option<&RawJson>,
    strict: bool,
    generation: Generation,
    notes: &mut Notes,
) {
    let strict = strict && generation.binds_schema();
    let parameters = parameters.and_then(|schema| Raw::parse(schema.get()).ok());
    match parameters.and_then(Raw::object) {
        Some(_) if strict => {
            let raw = parameters.map(|raw| schema::closed(raw, "tools", notes));
            it.maybe_raw("input_schema", raw.as_ref());
            it.boolean("strict", true);
        }
        Some(members) => it.object("input_schema", |it| {
            if members.get("type").is_none() {
                it.string("type", "object");
            }
            for (name, value) in members
                .iter()
                .filter(|(name, value)| *name != "type" || !value.is_null())
            {
                it.member(name).raw_text(value.get());
            }
        }),
        None => it.object("input_schema", |it| {
            it.string("type", "object");
            it.object("properties", |_| {});
        }),
    }
}
