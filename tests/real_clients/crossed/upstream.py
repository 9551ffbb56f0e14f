"""A provider that speaks every dialect, each below its own path: it reads what it was asked in that
dialect's own form and answers in it, whole or streamed. What it answers follows from what it was asked:

    a tool whose result is not there yet, and "weather" in the question   → a call of the tool
    a tool's result                                                      → a text that repeats it
    a JSON schema, or a tool that must be called                         → the least that fits the schema
    an image                                                             → a text that says how large it is
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
        message = {"role": "assistant", "content": None, "refusal": None}
        if answer[0] == "text":
            message["content"] = answer[1]
        else:
            message["tool_calls"] = [{"id": "call_1", "type": "function",
                                      "function": {"name": answer[1], "arguments": json.dumps(answer[2])}}]
        finish = "stop" if answer[0] == "text" else "tool_calls"
        return {"id": "chatcmpl-1", "object": "chat.completion", "created": 1700000000, "model": "up-1",
                "choices": [{"index": 0, "message": message, "logprobs": None, "finish_reason": finish}],
                "usage": cls.usage}

    @classmethod
    def stream(cls, answer):
        def chunk(delta, finish=None):
            return None, {"id": "chatcmpl-1", "object": "chat.completion.chunk", "created": 1700000000, "model": "up-1",
                          "choices": [{"index": 0, "delta": delta, "finish_reason": finish}]}
        yield chunk({"role": "assistant", "content": ""})
        if answer[0] == "text":
            for piece in pieces(answer[1]):
                yield chunk({"content": piece})
        else:
            yield chunk({"tool_calls": [{"index": 0, "id": "call_1", "type": "function",
                                         "function": {"name": answer[1], "arguments": ""}}]})
            for piece in pieces(json.dumps(answer[2])):
                yield chunk({"tool_calls": [{"index": 0, "function": {"arguments": piece}}]})
        yield chunk({}, "stop" if answer[0] == "text" else "tool_calls")
        yield None, {"id": "chatcmpl-1", "object": "chat.completion.chunk", "created": 1700000000, "model": "up-1",
                     "choices": [], "usage": cls.usage}
        yield None, "[DONE]"

    @staticmethod
    def refusal(message):
        return {"error": {"message": message, "type": "invalid_request_error", "param": None, "code": None}}


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

    usage = {"input_tokens": FRESH + CACHED, "input_tokens_details": {"cached_tokens": CACHED},
             "output_tokens": OUTPUT, "output_tokens_details": {"reasoning_tokens": 0},
             "total_tokens": FRESH + CACHED + OUTPUT}

    @classmethod
    def response(cls, status, output, usage):
        return {"id": "resp_1", "object": "response", "created_at": 1700000000, "status": status, "model": "up-1",
                "error": None, "incomplete_details": None, "instructions": None, "metadata": {},
                "parallel_tool_calls": True, "temperature": 1.0, "top_p": 1.0, "tool_choice": "auto", "tools": [],
                "output": output, "usage": usage}

    @classmethod
    def item(cls, answer):
        if answer[0] == "text":
            return {"type": "message", "id": "msg_1", "status": "completed", "role": "assistant",
                    "content": [{"type": "output_text", "text": answer[1], "annotations": []}]}
        return {"type": "function_call", "id": "fc_1", "call_id": "call_1", "name": answer[1],
                "arguments": json.dumps(answer[2]), "status": "completed"}

    @classmethod
    def whole(cls, answer):
        return cls.response("completed", [cls.item(answer)], cls.usage)

    @classmethod
    def stream(cls, answer):
        events = [("response.created", {"response": cls.response("in_progress", [], None)})]
        item = cls.item(answer)
        if answer[0] == "text":
            at = {"output_index": 0, "item_id": "msg_1", "content_index": 0}
            events.append(("response.output_item.added", {"output_index": 0, "item": {**item, "status": "in_progress", "content": []}}))
            events.append(("response.content_part.added", {**at, "part": {"type": "output_text", "text": "", "annotations": []}}))
            events += [("response.output_text.delta", {**at, "delta": piece}) for piece in pieces(answer[1])]
            events.append(("response.output_text.done", {**at, "text": answer[1]}))
            events.append(("response.content_part.done", {**at, "part": item["content"][0]}))
        else:
            at = {"output_index": 0, "item_id": "fc_1"}
            events.append(("response.output_item.added", {"output_index": 0, "item": {**item, "status": "in_progress", "arguments": ""}}))
            events += [("response.function_call_arguments.delta", {**at, "delta": piece}) for piece in pieces(item["arguments"])]
            events.append(("response.function_call_arguments.done", {**at, "arguments": item["arguments"]}))
        events.append(("response.output_item.done", {"output_index": 0, "item": item}))
        events.append(("response.completed", {"response": cls.whole(answer)}))
        for number, (kind, data) in enumerate(events):
            yield kind, {"type": kind, "sequence_number": number, **data}

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

    @classmethod
    def message(cls, content, stop, usage):
        return {"id": "msg_1", "type": "message", "role": "assistant", "model": "up-1", "content": content,
                "stop_reason": stop, "stop_sequence": None, "usage": usage}

    @classmethod
    def whole(cls, answer):
        if answer[0] == "text":
            return cls.message([{"type": "text", "text": answer[1]}], "end_turn", cls.usage)
        block = {"type": "tool_use", "id": "call_1", "name": answer[1], "input": answer[2]}
        return cls.message([block], "tool_use", cls.usage)

    @classmethod
    def stream(cls, answer):
        def event(kind, **data):
            return kind, {"type": kind, **data}
        yield event("message_start", message=cls.message([], None, {**cls.usage, "output_tokens": 1}))
        if answer[0] == "text":
            yield event("content_block_start", index=0, content_block={"type": "text", "text": ""})
            yield event("ping")
            for piece in pieces(answer[1]):
                yield event("content_block_delta", index=0, delta={"type": "text_delta", "text": piece})
        else:
            yield event("content_block_start", index=0, content_block={"type": "tool_use", "id": "call_1", "name": answer[1], "input": {}})
            for piece in pieces(json.dumps(answer[2])):
                yield event("content_block_delta", index=0, delta={"type": "input_json_delta", "partial_json": piece})
        yield event("content_block_stop", index=0)
        stop = "end_turn" if answer[0] == "text" else "tool_use"
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
        part = {"text": answer[1]} if answer[0] == "text" else {"functionCall": {"name": answer[1], "args": answer[2]}}
        return cls.chunk([part], "STOP", cls.usage)

    @classmethod
    def stream(cls, answer):
        if answer[0] == "text":
            for piece in pieces(answer[1]):
                yield None, cls.chunk([{"text": piece}])
        else:
            yield None, cls.chunk([{"functionCall": {"name": answer[1], "args": answer[2]}}])
        yield None, cls.chunk([{"text": ""}], "STOP", cls.usage)

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

    @classmethod
    def whole(cls, answer):
        part = {"text": answer[1]} if answer[0] == "text" else {"toolUse": {"toolUseId": "call_1", "name": answer[1], "input": answer[2]}}
        return {"output": {"message": {"role": "assistant", "content": [part]}},
                "stopReason": "end_turn" if answer[0] == "text" else "tool_use",
                "usage": cls.usage, "metrics": {"latencyMs": 5}}

    @classmethod
    def stream(cls, answer):
        yield "messageStart", {"role": "assistant"}
        if answer[0] == "text":
            for piece in pieces(answer[1]):
                yield "contentBlockDelta", {"contentBlockIndex": 0, "delta": {"text": piece}}
        else:
            yield "contentBlockStart", {"contentBlockIndex": 0, "start": {"toolUse": {"toolUseId": "call_1", "name": answer[1]}}}
            for piece in pieces(json.dumps(answer[2])):
                yield "contentBlockDelta", {"contentBlockIndex": 0, "delta": {"toolUse": {"input": piece}}}
        yield "contentBlockStop", {"contentBlockIndex": 0}
        yield "messageStop", {"stopReason": "end_turn" if answer[0] == "text" else "tool_use"}
        yield "metadata", {"usage": cls.usage, "metrics": {"latencyMs": 5}}

    @staticmethod
    def refusal(message):
        return {"message": message}


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
