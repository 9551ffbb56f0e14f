"""A provider that speaks every dialect, each below its own path: it reads what it was asked in that
dialect's own form and answers in it, whole or streamed. What it answers follows from what it was asked:

    a tool whose result is not there yet, and "weather" in the question   → a call of the tool
    a tool's result                                                      → a text that repeats it
    a JSON schema, or a tool that must be called                         → the least that fits the schema
    an image                                                             → a text that says how large it is
    "think", "at length", "decline", "cite"                              → a thought before the text; a text that the cap
                                                                           cuts; a refusal; a text with its source
    "fail-400"                                                           → a refusal in the dialect's form
    anything else                                                        → a text that repeats it

Written from the providers' published documentation, with nothing of tollgate in it.
"""

import base64
import json
import struct
import sys
import zlib
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

# 60 fresh, 40 from the cache, 20 written; each dialect counts them in its own way.
FRESH, CACHED, OUTPUT = 60, 40, 20


class Asked:
    """What a request says, whatever it is written in."""

    def __init__(self):
        self.system = ""
        self.texts = []
        self.image_bytes = 0
        self.results = []
        self.tools = {}
        self.forced = None
        self.schema = None

    def answer(self):
        """("text", words) or ("call", name, arguments)."""
        last = self.texts[-1] if self.texts else ""
        if self.forced:
            return ("call", self.forced, fill(self.tools[self.forced]))
        if self.results:
            return ("text", "The tool says: " + " | ".join(self.results))
        if self.schema:
            return ("text", json.dumps(fill(self.schema)))
        if self.tools and "weather" in last:
            name = next(iter(self.tools))
            return ("call", name, fill(self.tools[name]))
        if self.image_bytes:
            return ("text", f"An image of {self.image_bytes} bytes")
        for kind in ("think", "at length", "decline", "cite"):
            if kind in last:
                return (kind, "Well: " + last)
        return ("text", f"[{self.system}] You said: {last} ✓")


def fill(schema):
    """The least value that fits a schema."""
    kind = schema.get("type")
    if isinstance(kind, list):
        kind = kind[0]
    kind = str(kind or "object").lower()
    if "enum" in schema:
        return schema["enum"][0]
    if kind == "object":
        return {name: fill(part) for name, part in schema.get("properties", {}).items()}
    if kind == "array":
        return [fill(schema.get("items", {"type": "string"}))]
    return {"string": "Málaga", "integer": 3, "number": 3, "boolean": True}.get(kind)


THOUGHT = "Let me see."
SEAL = base64.b64encode(b"a proof that only its maker can read").decode()
SOURCE = {"url": "https://example.com/wörld", "title": "A source"}


def pieces(text):
    """A text in pieces that end anywhere."""
    return [text[at:at + 7] for at in range(0, len(text), 7)] or [""]


def size_of(data):
    return len(base64.b64decode(data))


def parts_of(content):
    return [{"type": "text", "text": content}] if isinstance(content, str) else (content or [])


