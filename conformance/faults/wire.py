"""Bytes as they go over the wire, also such as no client sends."""

import contextlib
import json
import os
import socket
import struct

from server import HANGS

UPGRADE = {"Upgrade": "websocket", "Connection": "Upgrade", "Sec-WebSocket-Version": "13",
           "Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ=="}


def head(method, path, fields=()):
    fields = {"Host": "127.0.0.1"} | dict(fields)
    lines = [f"{method} {path} HTTP/1.1", *(f"{name}: {value}" for name, value in fields.items()), "", ""]
    return "\r\n".join(lines).encode("latin-1")


def post(path, body, fields=()):
    return head("POST", path, {"Content-Length": len(body)} | dict(fields)) + body


def frame(opcode, payload, final=True):
    """A client's frame."""
    first = (0x80 if final else 0) | opcode
    if len(payload) < 126:
        begin = struct.pack("!BB", first, 0x80 | len(payload))
    elif len(payload) < 1 << 16:
        begin = struct.pack("!BBH", first, 0xFE, len(payload))
    else:
        begin = struct.pack("!BBQ", first, 0xFF, len(payload))
    mask = os.urandom(4)
    return begin + mask + bytes(byte ^ mask[at % 4] for at, byte in enumerate(payload))


class Wire:
    """A connection."""

    def __init__(self, server, room=None):
        self.socket = socket.socket()
        self.socket.settimeout(HANGS)
        if room:
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, room)
        self.socket.connect((server.address, server.port))

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.socket.close()

    def send(self, data):
        # What is refused early may be gone before it has sent everything.
        with contextlib.suppress(ConnectionError):
            self.socket.sendall(data)
        return self

    def exactly(self, count):
        data = b""
        while len(data) < count:
            piece = self.socket.recv(count - len(data))
            if not piece:
                break
            data += piece
        return data

    def answer(self):
        """The status of the next answer, and its fields' bytes; the body stays."""
        told = b""
        while not told.endswith(b"\r\n\r\n"):
            byte = self.socket.recv(1)
            if not byte:
                return None, told
            told += byte
        return int(told.split()[1]), told

    def rest(self):
        """All that comes until the connection ends, by whatever means."""
        data = b""
        with contextlib.suppress(ConnectionError):
            while piece := self.socket.recv(1 << 16):
                data += piece
        return data

    def close_code(self):
        """The code of the server's Close frame."""
        while begin := self.exactly(2):
            length = begin[1]
            if length == 126:
                length, = struct.unpack("!H", self.exactly(2))
            payload = self.exactly(length)
            if begin[0] & 0xF == 8:
                return struct.unpack("!H", payload[:2])[0]
        return None


def ask(server, data):
    """The status that these bytes are answered with; `None` if by nothing at all."""
    with Wire(server) as wire:
        try:
            return wire.send(data).answer()[0]
        except ConnectionError:
            return None


def websocket(server, channel, protocol=None, room=None, **fields):
    """An open WebSocket, as bytes."""
    wire = Wire(server, room)
    asked = UPGRADE | ({"Sec-WebSocket-Protocol": protocol} if protocol else {}) | fields
    status, told = wire.send(head("GET", f"/channels/{channel}", asked)).answer()
    assert status == 101, told
    return wire


def stream(server, channel, kind, room=None):
    """An open stream of that type."""
    wire = Wire(server, room)
    status, told = wire.send(head("GET", f"/channels/{channel}", {"Accept": kind})).answer()
    assert status == 200, told
    return wire


def cursor(server, path):
    """Where a channel stands: the cursor, and the publications that a page has after one."""
    status, text = server.get(path)
    assert status == 200, text
    page = json.loads(text)
    return page["cursor"], page["recovered"], [item["data"] for item in page["publications"]]
