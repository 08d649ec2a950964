"""The library as a client of Python's `websockets`, through the example `client_interop`."""

import http
import json
import socket
import ssl
import subprocess
import threading
from contextlib import contextmanager

import pytest
import trustme
from websockets.exceptions import ConnectionClosed
from websockets.sync.server import serve

from support import HANGS, binary

ECHOED = 9 * 2 + 100


@contextmanager
def running(handler, **options):
    """A server of `websockets` on a free port, in threads of this process."""
    options = {"subprotocols": ["chat"], "max_size": 1 << 24} | options
    with serve(handler, "127.0.0.1", 0, **options) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            scheme, host = ("wss", "localhost") if "ssl" in options else ("ws", "127.0.0.1")
            yield f"{scheme}://{host}:{server.socket.getsockname()[1]}/"
        finally:
            server.shutdown()
            thread.join(HANGS)


def run(mode, url, *arguments):
    command = [binary("OPENLINE_CLIENT"), mode, url, *arguments]
    return subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=HANGS)


def succeed(mode, url, *arguments):
    done = run(mode, url, *arguments)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def fail(mode, url, *arguments):
    done = run(mode, url, *arguments)
    assert (done.returncode, done.stdout) == (1, "")
    return done.stderr


def echo(ws):
    for message in ws:
        ws.send(message)


AFTER_ECHO = {
    "subprotocol": "chat",
    "messages": ECHOED,
    "received": {"code": 1000, "reason": "done"},
    "sent": {"code": 1000, "reason": "done"},
    "by_peer": False,
    "clean": True,
}


@pytest.mark.parametrize("compression", ["deflate", None], ids=["compression on", "compression off"])
def test_messages_of_every_size_are_echoed(compression):
    with running(echo, compression=compression) as url:
        assert succeed("echo", url) == AFTER_ECHO


@pytest.mark.parametrize("compression", ["deflate", None], ids=["compression on", "compression off"])
def test_fragments_are_put_together_and_pings_answered(compression):
    pongs = []

    def echo_in_fragments(ws):
        """Each echo comes in seven pieces, which part characters, and behind a ping."""
        for message in ws:
            payload = message.encode() if isinstance(message, str) else message
            size = len(payload) // 6 + 1
            pongs.append(ws.ping())
            ws.send([payload[size * n:size * (n + 1)] for n in range(7)], text=isinstance(message, str))

    with running(echo_in_fragments, compression=compression) as url:
        assert succeed("echo", url) == AFTER_ECHO
    assert len(pongs) == ECHOED
    assert all(pong.is_set() for pong in pongs)


def test_a_close_by_the_server_is_told_whole():
    def handler(ws):
        for number in range(3):
            ws.send(str(number))
        ws.close(4321, "enough")

    with running(handler, subprotocols=None) as url:
        assert succeed("listen", url) == {
            "subprotocol": None,
            "messages": 3,
            "received": {"code": 4321, "reason": "enough"},
            "sent": {"code": 4321, "reason": ""},
            "by_peer": True,
            "clean": True,
        }


def test_a_dropped_connection_is_an_error():
    with running(lambda ws: ws.socket.shutdown(socket.SHUT_RDWR)) as url:
        assert "Disconnected" in fail("listen", url)


def test_a_message_over_the_limit_is_refused_with_1009():
    codes = []

    def handler(ws):
        try:
            ws.send(bytes((4 << 20) + 1))
            ws.recv(HANGS)
        except ConnectionClosed as closed:
            codes.append(closed.rcvd.code)

    with running(handler) as url:
        assert "TooBig" in fail("listen", url)
    assert codes == [1009]


def test_a_refusal_is_told_with_its_status():
    def refuse(connection, _):
        return connection.respond(http.HTTPStatus.UNAUTHORIZED, "who are you?\n")

    with running(echo, process_request=refuse) as url:
        assert "401" in fail("echo", url)


def test_a_subprotocol_that_was_not_offered_fails_the_handshake():
    def choose(_connection, _request, response):
        response.headers["Sec-WebSocket-Protocol"] = "unasked"

    with running(echo, subprotocols=None, process_response=choose) as url:
        assert "unasked" in fail("echo", url)


def test_tls_with_an_authority_of_ones_own(tmp_path):
    authority = trustme.CA()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("localhost").configure_cert(context)
    trusted = tmp_path / "ca.pem"
    authority.cert_pem.write_to_path(trusted)
    stranger = tmp_path / "stranger.pem"
    trustme.CA().cert_pem.write_to_path(stranger)
    with running(echo, ssl=context) as url:
        assert succeed("echo", url, str(trusted)) == AFTER_ECHO
        assert "UnknownIssuer" in fail("echo", url, str(stranger))
        assert "UnknownIssuer" in fail("echo", url)
        assert "NotValidForName" in fail("echo", url.replace("localhost", "127.0.0.1"), str(trusted))