class OpenaiChat:
    path = "/openai_chat/"

    @staticmethod
    def read(body, path):
        asked = Asked()
        for message in body["messages"]:
            role = message["role"]
            words = ""
            for part in parts_of(message.get("content")):
                if part["type"] == "text":
                    words += part["text"]
                elif part["type"] == "image_url":
                    asked.image_bytes += size_of(part["image_url"]["url"].split(",", 1)[1])
            if role in ("system", "developer"):
                asked.system += words
            elif role == "user":
                asked.texts.append(words)
                asked.results = []
            elif role == "tool":
                asked.results.append(words)
        for tool in body.get("tools") or []:
            asked.tools[tool["function"]["name"]] = tool["function"].get("parameters") or {}
        choice = body.get("tool_choice")
        if isinstance(choice, dict):
            asked.forced = choice["function"]["name"]
        elif choice == "required":
            asked.forced = next(iter(asked.tools))
        form = body.get("response_format") or {}
        if form.get("type") == "json_schema":
            asked.schema = form["json_schema"]["schema"]
        return asked, bool(body.get("stream"))

    usage = {"prompt_tokens": FRESH + CACHED, "completion_tokens": OUTPUT, "total_tokens": FRESH + CACHED + OUTPUT,
             "prompt_tokens_details": {"cached_tokens": CACHED}}

    @classmethod
    def whole(cls, answer):
        message = {"role": "assistant", "content": None, "refusal": None, "annotations": []}
        if answer[0] == "decline":
            message["refusal"] = answer[1]
        elif answer[0] != "call":
            message["content"] = answer[1]
            if answer[0] == "think":
                message["reasoning_content"] = THOUGHT
            if answer[0] == "cite":
                message["annotations"] = [cls.citation(answer[1])]
        else:
            message["tool_calls"] = [{"id": "call_1", "type": "function",
                                      "function": {"name": answer[1], "arguments": json.dumps(answer[2])}}]
        finish = {"call": "tool_calls", "at length": "length"}.get(answer[0], "stop")
        return {"id": "chatcmpl-1", "object": "chat.completion", "created": 1700000000, "model": "up-1",
                "choices": [{"index": 0, "message": message, "logprobs": None, "finish_reason": finish}],
                "usage": cls.usage}

    @staticmethod
    def citation(text):
        return {"type": "url_citation", "url_citation": {"start_index": 0, "end_index": len(text), **SOURCE}}

    @classmethod
    def stream(cls, answer):
        def chunk(delta, finish=None):
            return None, {"id": "chatcmpl-1", "object": "chat.completion.chunk", "created": 1700000000, "model": "up-1",
                          "choices": [{"index": 0, "delta": delta, "finish_reason": finish}]}
        yield chunk({"role": "assistant", "content": ""})
        if answer[0] == "think":
            for piece in pieces(THOUGHT):
                yield chunk({"reasoning_content": piece})
        if answer[0] != "call":
            for piece in pieces(answer[1]):
                yield chunk({"refusal" if answer[0] == "decline" else "content": piece})
            if answer[0] == "cite":
                yield chunk({"annotations": [cls.citation(answer[1])]})
        else:
            yield chunk({"tool_calls": [{"index": 0, "id": "call_1", "type": "function",
                                         "function": {"name": answer[1], "arguments": ""}}]})
            for piece in pieces(json.dumps(answer[2])):
                yield chunk({"tool_calls": [{"index": 0, "function": {"arguments": piece}}]})
        yield chunk({}, {"call": "tool_calls", "at length": "length"}.get(answer[0], "stop"))
        yield None, {"id": "chatcmpl-1", "object": "chat.completion.chunk", "created": 1700000000, "model": "up-1",
                     "choices": [], "usage": cls.usage}
        yield None, "[DONE]"

    @staticmethod
    def refusal(message):
        return {"error": {"message": message, "type": "invalid_request_error", "param": None, "code": None}}


class OpenaiCompletions:
    """The legacy completions of an API in OpenAI's chat dialect."""

    @staticmethod
    def read(body, path):
        asked = Asked()
        asked.texts.append(body["prompt"])
        return asked, bool(body.get("stream"))

    @staticmethod
    def completion(text, finish, **more):
        return {"id": "cmpl-1", "object": "text_completion", "created": 1700000000, "model": "up-1",
                "choices": [{"index": 0, "text": text, "logprobs": None, "finish_reason": finish}], **more}

    @classmethod
    def whole(cls, answer):
        return cls.completion(answer[1], "length" if answer[0] == "at length" else "stop", usage=OpenaiChat.usage)

    @classmethod
    def stream(cls, answer):
        for piece in pieces(answer[1]):
            yield None, cls.completion(piece, None)
        yield None, cls.completion("", "length" if answer[0] == "at length" else "stop")
        yield None, {**cls.completion("", None), "choices": [], "usage": OpenaiChat.usage}
        yield None, "[DONE]"

    refusal = OpenaiChat.refusal


