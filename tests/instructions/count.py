"""Runs tollgate under callgrind between a client and an upstream of its own, and counts instructions per
request. Used by `run` beside it; Python's standard library only."""

import hashlib
import json
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

KEY = "sk-count"
WARM_UP = 20
REQUESTS = 60
SHORT, LONG = 22, 222  # events of a stream
TEXT = ("Please write a short, friendly note to the team about the release on Friday, "
        "and say what changed and who to ask. ")
# Twelve different sentences, so that few words are repeated, as in what people write.
PROMPT = " ".join(f"{TEXT}{word} {2 * at}" for at, word in enumerate(
    "apples benches candles drums engines feathers gloves hinges".split()))


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def read_message(stream, buffer):
    """One HTTP/1.1 message with a content-length, or chunked: (head, body, what follows)."""
    def more():
        nonlocal buffer
        piece = stream.recv(1 << 16)
        if not piece:
            raise ConnectionError("the peer went away")
        buffer += piece

    while b"\r\n\r\n" not in buffer:
        more()
    head, buffer = buffer.split(b"\r\n\r\n", 1)
    length = re.search(rb"(?i)content-length: *(\d+)", head)
    if length:
        while len(buffer) < int(length[1]):
            more()
        return head, buffer[:int(length[1])], buffer[int(length[1]):]
    while not buffer.endswith(b"0\r\n\r\n"):
        more()
    return head, buffer, b""


