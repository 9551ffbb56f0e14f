"""A scripted provider for the real-client suite: a server that does what the prompt says, in OpenAI's dialect
and, under `/v1/messages`, in Anthropic's.

A request carries its script anywhere in its body, as `[[id=abc case=status status=500 times=1]]`. Every
call is kept under its id, so that a test can ask afterwards (`GET /_calls/abc`) how often the provider
was called, with what, and whether the caller hung up. Loopback only; standard library only.

Scripts (`case=`):
  answer       the default: tools, JSON schema, logprobs, `n` and usage follow from the request
  status       an error of `status=`, with `retry_after=`, `code=`; `times=N` fails only the first N calls
  refuse       a 500 for the upstream model `model=`, an answer for every other
  slow         waits `seconds=` before the head of the answer
  cut          a stream that is cut in the middle, without its end
  error_event  a stream that says in the middle that it has failed
  trickle      a stream that goes on for a minute, unless the caller hangs up
"""

import base64
import json
import re
import select
import socket
import struct
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

SCRIPT = re.compile(rb"\[\[(.*?)\]\]")

# What each answer reports; the suites compute the expected bill from the same figures.
CHAT_USAGE = {
    "prompt_tokens": 20,
    "completion_tokens": 10,
    "total_tokens": 30,
    "prompt_tokens_details": {"cached_tokens": 8},
    "completion_tokens_details": {"reasoning_tokens": 4},
}
COMPLETION_USAGE = {"prompt_tokens": 5, "completion_tokens": 6, "total_tokens": 11}
EMBEDDING_USAGE = {"prompt_tokens": 9, "total_tokens": 9}
WORDS = ["The", " answer", " is", " forty", "-two", ", señor", "."]
STRUCTURED = {"city": "Madrid", "population": 3300000}
ARGUMENTS = {"city": "Madrid", "unit": "celsius"}


class Calls:
    """Every call so far, by the id in its script."""

    def __init__(self):
        self._lock = threading.Lock()
        self._by_id = {}

    def add(self, call_id, call):
        with self._lock:
            calls = self._by_id.setdefault(call_id, [])
            calls.append(call)
            return len(calls)

    def of(self, call_id):
        with self._lock:
            return list(self._by_id.get(call_id, []))


CALLS = Calls()


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def log_message(self, *_):
        pass

    def do_GET(self):
        if self.path.startswith("/_calls/"):
            self.send_json(200, {"calls": CALLS.of(self.path.removeprefix("/_calls/"))})
        else:
            self.send_json(404, error("there is nothing here", "not_found"))

    def do_POST(self):
        raw = self.rfile.read(int(self.headers.get("content-length", 0)))
        script = read_script(raw)
        body = json.loads(raw)
        self.call = {
            "path": self.path,
            "headers": {name.lower(): value for name, value in self.headers.items()},
            "body": body,
            "hung_up": False,
        }
        nth = CALLS.add(script.get("id", "unnamed"), self.call)
        case = script.get("case", "answer")
        if case == "status" and nth <= int(script.get("times", 1_000_000)):
            return self.send_refusal(script)
        if case == "refuse" and body["model"] == script["model"]:
            return self.send_json(500, error("the model is out of order", "server_error"))
        if case == "slow" and self.hangs_up_within(float(script["seconds"])):
            self.close_connection = True
            return None
        return self.answer(body, case)

    def answer(self, body, case):
        if self.path.endswith("/embeddings"):
            return self.send_json(200, embeddings(body))
        if self.path.endswith("/messages"):
            return self.answer_messages(body, case)
        chat = self.path.endswith("/chat/completions")
        if not body.get("stream"):
            return self.send_json(200, chat_answer(body) if chat else completion(body))
        self.send_response(200)
        self.send_header("content-type", "text/event-stream")
        self.send_header("transfer-encoding", "chunked")
        self.end_headers()
        try:
            if case == "trickle":
                return self.trickle(body)
            events = list(chat_events(body) if chat else completion_events(body))
            if case in ("cut", "error_event"):
                return self.break_off(events[:3], case)
            for event in events:
                self.send_event(event)
            self.send_chunk(b"data: [DONE]\n\n")
            self.send_chunk(b"")
        except OSError:
            self.call["hung_up"] = True
            self.close_connection = True
        return None

    def answer_messages(self, body, case):
        if not body.get("stream"):
            return self.send_json(200, message(body))
        self.send_response(200)
        self.send_header("content-type", "text/event-stream")
        self.send_header("transfer-encoding", "chunked")
        self.end_headers()
        events = list(message_events(message(body)))
        if case == "error_event":
            refusal = {"type": "overloaded_error", "message": "the model fell over"}
            events = [*events[:3], {"type": "error", "error": refusal}]
        for event in events:
            self.send_chunk(f"event: {event['type']}\n".encode())
            self.send_event(event)
        return self.send_chunk(b"")

    def break_off(self, events, case):
        for event in events:
            self.send_event(event)
        if case == "error_event":
            self.send_event(error("the model fell over", "server_error"))
            return self.send_chunk(b"")
        # A reset, as of a provider whose process dies: no last chunk, no end of body.
        time.sleep(0.05)
        linger_off = struct.pack("ii", 1, 0)
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger_off)
        self.close_connection = True
        return None

    def trickle(self, body):
        for count in range(600):
            self.send_event(chunk(body, {"content": f"word {count} "}))
            if self.hangs_up_within(0.1):
                self.close_connection = True
                return None
        return self.send_chunk(b"")

    def hangs_up_within(self, seconds):
        """Waits, and notes when the caller closes the connection meanwhile."""
        readable, _, _ = select.select([self.connection], [], [], seconds)
        try:
            closed = bool(readable) and self.connection.recv(1, socket.MSG_PEEK) == b""
        except OSError:
            closed = True
        self.call["hung_up"] = self.call["hung_up"] or closed
        return closed

    def send_refusal(self, script):
        status = int(script["status"])
        kind = script.get("code", "invalid_value" if status < 500 else "server_error")
        headers = {"retry-after": script["retry_after"]} if "retry_after" in script else {}
        refusal = error(f"the provider says {status}", kind)
        if self.path.endswith("/messages"):
            kind = "invalid_request_error" if status < 500 else "api_error"
            refusal = {"type": "error", "error": {"type": kind, "message": f"the provider says {status}"}}
        self.send_json(status, refusal, headers)

    def send_json(self, status, value, headers=None):
        payload = json.dumps(value, ensure_ascii=False).encode()
        self.send_response(status)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(payload)))
        for name, text in (headers or {}).items():
            self.send_header(name, text)
        self.end_headers()
        self.wfile.write(payload)

    def send_event(self, value):
        """One event in two pieces that split characters and lines, as networks do."""
        data = b"data: " + json.dumps(value, ensure_ascii=False).encode() + b"\n\n"
        middle = data.find("ñ".encode()) + 1 or len(data) - 1
        self.send_chunk(data[:middle])
        self.send_chunk(data[middle:])

    def send_chunk(self, data):
        self.wfile.write(b"%x\r\n%s\r\n" % (len(data), data))
        self.wfile.flush()