class OpenaiResponses:
    path = "/openai_responses/"

    @staticmethod
    def read(body, path):
        asked = Asked()
        asked.system = body.get("instructions") or ""
        items = body["input"]
        if isinstance(items, str):
            items = [{"role": "user", "content": items}]
        for item in items:
            if item.get("type") == "function_call_output":
                output = item["output"]
                asked.results.append(output if isinstance(output, str) else "".join(p.get("text", "") for p in output))
            elif "role" in item:
                words = ""
                for part in parts_of(item["content"]):
                    if part["type"] in ("text", "input_text", "output_text"):
                        words += part["text"]
                    elif part["type"] == "input_image":
                        asked.image_bytes += size_of(part["image_url"].split(",", 1)[1])
                if item["role"] in ("system", "developer"):
                    asked.system += words
                elif item["role"] == "user":
                    asked.texts.append(words)
                    asked.results = []
        for tool in body.get("tools") or []:
            asked.tools[tool["name"]] = tool.get("parameters") or {}
        choice = body.get("tool_choice")
        if isinstance(choice, dict):
            asked.forced = choice["name"]
        elif choice == "required":
            asked.forced = next(iter(asked.tools))
        form = (body.get("text") or {}).get("format") or {}
        if form.get("type") == "json_schema":
            asked.schema = form["schema"]
        return asked, bool(body.get("stream"))

    usage = {"input_tokens": FRESH + CACHED, "input_tokens_details": {"cached_tokens": CACHED, "cache_write_tokens": 0},
             "output_tokens": OUTPUT, "output_tokens_details": {"reasoning_tokens": 0},
             "total_tokens": FRESH + CACHED + OUTPUT}

    @classmethod
    def response(cls, status, output, usage):
        return {"id": "resp_1", "object": "response", "created_at": 1700000000, "status": status, "model": "up-1",
                "error": None, "incomplete_details": {"reason": "max_output_tokens"} if status == "incomplete" else None, "instructions": None, "metadata": {},
                "parallel_tool_calls": True, "temperature": 1.0, "top_p": 1.0, "tool_choice": "auto", "tools": [],
                "output": output, **({"usage": usage} if usage else {})}

    @classmethod
    def item(cls, answer):
        if answer[0] == "decline":
            return {"type": "message", "id": "msg_1", "status": "completed", "role": "assistant",
                    "content": [{"type": "refusal", "refusal": answer[1]}]}
        if answer[0] != "call":
            source = {"type": "url_citation", "start_index": 0, "end_index": len(answer[1]), **SOURCE}
            return {"type": "message", "id": "msg_1", "role": "assistant",
                    "status": "incomplete" if answer[0] == "at length" else "completed",
                    "content": [{"type": "output_text", "text": answer[1], "logprobs": [],
                                 "annotations": [source] if answer[0] == "cite" else []}]}
        return {"type": "function_call", "id": "fc_1", "call_id": "call_1", "name": answer[1],
                "arguments": json.dumps(answer[2]), "status": "completed"}

    @classmethod
    def whole(cls, answer):
        output = [cls.item(answer)]
        if answer[0] == "think":
            output.insert(0, cls.thought())
        return cls.response("incomplete" if answer[0] == "at length" else "completed", output, cls.usage)

    @staticmethod
    def thought():
        return {"type": "reasoning", "id": "rs_1", "summary": [{"type": "summary_text", "text": THOUGHT}], "encrypted_content": SEAL}

    @classmethod
    def stream(cls, answer):
        whole = cls.whole(answer)
        events = [(kind, {"response": cls.response("in_progress", [], None)}) for kind in ("response.created", "response.in_progress")]
        for index, item in enumerate(whole["output"]):
            events += cls.item_events(index, item)
        events.append(("response." + whole["status"], {"response": whole}))
        for number, (kind, data) in enumerate(events):
            yield kind, {"type": kind, "sequence_number": number, **data}

    @classmethod
    def item_events(cls, index, item):
        at = {"output_index": index, "item_id": item["id"]}
        if item["type"] == "reasoning":
            begun, at, part = {**item, "summary": []}, {**at, "summary_index": 0}, item["summary"][0]
            empty, kind, text, more = {**part, "text": ""}, "response.reasoning_summary", part["text"], {}
            part_kind, text_kind, member = "response.reasoning_summary_part", kind + "_text", "text"
        elif item["type"] == "message":
            begun, at, part = {**item, "content": [], "status": "in_progress"}, {**at, "content_index": 0}, item["content"][0]
            member = "refusal" if part["type"] == "refusal" else "text"
            empty, text, part_kind = {**part, member: ""}, part[member], "response.content_part"
            if "annotations" in empty:
                empty["annotations"] = []
            text_kind = "response.refusal" if member == "refusal" else "response.output_text"
            more = {} if member == "refusal" else {"logprobs": []}
        else:
            yield "response.output_item.added", {"output_index": index, "item": {**item, "status": "in_progress", "arguments": ""}}
            for piece in pieces(item["arguments"]):
                yield "response.function_call_arguments.delta", {**at, "delta": piece}
            yield "response.function_call_arguments.done", {**at, "name": item["name"], "arguments": item["arguments"]}
            yield "response.output_item.done", {"output_index": index, "item": item}
            return
        yield "response.output_item.added", {"output_index": index, "item": begun}
        yield part_kind + ".added", {**at, "part": empty}
        for piece in pieces(text):
            yield text_kind + ".delta", {**at, "delta": piece, **more}
        for number, source in enumerate(part.get("annotations", [])):
            yield "response.output_text.annotation.added", {**at, "annotation_index": number, "annotation": source}
        yield text_kind + ".done", {**at, member: text, **more}
        yield part_kind + ".done", {**at, "part": part}
        yield "response.output_item.done", {"output_index": index, "item": item}

    refusal = OpenaiChat.refusal


