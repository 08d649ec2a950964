"""Wrong input: each kind has its status or its close code. Raw sockets, since no client lets one send it."""

import json
import socket
import struct
import subprocess

import pytest

from support import HANGS, binary, curl, publish

KEY = "dGhlIHNhbXBsZSBub25jZQ=="
ACCEPT = "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="  # RFC 6455, section 1.3
FIN, RSV1, RSV2, RSV3 = 0x80, 0x40, 0x20, 0x10
CONTINUATION, TEXT, BINARY, CLOSE, PING, PONG = 0, 1, 2, 8, 9, 10


def frame(first, payload=b"", length=None, mask=b"\x01\x02\x03\x04"):
    """A frame by its first byte. A length of one's own is written as (form, value)."""
    if length is None:
        size = len(payload)
        length = (7, size) if size < 126 else (16, size) if size < 65536 else (64, size)
    form, value = length
    bit = 0x80 if mask is not None else 0
    head = {7: lambda: bytes([bit | value]),
            16: lambda: bytes([bit | 126]) + struct.pack("!H", value),
            64: lambda: bytes([bit | 127]) + struct.pack("!Q", value)}[form]()
    if mask is None:
        return bytes([first]) + head + payload
    return bytes([first]) + head + mask + bytes(byte ^ mask[i % 4] for i, byte in enumerate(payload))


# name: (the bytes, the close code)
VIOLATIONS = {
    "unmasked": (frame(FIN | TEXT, b"hello", mask=None), 1002),
    "RSV1": (frame(FIN | RSV1 | TEXT, b"hello"), 1002),
    "RSV2": (frame(FIN | RSV2 | TEXT, b"hello"), 1002),
    "RSV3": (frame(FIN | RSV3 | TEXT, b"hello"), 1002),
    "RSV1 on a ping": (frame(FIN | RSV1 | PING), 1002),
    "reserved data opcode": (frame(FIN | 3), 1002),
    "reserved control opcode": (frame(FIN | 11), 1002),
    "16-bit length for 5 bytes": (frame(FIN | TEXT, b"hello", length=(16, 5)), 1002),
    "64-bit length for 5 bytes": (frame(FIN | TEXT, b"hello", length=(64, 5)), 1002),
    "64-bit length with its highest bit": (frame(FIN | BINARY, length=(64, 1 << 63)), 1002),
    "fragmented ping": (frame(PING, b"x"), 1002),
    "ping of 126 bytes": (frame(FIN | PING, bytes(126)), 1002),
    "continuation of nothing": (frame(FIN | CONTINUATION, b"x"), 1002),
    "close with half a code": (frame(FIN | CLOSE, b"\x03"), 1002),
    "close with a code that may not travel": (frame(FIN | CLOSE, struct.pack("!H", 1005)), 1002),
    "close with a reason that is not UTF-8": (frame(FIN | CLOSE, b"\x03\xe8\xff"), 1007),
    "text that is not UTF-8": (frame(FIN | TEXT, b"\xce\xba\xff"), 1007),
    # Only the header is there: nothing waits for, nor makes room for, what can't be taken.
    "oversized frame": (frame(FIN | BINARY, length=(64, 1 << 40)), 1009),
}
UNFINISHED = {
    "a message inside a message": (frame(TEXT, b"a") + frame(FIN | TEXT, b"b"), 1002),
    "text that goes wrong in its second fragment": (frame(TEXT, b"\xce") + frame(CONTINUATION, b"\xce"), 1007),
}


class Raw:
    """A TCP connection."""

    def __init__(self, port):
        self.socket = socket.create_connection(("127.0.0.1", port), HANGS)
        self.file = self.socket.makefile("rb")

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.file.close()
        self.socket.close()

    def send(self, data):
        try:
            self.socket.sendall(data)
        except (BrokenPipeError, ConnectionResetError):
            pass  # The server may answer and go before it has all; the answer is what counts.

    def head(self):
        """The status and the fields of an HTTP answer."""
        status = int(self.file.readline().split()[1])
        fields = {}
        while line := self.file.readline().strip():
            name, value = line.decode("latin-1").split(":", 1)
            fields[name.lower()] = value.strip()
        return status, fields

    def close_code(self):
        """Reads frames up to a Close, and returns its code; None if the stream ends without one."""
        while head := self.file.read(2):
            size = head[1]
            if size == 126:
                size, = struct.unpack("!H", self.file.read(2))
            elif size == 127:
                size, = struct.unpack("!Q", self.file.read(8))
            payload = self.file.read(size)
            if head[0] == FIN | CLOSE:
                return struct.unpack("!H", payload[:2])[0]
        return None


