"""Every client of the crossed suite: unmodified, given a base URL and a key, against a model at a provider
of each dialect."""

import base64
import os
import struct
import zlib

import pytest

TOLLGATE = os.environ["TOLLGATE_URL"]
KEY = "unused"
UPSTREAMS = ["openai-chat", "openai-responses", "anthropic-messages", "gemini-generate", "bedrock-converse"]
WEATHER = {
    "type": "object",
    "properties": {"city": {"type": "string", "description": "Where"}},
    "required": ["city"],
    "additionalProperties": False,
}


def _png():
    def chunk(kind, data):
        return struct.pack("!I", len(data)) + kind + data + struct.pack("!I", zlib.crc32(kind + data))

    header = struct.pack("!IIBBBBB", 1, 1, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"\0\0\0\0")) + chunk(b"IEND", b"")


PNG = _png()
PNG_BASE64 = base64.b64encode(PNG).decode()
PNG_URL = "data:image/png;base64," + PNG_BASE64
SAW = f"An image of {len(PNG)} bytes"


@pytest.fixture(params=UPSTREAMS)
def model(request):
    return "at-" + request.param