class AnthropicMessages:
    path = "/anthropic_messages/"

    @staticmethod
    def read(body, path):
        asked = Asked()
        system = body.get("system") or ""
        asked.system = "".join(part["text"] for part in parts_of(system))
        for message in body["messages"]:
            if message["role"] != "user":
                continue
            words, results = "", []
            for part in parts_of(message["content"]):
                if part["type"] == "text":
                    words += part["text"]
                elif part["type"] == "image":
                    asked.image_bytes += size_of(part["source"]["data"])
                elif part["type"] == "tool_result":
                    results.append("".join(p["text"] for p in parts_of(part.get("content"))))
            asked.results = results
            if words:
                asked.texts.append(words)
        for tool in body.get("tools") or []:
            asked.tools[tool["name"]] = tool["input_schema"]
        choice = body.get("tool_choice") or {}
        if choice.get("type") == "tool":
            asked.forced = choice["name"]
        elif choice.get("type") == "any":
            asked.forced = next(iter(asked.tools))
        form = (body.get("output_config") or {}).get("format") or body.get("output_format")
        if form:
            asked.schema = form["schema"]
        assert body["max_tokens"] > 0
        return asked, bool(body.get("stream"))

    usage = {"input_tokens": FRESH, "cache_read_input_tokens": CACHED, "cache_creation_input_tokens": 0, "output_tokens": OUTPUT}

    stops = {"call": "tool_use", "at length": "max_tokens", "decline": "refusal"}

    @staticmethod
    def blocks(answer):
        text = {"type": "text", "text": answer[1]}
        if answer[0] == "cite":
            text["citations"] = [{"type": "web_search_result_location", "cited_text": "words", "encrypted_index": SEAL, **SOURCE}]
        thought = {"type": "thinking", "thinking": THOUGHT, "signature": SEAL}
        return [thought, text] if answer[0] == "think" else [text]

    @classmethod
    def message(cls, content, stop, usage):
        return {"id": "msg_1", "type": "message", "role": "assistant", "model": "up-1", "content": content,
                "stop_reason": stop, "stop_sequence": None, "usage": usage}

    @classmethod
    def whole(cls, answer):
        if answer[0] != "call":
            return cls.message(cls.blocks(answer), cls.stops.get(answer[0], "end_turn"), cls.usage)
        block = {"type": "tool_use", "id": "call_1", "name": answer[1], "input": answer[2]}
        return cls.message([block], "tool_use", cls.usage)

    @classmethod
    def stream(cls, answer):
        def event(kind, **data):
            return kind, {"type": kind, **data}
        yield event("message_start", message=cls.message([], None, {**cls.usage, "output_tokens": 1}))
        if answer[0] == "call":
            yield event("content_block_start", index=0, content_block={"type": "tool_use", "id": "call_1", "name": answer[1], "input": {}})
            for piece in pieces(json.dumps(answer[2])):
                yield event("content_block_delta", index=0, delta={"type": "input_json_delta", "partial_json": piece})
            yield event("content_block_stop", index=0)
        for index, block in enumerate([] if answer[0] == "call" else cls.blocks(answer)):
            kind = block["type"]
            begun = {**block, kind: ""}
            begun.update({name: type(value)() for name, value in begun.items() if name in ("citations", "signature")})
            yield event("content_block_start", index=index, content_block=begun)
            yield event("ping")
            for piece in pieces(block[kind]):
                yield event("content_block_delta", index=index, delta={"type": kind + "_delta", kind: piece})
            if kind == "thinking":
                yield event("content_block_delta", index=index, delta={"type": "signature_delta", "signature": SEAL})
            for source in block.get("citations") or []:
                yield event("content_block_delta", index=index, delta={"type": "citations_delta", "citation": source})
            yield event("content_block_stop", index=index)
        stop = cls.stops.get(answer[0], "end_turn")
        yield event("message_delta", delta={"stop_reason": stop, "stop_sequence": None}, usage={"output_tokens": OUTPUT})
        yield event("message_stop")

    @staticmethod
    def refusal(message):
        return {"type": "error", "error": {"type": "invalid_request_error", "message": message}, "request_id": "req_1"}