def handshake(port, path="/channels/test/raw", method="GET", **changes):
    """An opening handshake. `Name=value` changes or adds a field, `Name=None` leaves it out."""
    fields = {"Host": f"127.0.0.1:{port}", "Connection": "Upgrade", "Upgrade": "websocket",
              "Sec-WebSocket-Version": "13", "Sec-WebSocket-Key": KEY}
    fields |= {name.replace("_", "-"): value for name, value in changes.items()}
    lines = [f"{name}: {value}" for name, value in fields.items() if value is not None]
    return "\r\n".join([f"{method} {path} HTTP/1.1", *lines, "", ""]).encode()


@pytest.fixture(params=["channel", "openline.v1", "library"])
def open_line(request, server, echo):
    """An open WebSocket on a channel, bare and not, and on the library's echo server."""
    port = echo.port if request.param == "library" else server.port
    protocol = request.param if request.param == "openline.v1" else None
    with Raw(port) as raw:
        raw.send(handshake(port, Sec_WebSocket_Protocol=protocol))
        status, fields = raw.head()
        assert (status, fields["sec-websocket-accept"]) == (101, ACCEPT)
        yield raw


@pytest.mark.parametrize("violation", VIOLATIONS)
def test_a_violation_is_closed_with_its_code(open_line, violation):
    data, code = VIOLATIONS[violation]
    open_line.send(data)
    assert open_line.close_code() == code
    assert open_line.file.read() == b"", "the server closes the TCP connection"


@pytest.mark.parametrize("violation", UNFINISHED)
def test_a_broken_message_is_closed_with_its_code(echo, violation):
    data, code = UNFINISHED[violation]
    with Raw(echo.port) as raw:
        raw.send(handshake(echo.port) + data)
        assert raw.head()[0] == 101
        assert raw.close_code() == code


@pytest.mark.parametrize("status, changes", [
    (426, {"Sec_WebSocket_Version": "8"}),
    (426, {"Sec_WebSocket_Version": "14"}),
    (426, {"Sec_WebSocket_Version": "thirteen"}),
    (400, {"Sec_WebSocket_Key": None}),
    (400, {"Sec_WebSocket_Key": ""}),
    (400, {"Sec_WebSocket_Key": "c2hvcnQ="}),
    (400, {"Sec_WebSocket_Key": "not base64!!!!!!!!!!!!=="}),
], ids=str)
def test_a_wrong_opening_handshake_is_refused(server, echo, status, changes):
    for port in (server.port, echo.port):
        with Raw(port) as raw:
            raw.send(handshake(port, **changes))
            got, fields = raw.head()
            assert got == status
            if status == 426:
                assert fields["sec-websocket-version"] == "13"


def test_a_request_that_is_no_handshake_is_told_to_upgrade(echo):
    with Raw(echo.port) as raw:
        raw.send(f"GET / HTTP/1.1\r\nHost: 127.0.0.1:{echo.port}\r\n\r\n".encode())
        status, fields = raw.head()
        assert (status, fields["upgrade"], fields["sec-websocket-version"]) == (426, "websocket", "13")


@pytest.mark.parametrize("data, status", [
    (b"GET /channels/a HTTP/1.1\r\n\r\n", 400),
    (b"GET /channels/a HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", 400),
    (b"GET /channels/a HTTP/1.1\r\nHost: 127.0.0.1\r\n" + b"X-Long: %s\r\n" % (b"x" * 1_000_000), 431),
    (b"\x16\x03\x01\x02\x00\x01\x00", 400),
], ids=["no Host", "two Hosts", "endless head", "TLS"])
def test_a_wrong_head_is_refused(server, data, status):
    with Raw(server.port) as raw:
        raw.send(data)
        assert raw.head()[0] == status


