//! Tools and whether they must be called: `tools` and `toolConfig`.

use super::NAME;
use super::members::{take, take_as};
use super::schema::to_json_schema;
use crate::types::chat::{ChatRequest, Notes, RawJson, Tool, ToolChoice, ToolKind};
use crate::wire::foreign::note_extra;
use crate::wire::json_in::{Object, Raw};
use crate::wire::json_out::{JsonOut, Members};
use crate::wire::nested::{has, keep, kept, others};

/// Takes `tools` and `toolConfig` out of `body`; what is left of the latter goes to the request's extra.
pub(super) fn read(body: &mut Object<'_>, request: &mut ChatRequest) {
    request.tools = take_as(body, "tools", read_tools).unwrap_or_default();
    let Some(mut config) = take_as(body, "toolConfig", Raw::object) else {
        return;
    };
    request.tool_choice = take(&mut config, "functionCallingConfig").map(read_choice);
    keep(&mut request.extra, "toolConfig", &config.rest());
}

fn read_tools(tools: Raw<'_>) -> Option<Vec<Tool>> {
    let mut read = Vec::new();
    for tool in tools.array()? {
        let mut tool = tool.object()?;
        if let Some(functions) = take_as(&mut tool, "functionDeclarations", Raw::array) {
            for function in functions {
                read.push(read_function(function.object()?));
            }
        }
        for (name, value) in tool.iter() {
            read.push(native(name, value));
        }
    }
    Some(read)
}

/// A tool that Google runs, such as `{"googleSearch": {}}`.
fn native(name: &str, value: Raw<'_>) -> Tool {
    let mut json = JsonOut::default();
    json.object(|it| it.member(name).raw_text(value.get()));
    Tool::native(RawJson::new(&json.into_string()))
}

fn read_function(mut function: Object<'_>) -> Tool {
    let name = function.take_string("name").unwrap_or_default();
    let description = function.take_string("description");
    let schema = take(&mut function, "parametersJsonSchema").map(Raw::owned);
    // The original stays beside what it was read into.
    let openapi = function.get("parameters").map(to_json_schema);
    Tool {
        kind: ToolKind::Function {
            parameters: schema.or(openapi),
            strict: None,
        },
        name,
        description,
        cache_mark: None,
        extra: function.rest(),
    }
}

fn read_choice(config: Raw<'_>) -> ToolChoice {
    let native = || ToolChoice::Native(config.owned());
    let Some(mut object) = config.object() else {
        return native();
    };
    let mode = object.take_string("mode");
    let names = take_as(&mut object, "allowedFunctionNames", |names| {
        let names = names.array()?.into_iter().map(Raw::string);
        names.collect::<Option<Vec<_>>>()
    });
    if !object.rest().is_empty() {
        return native();
    }
    match (mode.as_deref(), names.unwrap_or_default()) {
        (Some("AUTO"), names) if names.is_empty() => ToolChoice::Auto,
        (Some("NONE"), names) if names.is_empty() => ToolChoice::None,
        (Some("ANY"), mut names) => match names.len() {
            0 => ToolChoice::Required,
            1 => ToolChoice::Named(names.swap_remove(0)),
            _ => ToolChoice::Among {
                names,
                required: true,
            },
        },
        (Some("VALIDATED"), names) if !names.is_empty() => ToolChoice::Among {
            names,
            required: false,
        },
        _ => native(),
    }
}

/// Writes `tools` and `toolConfig`.
pub(super) fn write(it: &mut Members<'_>, request: &ChatRequest, notes: &mut Notes) {
    let is_own = request.dialect == NAME;
    if !request.tools.is_empty() {
        it.array("tools", |list| write_tools(list, request, notes));
    }
    let config = is_own && has(&request.extra, "toolConfig");
    let choice = request.tool_choice.as_ref();
    let choice = choice.filter(|_| is_own || !request.tools.is_empty());
    if config || choice.is_some() {
        it.object("toolConfig", |it| {
            if let Some(choice) = choice {
                write_choice(it.member("functionCallingConfig"), choice);
            }
            if is_own {
                kept(it, &request.extra, "toolConfig");
            }
        });
    }
    if request.parallel_tool_calls == Some(false) {
        notes.dropped("parallel_tool_calls");
    }
}

fn write_tools(list: &mut JsonOut, request: &ChatRequest, notes: &mut Notes) {
    let is_own = request.dialect == NAME;
    let is_function = |tool: &Tool| matches!(tool.kind, ToolKind::Function { .. });
    if request.tools.iter().any(is_function) {
        list.object(|it| {
            it.array("functionDeclarations", |list| {
                for (index, tool) in request.tools.iter().enumerate() {
                    write_function(list, tool, is_own, index, notes);
                }
            });
        });
    }
    for tool in &request.tools {
        if let ToolKind::Native(native) = &tool.kind {
            list.raw(native);
        }
    }
}

fn write_function(list: &mut JsonOut, tool: &Tool, is_own: bool, index: usize, notes: &mut Notes) {
    let ToolKind::Function { parameters, strict } = &tool.kind else {
        return;
    };
    list.object(|it| {
        it.string("name", &tool.name);
        it.maybe_string("description", tool.description.as_deref());
        if !(is_own && has(&tool.extra, "parameters")) {
            it.maybe_raw("parametersJsonSchema", parameters.as_ref());
        }
        if is_own {
            others(it, &tool.extra, &[]);
        }
    });
    if *strict == Some(true) {
        notes.dropped(format!("tools[{index}].strict"));
    }
    if tool.cache_mark.is_some() {
        notes.dropped(format!("tools[{index}].cache_control"));
    }
    if !is_own {
        note_extra(&tool.extra, || format!("tools[{index}]"), notes);
    }
}

fn write_choice(json: &mut JsonOut, choice: &ToolChoice) {
    let (mode, names): (_, &[String]) = match choice {
        ToolChoice::Auto => ("AUTO", &[]),
        ToolChoice::None => ("NONE", &[]),
        ToolChoice::Required => ("ANY", &[]),
        ToolChoice::Named(name) => ("ANY", std::slice::from_ref(name)),
        ToolChoice::Among { names, required } => {
            (if *required { "ANY" } else { "VALIDATED" }, names)
        }
        ToolChoice::Native(native) => return json.raw(native),
    };
    json.object(|it| {
        it.string("mode", mode);
        if !names.is_empty() {
            it.array("allowedFunctionNames", |list| {
                for name in names {
                    list.string(name);
                }
            });
        }
    });
}