def read_script(raw):
    found = SCRIPT.search(raw)
    words = found.group(1).decode().split() if found else []
    return dict(word.split("=", 1) for word in words)


def error(message, code):
    kind = "server_error" if code == "server_error" else "invalid_request_error"
    return {"error": {"message": message, "type": kind, "param": None, "code": code}}


def envelope(body, kind):
    return {
        "id": "chatcmpl-scripted",
        "object": kind,
        "created": 1_760_000_000,
        "model": body["model"] + "-0701",
        "system_fingerprint": "fp_scripted",
    }


def text_of(body):
    """What the model would say."""
    shape = body.get("response_format") or {}
    if shape.get("type") == "json_schema":
        return json.dumps(STRUCTURED)
    results = [message["content"] for message in body["messages"] if message["role"] == "tool"]
    return "The tools say: " + "; ".join(results) if results else "".join(WORDS)


def tool_calls(body):
    """A call of every tool that is offered, until a result has come back."""
    tools = body.get("tools") or []
    if body.get("parallel_tool_calls") is False:
        tools = tools[:1]
    if not tools or any(message["role"] == "tool" for message in body["messages"]):
        return None
    arguments = json.dumps(ARGUMENTS)
    return [
        {
            "id": f"call_{index}",
            "type": "function",
            "function": {"name": tool["function"]["name"], "arguments": arguments},
        }
        for index, tool in enumerate(tools)
    ]


def logprobs(body, words):
    if not body.get("logprobs"):
        return None
    top = [{"token": "Yes", "logprob": -1.5, "bytes": [89, 101, 115]}]
    entry = {"logprob": -0.25, "top_logprobs": top[: body.get("top_logprobs", 0)]}
    content = [{"token": word, "bytes": list(word.encode()), **entry} for word in words]
    return {"content": content, "refusal": None}


def chat_answer(body):
    calls = tool_calls(body)
    text = None if calls else text_of(body)
    message = {"role": "assistant", "content": text, "refusal": None}
    if calls:
        message["tool_calls"] = calls
    choices = [
        {
            "index": index,
            "message": message,
            "logprobs": logprobs(body, WORDS),
            "finish_reason": "tool_calls" if calls else "stop",
        }
        for index in range(body.get("n") or 1)
    ]
    return {**envelope(body, "chat.completion"), "choices": choices, "usage": CHAT_USAGE}


def chunk(body, delta, index=0, finish=None, scores=None):
    choice = {"index": index, "delta": delta, "logprobs": scores, "finish_reason": finish}
    return {**envelope(body, "chat.completion.chunk"), "choices": [choice]}