def whole():
    answer = {"id": "chatcmpl-1", "object": "chat.completion", "created": 1, "model": "m",
              "choices": [{"index": 0, "finish_reason": "stop",
                           "message": {"role": "assistant", "content": "word " * 120}}],
              "usage": {"prompt_tokens": 230, "completion_tokens": 120, "total_tokens": 350}}
    body = json.dumps(answer).encode()
    return (b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n" % len(body)) + body


def events(count):
    def event(delta, finish=None, **more):
        choices = [{"index": 0, "delta": delta, "finish_reason": finish}] if delta is not None else []
        return {"id": "chatcmpl-1", "object": "chat.completion.chunk", "created": 1, "model": "m",
                "choices": choices, **more}

    usage = {"prompt_tokens": 230, "completion_tokens": 19, "total_tokens": 249}
    objects = [event({"role": "assistant", "content": ""})]
    objects += [event({"content": " word"}) for _ in range(count - 4)]
    objects += [event({}, "stop"), event(None, usage=usage)]
    lines = [json.dumps(each, separators=(",", ":")) for each in objects] + ["[DONE]"]
    chunks = [f"data: {line}\n\n".encode() for line in lines]
    # In one write, so that how often the proxy wakes up does not depend on the machine.
    return (b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"
            + b"".join(b"%x\r\n%b\r\n" % (len(chunk), chunk) for chunk in chunks) + b"0\r\n\r\n")


def serve(listener):
    answers = {0: whole(), SHORT: events(SHORT), LONG: events(LONG)}

    def connection(peer):
        buffer = b""
        try:
            while True:
                _, body, buffer = read_message(peer, buffer)
                asked = json.loads(body)
                peer.sendall(answers[asked["max_tokens"] if asked.get("stream") else 0])
        except (ConnectionError, OSError):
            peer.close()

    while True:
        try:
            peer, _ = listener.accept()
        except OSError:
            return
        peer.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        threading.Thread(target=connection, args=(peer,), daemon=True).start()


def configuration(work, data, admin, upstream):
    digest = hashlib.sha256(KEY.encode()).hexdigest()
    huge = 100_000_000
    file = work / "routes.yaml"
    file.write_text(f"""
version: 1
server: {{ listen: "127.0.0.1:{data}", admin_listen: "127.0.0.1:{admin}" }}
state: {{ store: "sqlite:{work}/ledger.db" }}
auth: {{ mode: keys }}
providers: {{ up: {{ dialect: openai_chat, base_url: "http://127.0.0.1:{upstream}/v1", limits: {{ requests_per_minute: {huge} }} }} }}
models:
  small: {{ provider: up, price: {{ input: 0.15, cached_input: 0.075, output: 0.60 }}, context_tokens: 128000, tier: standard, quality: 0.6 }}
  large: {{ provider: up, price: {{ input: 2.50, cached_input: 1.25, output: 10.00 }}, context_tokens: 128000, tier: premium, quality: 0.9 }}
baseline: large
matrix:
  code_generation: {{ simple: [small, large], complex: [large, small], critical: [large] }}
  default: {{ simple: [small, large], complex: [large, small], critical: [large, small] }}
budgets:
  - {{ name: company, limit_usd: 1000000, period: month }}
  - {{ name: team, match: {{ team: count }}, limit_usd: 1000000, period: month }}
teams: {{ count: {{ tier: premium, allow: ["*"], limits: {{ requests_per_minute: {huge} }} }} }}
keys: [ {{ id: count, sha256: "{digest}", team: count, app: count, limits: {{ requests_per_minute: {huge}, tokens_per_minute: {huge}000, concurrent: 1000 }} }} ]
limits: {{ requests_per_minute: {huge} }}
cache: {{ exact: {{ ttl_seconds: 0 }} }}
""")
    return file


def ask(client, model, count, stream_events=0):
    body = {"model": model, "messages": [{"role": "user", "content": PROMPT}], "max_tokens": stream_events or 200}
    if stream_events:
        body |= {"stream": True, "stream_options": {"include_usage": True}}
    body = json.dumps(body, separators=(",", ":")).encode()
    request = (b"POST /v1/chat/completions HTTP/1.1\r\nhost: localhost\r\nauthorization: Bearer %b\r\n"
               b"content-type: application/json\r\nuser-agent: OpenAI/Python 2\r\naccept: application/json\r\n"
               b"content-length: %d\r\n\r\n" % (KEY.encode(), len(body))) + body
    buffer = b""
    for _ in range(count):
        client.sendall(request)
        head, answer, buffer = read_message(client, buffer)
        if not head.startswith(b"HTTP/1.1 200") or (stream_events and b"[DONE]" not in answer):
            raise SystemExit(f"an answer that is no success:\n{head.decode()}\n{answer[:500].decode()}")


def connect(port, process):
    for _ in range(600):
        if process.poll() is not None:
            raise SystemExit("tollgate ended before it listened; see tollgate.log")
        try:
            client = socket.create_connection(("127.0.0.1", port), timeout=120)
            client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            return client
        except OSError:
            time.sleep(0.1)
    raise SystemExit("tollgate does not listen")


class Counter:
    """Instructions of a process under callgrind, between two moments."""

    def __init__(self, work, pid):
        self.work, self.pid, self.dumps = work, pid, 0

    def control(self, *arguments):
        subprocess.run(["callgrind_control", *arguments, str(self.pid)], check=True, timeout=60,
                       stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)

    def of(self, work):
        self.control("-z")
        work()
        time.sleep(0.3)  # the ledger's writer stores the last batch
        self.control("-d")
        self.dumps += 1
        dump = self.work / f"callgrind.{self.dumps}"
        totals = re.search(r"^(?:totals|summary): (\d+)", dump.read_text(), re.MULTILINE)
        return int(totals[1])


def measure(work, binary):
    upstream = socket.create_server(("127.0.0.1", 0))
    threading.Thread(target=serve, args=(upstream,), daemon=True).start()
    data, admin = free_port(), free_port()
    file = configuration(work, data, admin, upstream.getsockname()[1])
    with open(work / "tollgate.log", "w") as log:
        process = subprocess.Popen(
            ["valgrind", "--tool=callgrind", "--instr-atstart=no", f"--callgrind-out-file={work}/callgrind",
             str(binary), "serve", "--config", str(file)],
            stdout=log, stderr=log, env={"TOLLGATE_LOG": "warn", "PATH": "/usr/bin:/bin"})
    try:
        client = connect(data, process)
        for stream_events in (0, SHORT, LONG):
            ask(client, "auto", WARM_UP, stream_events)
        counter = Counter(work, process.pid)
        counter.control("-i", "on")
        ask(client, "auto", 3)
        whole = counter.of(lambda: ask(client, "auto", REQUESTS))
        pinned = counter.of(lambda: ask(client, "small", REQUESTS))
        short = counter.of(lambda: ask(client, "auto", REQUESTS // 2, SHORT))
        long = counter.of(lambda: ask(client, "auto", REQUESTS // 2, LONG))
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(timeout=60)
        except subprocess.TimeoutExpired:
            process.kill()
        upstream.close()
    return {
        "whole": whole // REQUESTS,
        "pinned": pinned // REQUESTS,
        "stream": short // (REQUESTS // 2),
        "stream_event": (long - short) // (REQUESTS // 2) // (LONG - SHORT),
    }


def main():
    work, binary = Path(sys.argv[1]).resolve(), Path(sys.argv[2]).resolve()
    counted = measure(work, binary)
    if len(sys.argv) < 4:
        for name, count in counted.items():
            print(f"{name:<14}{count:>12,} instructions")
        return
    known = json.loads(Path(sys.argv[3]).read_text())
    tolerance = known.pop("tolerance_percent")
    failed = False
    for name, ceiling in known.items():
        share = 100 * counted[name] / ceiling
        over = share > 100 + tolerance
        failed |= over
        word = "MORE than allowed" if over else "lower the ceiling" if share < 100 - tolerance else "ok"
        print(f"{name:<14}{counted[name]:>12,} instructions, {share:5.1f} % of {ceiling:,}: {word}")
    if failed:
        raise SystemExit(f"a hot path takes over {tolerance} % more instructions than ceilings.json says")


main()