@pytest.mark.parametrize("method", ["GET", "POST", "DELETE", "PUT", "PATCH", "HEAD", "OPTIONS"])
@pytest.mark.parametrize("fields", [
    {"Origin": "https://evil.example"},
    {"Origin": "null"},
    {"Sec_Fetch_Site": "cross-site"},
    {"Sec_Fetch_Site": "same-site"},
    {"Host": "evil.example"},
    {"Host": "127.0.0.1.evil.example"},
], ids=str)
def test_a_foreign_page_or_name_is_refused_on_every_method(server, name, method, fields):
    cursor = publish(server.channel(name), "as it was")
    with Raw(server.port) as raw:
        plain = {"Connection": "close", "Upgrade": None, "Sec_WebSocket_Version": None, "Sec_WebSocket_Key": None}
        raw.send(handshake(server.port, f"/channels/{name}", method, Content_Length="0", **plain, **fields))
        status, answer = raw.head()
        assert status == 403
        assert "access-control-allow-origin" not in answer
    assert curl(server.channel(name)).fields["etag"] == f'"{cursor}"'


def test_a_publication_over_the_limit_is_refused(server, name):
    channel = server.channel(name)
    assert curl(channel, body=bytes(262_144)).status == 201
    too_big = curl(channel, body=bytes(262_145))
    assert (too_big.status, too_big["Content-Type"]) == (413, "application/problem+json")
    assert curl("--header", "Transfer-Encoding: chunked", channel, body=bytes(262_145)).status == 413
    with Raw(server.port) as raw:
        # It is refused by what it declares: nothing of the body is there.
        plain = {"Connection": None, "Upgrade": None, "Sec_WebSocket_Version": None, "Sec_WebSocket_Key": None}
        raw.send(handshake(server.port, f"/channels/{name}", "POST", Content_Length=str(1 << 40), **plain))
        assert raw.head()[0] == 413


@pytest.mark.parametrize("body", [b"", b"{", b'{"a":1}}', b"{'a':1}", b'"\xff"', b"NaN"], ids=str)
@pytest.mark.parametrize("content_type", ["application/json", "application/geo+json"])
def test_bad_json_is_refused(server, name, body, content_type):
    answer = curl("--header", f"Content-Type: {content_type}", server.channel(name), body=body)
    assert (answer.status, answer.json()["status"]) == (400, 400)
    assert curl(server.channel(name)).status == 404, "nothing of it is kept"


@pytest.mark.parametrize("channel", [
    "/", "a//b", "a/", "/a", "a/./b", "%2E", "a/../b", "a%2Fb/", "a b", "é", "a*", "**/a",
    "x" * 65, "/".join("x" * 17), "/".join(["x" * 60] * 5),
], ids=lambda channel: channel[:20])
def test_bad_channel_names_are_refused(server, channel):
    path = channel.replace(" ", "%20").replace("é", "%C3%A9")
    for method in ("GET", "POST", "DELETE"):
        answer = curl("--path-as-is", "--request", method, server.channel(path), body=b"")
        assert answer.status == 400, answer.body
        assert answer["Content-Type"] == "application/problem+json"


@pytest.mark.parametrize("method", ["POST", "DELETE"])
def test_patterns_are_only_for_listening(server, name, method):
    assert curl("--request", method, server.channel(f"{name}/*"), body=b"x").status == 400


@pytest.mark.parametrize("query", ["since=nonsense", "since=:", "since=a:b", "since=k3v9x2m4q8ta:-1",
                                   "since=k3v9x2m4q8ta:99999999999999999999", "since=&limit=0", "since=&limit=x"])
def test_bad_queries_are_refused(server, name, query):
    answer = curl(f"{server.channel(name)}?{query}")
    assert (answer.status, answer["Content-Type"]) == (400, "application/problem+json")
    assert json.loads(answer.body)["detail"]


def test_other_methods_and_paths_are_told_so(server, name):
    answer = curl("--request", "PUT", server.channel(name), body=b"x")
    assert (answer.status, answer["Content-Type"]) == (405, "application/problem+json")
    assert {"GET", "POST", "DELETE"} <= set(answer["Allow"].replace(" ", "").split(","))
    assert curl(f"{server.url}/nowhere").status == 404


def test_an_address_in_use_is_an_error_and_not_a_shared_port(server):
    address = f"127.0.0.1:{server.port}"
    done = subprocess.run([binary("OPENLINE_BIN"), "serve", "--memory", "--listen", address], stdin=subprocess.DEVNULL,
                          capture_output=True, text=True, timeout=HANGS)
    assert (done.returncode, done.stdout) == (1, "")
    assert address in done.stderr