class GeminiGenerate:
    path = "/gemini_generate/"

    @staticmethod
    def read(body, path):
        asked = Asked()
        asked.system = "".join(part["text"] for part in (body.get("systemInstruction") or {}).get("parts", []))
        for content in body["contents"]:
            if content.get("role") == "model":
                continue
            words, results = "", []
            for part in content["parts"]:
                if "text" in part:
                    words += part["text"]
                elif "inlineData" in part:
                    asked.image_bytes += size_of(part["inlineData"]["data"])
                elif "functionResponse" in part:
                    response = part["functionResponse"]["response"]
                    results.append(" ".join(str(value) for value in response.values()))
            asked.results = results
            if words:
                asked.texts.append(words)
        for tool in body.get("tools") or []:
            for function in tool.get("functionDeclarations", []):
                asked.tools[function["name"]] = function.get("parametersJsonSchema") or function.get("parameters") or {}
        calling = (body.get("toolConfig") or {}).get("functionCallingConfig") or {}
        if calling.get("mode") == "ANY":
            asked.forced = (calling.get("allowedFunctionNames") or list(asked.tools))[0]
        config = body.get("generationConfig") or {}
        asked.schema = config.get("responseJsonSchema") or config.get("responseSchema")
        return asked, ":streamGenerateContent" in path

    usage = {"promptTokenCount": FRESH + CACHED, "cachedContentTokenCount": CACHED, "candidatesTokenCount": OUTPUT,
             "totalTokenCount": FRESH + CACHED + OUTPUT}

    @classmethod
    def chunk(cls, parts, finish=None, usage=None):
        candidate = {"index": 0, "content": {"role": "model", "parts": parts}}
        if finish:
            candidate["finishReason"] = finish
        body = {"candidates": [candidate], "modelVersion": "up-1", "responseId": "g1"}
        if usage:
            body["usageMetadata"] = usage
        return body

    @classmethod
    def whole(cls, answer):
        if answer[0] == "call":
            return cls.chunk([{"functionCall": {"name": answer[1], "args": answer[2]}, "thoughtSignature": SEAL}], "STOP", cls.usage)
        if answer[0] == "decline":
            return {**cls.chunk([], "SAFETY", cls.usage), "candidates": [{"index": 0, "finishReason": "SAFETY"}]}
        thought = [{"text": THOUGHT, "thought": True}] if answer[0] == "think" else []
        body = cls.chunk([*thought, cls.said(answer, answer[1])], cls.finish(answer), cls.usage)
        return cls.grounded(answer, body)

    @staticmethod
    def said(answer, text):
        return {"text": text, "thoughtSignature": SEAL} if answer[0] == "think" else {"text": text}

    @staticmethod
    def finish(answer):
        return "MAX_TOKENS" if answer[0] == "at length" else "STOP"

    @staticmethod
    def grounded(answer, body):
        if answer[0] == "cite":
            body["candidates"][0]["groundingMetadata"] = {
                "groundingChunks": [{"web": {"uri": SOURCE["url"], "title": SOURCE["title"]}}],
                "groundingSupports": [{"segment": {"startIndex": 0, "endIndex": len(answer[1].encode()), "text": answer[1]},
                                       "groundingChunkIndices": [0]}]}
        return body

    @classmethod
    def stream(cls, answer):
        if answer[0] in ("call", "decline"):
            yield None, cls.whole(answer)
            return
        if answer[0] == "think":
            yield None, cls.chunk([{"text": THOUGHT, "thought": True}])
        for piece in pieces(answer[1]):
            yield None, cls.chunk([{"text": piece}])
        yield None, cls.grounded(answer, cls.chunk([cls.said(answer, "")], cls.finish(answer), cls.usage))

    @staticmethod
    def refusal(message):
        return {"error": {"code": 400, "message": message, "status": "INVALID_ARGUMENT"}}