def chat_events(body):
    calls = tool_calls(body)
    indices = range(body.get("n") or 1)
    for index in indices:
        yield chunk(body, {"role": "assistant", "content": None if calls else ""}, index)
    if calls:
        yield from tool_events(body, calls)
    else:
        plain = text_of(body)
        words = WORDS if plain == "".join(WORDS) else [plain[:9], plain[9:]]
        for word in words:
            for index in indices:
                yield chunk(body, {"content": word}, index, scores=logprobs(body, [word]))
    for index in indices:
        yield chunk(body, {}, index, finish="tool_calls" if calls else "stop")
    yield from usage_event(body, "chat.completion.chunk", CHAT_USAGE)


def tool_events(body, calls):
    for position, call in enumerate(calls):
        function = call["function"]
        opening = {**call, "index": position, "function": {**function, "arguments": ""}}
        yield chunk(body, {"tool_calls": [opening]})
        for piece in (function["arguments"][:7], function["arguments"][7:]):
            yield chunk(body, {"tool_calls": [{"index": position, "function": {"arguments": piece}}]})


def usage_event(body, kind, usage):
    if (body.get("stream_options") or {}).get("include_usage"):
        yield {**envelope(body, kind), "choices": [], "usage": usage}


def message(body):
    """What an upstream of Anthropic's dialect answers."""
    content = [{"type": "text", "text": "".join(WORDS)}]
    said = json.dumps(body["messages"])
    if (body.get("output_config") or {}).get("format"):
        content[0]["text"] = json.dumps(STRUCTURED)
    elif "tool_result" in said:
        content[0]["text"] = "The tools have answered."
    elif tools := body.get("tools"):
        content = [
            {"type": "tool_use", "id": f"toolu_{index}", "name": tool["name"], "input": ARGUMENTS}
            for index, tool in enumerate(tools)
        ]
    return {
        "id": "msg_scripted",
        "type": "message",
        "role": "assistant",
        "model": body["model"] + "-0701",
        "content": content,
        "stop_reason": "tool_use" if content[0]["type"] == "tool_use" else "end_turn",
        "stop_sequence": None,
        # The same counts as `CHAT_USAGE`, as this dialect has them.
        "usage": {
            "input_tokens": 12,
            "cache_read_input_tokens": 8,
            "cache_creation_input_tokens": 0,
            "output_tokens": 10,
        },
    }


def message_events(whole):
    head = {**whole, "content": [], "stop_reason": None}
    head["usage"] = {**whole["usage"], "output_tokens": 1}
    yield {"type": "message_start", "message": head}
    for index, block in enumerate(whole["content"]):
        if block["type"] == "text":
            start = {**block, "text": ""}
            middle = len(block["text"]) // 2
            pieces = [block["text"][:middle], block["text"][middle:]]
            deltas = [{"type": "text_delta", "text": piece} for piece in pieces]
        else:
            start = {**block, "input": {}}
            text = json.dumps(block["input"])
            deltas = [{"type": "input_json_delta", "partial_json": piece} for piece in (text[:7], text[7:])]
        yield {"type": "content_block_start", "index": index, "content_block": start}
        yield {"type": "ping"}
        for delta in deltas:
            yield {"type": "content_block_delta", "index": index, "delta": delta}
        yield {"type": "content_block_stop", "index": index}
    ended = {"stop_reason": whole["stop_reason"], "stop_sequence": None}
    yield {"type": "message_delta", "delta": ended, "usage": {"output_tokens": 10}}
    yield {"type": "message_stop"}


def completion(body):
    choice = {"index": 0, "text": "".join(WORDS), "logprobs": None, "finish_reason": "stop"}
    return {**envelope(body, "text_completion"), "choices": [choice], "usage": COMPLETION_USAGE}


def completion_events(body):
    for word in WORDS:
        choice = {"index": 0, "text": word, "logprobs": None, "finish_reason": None}
        yield {**envelope(body, "text_completion"), "choices": [choice]}
    last = {"index": 0, "text": "", "logprobs": None, "finish_reason": "stop"}
    yield {**envelope(body, "text_completion"), "choices": [last]}
    yield from usage_event(body, "text_completion", COMPLETION_USAGE)


def embeddings(body):
    inputs = body["input"] if isinstance(body["input"], list) else [body["input"]]
    data = []
    for index in range(len(inputs)):
        vector = [0.5, -0.25, 0.125, float(index)]
        if body.get("encoding_format") == "base64":
            vector = base64.b64encode(struct.pack("<4f", *vector)).decode()
        data.append({"object": "embedding", "index": index, "embedding": vector})
    return {"object": "list", "data": data, "model": body["model"], "usage": EMBEDDING_USAGE}


class Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128

    def handle_error(self, request, client_address):
        """Callers that hang up are part of the script; anything else is a fault of the script."""
        if not isinstance(sys.exception() if hasattr(sys, "exception") else sys.exc_info()[1], OSError):
            super().handle_error(request, client_address)


if __name__ == "__main__":
    server = Server(("127.0.0.1", 0), Handler)
    # The port goes to whoever started us; it is bound by now.
    with open(sys.argv[1], "w", encoding="utf-8") as port_file:
        port_file.write(str(server.server_port))
    server.serve_forever()
