"""Asks a real engine through tollgate, in every inbound dialect, whole and streamed, and compares what the
client, the engine and the ledger say of the tokens. Exit code 1 when they differ. Where the engine says
nothing of a stream's tokens, the text must be the same, and the ledger's count is tollgate's estimate.

    python check.py TOLLGATE_URL ENGINE_URL TOLLGATE_PROGRAM LEDGER
"""

import json
import subprocess
import sys
import time

import anthropic
import openai

QUESTION = "Name three rivers of Europe, and say where each of them ends."
SYSTEM = "You are terse."
MOST = 24


def chat(client, stream):
    messages = [{"role": "system", "content": SYSTEM}, {"role": "user", "content": QUESTION}]
    asked = dict(model="engine", messages=messages, max_tokens=MOST, temperature=0)
    if not stream:
        answer = client.chat.completions.create(**asked)
        return answer.choices[0].message.content, answer.usage.prompt_tokens, answer.usage.completion_tokens
    text, usage = "", None
    for chunk in client.chat.completions.create(**asked, stream=True, stream_options={"include_usage": True}):
        usage = chunk.usage or usage
        text += "".join(choice.delta.content or "" for choice in chunk.choices)
    return (text, usage.prompt_tokens, usage.completion_tokens) if usage else (text, None, None)


def responses(client, stream):
    asked = dict(model="engine", instructions=SYSTEM, input=QUESTION, max_output_tokens=MOST, temperature=0)
    if not stream:
        answer = client.responses.create(**asked)
    else:
        # The answer ends at its length, so its last event is `response.incomplete`.
        *_, last = client.responses.create(**asked, stream=True)
        answer = last.response
    usage = answer.usage
    return answer.output_text, usage and usage.input_tokens, usage and usage.output_tokens


def messages(client, stream):
    asked = dict(
        model="engine", system=SYSTEM, messages=[{"role": "user", "content": QUESTION}], max_tokens=MOST,
        extra_body={"temperature": 0},
    )  # fmt: skip
    if not stream:
        answer = client.messages.create(**asked)
    else:
        with client.messages.stream(**asked) as events:
            answer = events.get_final_message()
    text = "".join(block.text for block in answer.content if block.type == "text")
    return text, answer.usage.input_tokens, answer.usage.output_tokens


def ledger(program, file, expected):
    """Tokens by endpoint, once the ledger has all requests."""
    for _ in range(50):
        printed = subprocess.run(
            [program, "report", "--ledger", file, "--by", "endpoint", "--format", "json"],
            check=True, capture_output=True, text=True,
        )  # fmt: skip
        report = json.loads(printed.stdout)
        if sum(row["requests"] for row in report["rows"]) >= expected:
            break
        time.sleep(0.1)
    return report


def main(tollgate, engine, program, file):
    through = openai.OpenAI(base_url=f"{tollgate}/v1", api_key="none", max_retries=0)
    straight = openai.OpenAI(base_url=f"{engine}/v1", api_key="none", max_retries=0)
    claude = anthropic.Anthropic(base_url=tollgate, api_key="none", max_retries=0)
    text, prompt, completion = chat(straight, False)
    _, streamed_prompt, streamed_completion = chat(straight, True)
    print(f"the engine itself, whole: {prompt} + {completion} tokens, {text[:30]!r}…")
    print(f"the engine itself, streamed: {streamed_prompt} + {streamed_completion} tokens")

    ways = (("chat.completions", chat, through), ("responses", responses, through), ("messages", messages, claude))
    failed, inputs, outputs = False, 0, 0
    print(f"\n{'client':<30}{'input':>7}{'output':>8}  same text, same tokens as the engine")
    for name, ask, client in ways:
        seen = ask(client, False)
        failed |= seen != (text, prompt, completion)
        inputs, outputs = inputs + seen[1], outputs + seen[2]
        print(f"{name + ', whole':<30}{seen[1]:>7}{seen[2]:>8}  {'yes' if seen == (text, prompt, completion) else 'NO'}")
    total = ledger(program, file, len(ways))["total"]
    held = (total["input_tokens"], total["output_tokens"])
    failed |= held != (inputs, outputs)
    print(f"the ledger has {held[0]} + {held[1]}: {'the same' if held == (inputs, outputs) else 'DIFFERENT'}\n")

    silent = streamed_prompt is None
    for name, ask, client in ways:
        seen_text, *counts = ask(client, True)
        same = seen_text == text and (silent or counts == [prompt, completion])
        failed |= not same
        counts = ["-" if count is None else count for count in counts]
        print(f"{name + ', streamed':<30}{counts[0]:>7}{counts[1]:>8}  {'yes' if same else 'NO: ' + repr(seen_text[:40])}")
    total = ledger(program, file, 2 * len(ways))["total"]
    held = (total["input_tokens"] - held[0], total["output_tokens"] - held[1])
    said = "the engine says nothing of a stream's tokens, so these are estimates" if silent else "of the streams"
    print(f"the ledger has {held[0]} + {held[1]} more: {said}")
    print({name: value for name, value in total.items() if "estimate" in name})
    failed |= not silent and held != (len(ways) * prompt, len(ways) * completion)
    sys.exit(1 if failed else 0)


main(*sys.argv[1:])