class BedrockConverse:
    path = "/bedrock_converse/"

    @staticmethod
    def read(body, path):
        asked = Asked()
        asked.system = "".join(part.get("text", "") for part in body.get("system") or [])
        for message in body["messages"]:
            if message["role"] != "user":
                continue
            words, results = "", []
            for part in message["content"]:
                if "text" in part:
                    words += part["text"]
                elif "image" in part:
                    asked.image_bytes += size_of(part["image"]["source"]["bytes"])
                elif "toolResult" in part:
                    results.append("".join(p.get("text") or json.dumps(p.get("json")) for p in part["toolResult"]["content"]))
            asked.results = results
            if words:
                asked.texts.append(words)
        config = body.get("toolConfig") or {}
        for tool in config.get("tools") or []:
            asked.tools[tool["toolSpec"]["name"]] = tool["toolSpec"]["inputSchema"]["json"]
        choice = config.get("toolChoice") or {}
        if "tool" in choice:
            asked.forced = choice["tool"]["name"]
        elif "any" in choice:
            asked.forced = next(iter(asked.tools))
        form = ((body.get("outputConfig") or {}).get("textFormat") or {}).get("structure", {}).get("jsonSchema")
        if form:
            schema = form["schema"]
            asked.schema = json.loads(schema) if isinstance(schema, str) else schema
        return asked, path.endswith("/converse-stream")

    usage = {"inputTokens": FRESH, "outputTokens": OUTPUT, "totalTokens": FRESH + CACHED + OUTPUT,
             "cacheReadInputTokens": CACHED, "cacheWriteInputTokens": 0}

    stops = {"call": "tool_use", "at length": "max_tokens", "decline": "content_filtered"}
    source = {"title": SOURCE["title"], "sourceContent": [{"text": "words"}], "location": {"web": {"url": SOURCE["url"]}}}

    @classmethod
    def whole(cls, answer):
        parts = [{"text": answer[1]}]
        if answer[0] == "call":
            parts = [{"toolUse": {"toolUseId": "call_1", "name": answer[1], "input": answer[2]}}]
        elif answer[0] == "cite":
            parts = [{"citationsContent": {"content": parts, "citations": [cls.source]}}]
        elif answer[0] == "think":
            parts.insert(0, {"reasoningContent": {"reasoningText": {"text": THOUGHT, "signature": SEAL}}})
        return {"output": {"message": {"role": "assistant", "content": parts}},
                "stopReason": cls.stops.get(answer[0], "end_turn"),
                "usage": cls.usage, "metrics": {"latencyMs": 5}}

    @classmethod
    def stream(cls, answer):
        yield "messageStart", {"role": "assistant"}
        index = 0
        if answer[0] == "think":
            for piece in pieces(THOUGHT):
                yield "contentBlockDelta", {"contentBlockIndex": 0, "delta": {"reasoningContent": {"text": piece}}}
            yield "contentBlockDelta", {"contentBlockIndex": 0, "delta": {"reasoningContent": {"signature": SEAL}}}
            yield "contentBlockStop", {"contentBlockIndex": 0}
            index = 1
        if answer[0] == "call":
            yield "contentBlockStart", {"contentBlockIndex": 0, "start": {"toolUse": {"toolUseId": "call_1", "name": answer[1]}}}
            for piece in pieces(json.dumps(answer[2])):
                yield "contentBlockDelta", {"contentBlockIndex": 0, "delta": {"toolUse": {"input": piece}}}
        else:
            for piece in pieces(answer[1]):
                yield "contentBlockDelta", {"contentBlockIndex": index, "delta": {"text": piece}}
            if answer[0] == "cite":
                yield "contentBlockDelta", {"contentBlockIndex": 0, "delta": {"citation": cls.source}}
        yield "contentBlockStop", {"contentBlockIndex": index}
        yield "messageStop", {"stopReason": cls.stops.get(answer[0], "end_turn")}
        yield "metadata", {"usage": cls.usage, "metrics": {"latencyMs": 5}}

    @staticmethod
    def refusal(message):
        return {"message": message}


def embeddings(body):
    vectors = [struct.pack("<4f", 0.5, -0.25, index, 1) for index, _ in enumerate(parts_of(body["input"]))]
    floats = body.get("encoding_format") != "base64"
    data = [list(struct.unpack("<4f", vector)) if floats else base64.b64encode(vector).decode() for vector in vectors]
    return {"object": "list", "model": "up-1", "usage": {"prompt_tokens": 9, "total_tokens": 9},
            "data": [{"object": "embedding", "index": index, "embedding": vector} for index, vector in enumerate(data)]}


DIALECTS = [OpenaiChat, OpenaiResponses, AnthropicMessages, GeminiGenerate, BedrockConverse]


def amazon_frame(name, data):
    """One message of Amazon's event stream."""
    payload = json.dumps(data).encode()
    headers = b""
    for header, value in ((":message-type", "event"), (":event-type", name), (":content-type", "application/json")):
        headers += struct.pack("!B", len(header)) + header.encode() + struct.pack("!BH", 7, len(value)) + value.encode()
    prelude = struct.pack("!II", 16 + len(headers) + len(payload), len(headers))
    message = prelude + struct.pack("!I", zlib.crc32(prelude)) + headers + payload
    return message + struct.pack("!I", zlib.crc32(message))


def sse(name, data):
    text = data if isinstance(data, str) else json.dumps(data, ensure_ascii=False)
    return ((f"event: {name}\n" if name else "") + f"data: {text}\n\n").encode()


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *_):
        pass

    def do_POST(self):
        body = json.loads(self.rfile.read(int(self.headers["content-length"])))
        dialect = next(each for each in DIALECTS if self.path.startswith(each.path))
        if self.path.endswith("/embeddings"):
            return self.whole(200, embeddings(body))
        if dialect is OpenaiChat and not self.path.endswith("/chat/completions"):
            dialect = OpenaiCompletions
        try:
            asked, streamed = dialect.read(body, self.path)
            if any("fail-400" in text for text in asked.texts):
                return self.whole(400, dialect.refusal("the provider will not have it"))
            answer = asked.answer()
        except Exception as error:  # what cannot be understood is a fault of whoever wrote it
            return self.whole(400, dialect.refusal(f"cannot be read: {error!r} in {json.dumps(body)[:2000]}"))
        if not streamed:
            return self.whole(200, dialect.whole(answer))
        amazon = dialect is BedrockConverse
        self.send_response(200)
        self.send_header("content-type", "application/vnd.amazon.eventstream" if amazon else "text/event-stream")
        self.send_header("transfer-encoding", "chunked")
        self.end_headers()
        for name, data in dialect.stream(answer):
            self.chunk(amazon_frame(name, data) if amazon else sse(name, data))
        self.chunk(b"")

    def chunk(self, data):
        self.wfile.write(f"{len(data):x}\r\n".encode() + data + b"\r\n")

    def whole(self, status, body):
        data = json.dumps(body, ensure_ascii=False).encode()
        self.send_response(status)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)


if __name__ == "__main__":
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    with open(sys.argv[1], "w", encoding="ascii") as port:
        port.write(str(server.server_port))
    server.serve_forever()
