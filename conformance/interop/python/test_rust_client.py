"""The library as a client of Python's `websockets`, through the example `client_interop`."""

import http
import socket
import ssl

import pytest
import trustme
from websockets.exceptions import ConnectionClosed

from support import AFTER_ECHO, HANGS, Client, echo_all, running


COMPRESSED = pytest.mark.parametrize("deflate", [["--deflate", ""], []], ids=["compression on", "compression off"])


@COMPRESSED
def test_messages_of_every_size_are_echoed(deflate):
    with running(echo_all) as url:
        assert Client("echo", url, *deflate).outcome() == AFTER_ECHO


@COMPRESSED
def test_fragments_are_put_together_and_pings_answered(deflate):
    pongs = []

    def echo_in_fragments(ws):
        """Each echo comes in seven pieces, which part characters, and behind a ping."""
        for message in ws:
            payload = message.encode() if isinstance(message, str) else message
            size = len(payload) // 6 + 1
            pongs.append(ws.ping())
            ws.send([payload[size * n:size * (n + 1)] for n in range(7)], text=isinstance(message, str))

    with running(echo_in_fragments) as url:
        assert Client("echo", url, *deflate).outcome() == AFTER_ECHO
    assert len(pongs) == AFTER_ECHO["messages"]
    # What came along with the Close frame is looked at after that is answered.
    assert all(pong.wait(10) for pong in pongs)


def test_a_close_by_the_server_is_told_whole():
    def handler(ws):
        for number in range(3):
            ws.send(str(number))
        ws.close(4321, "enough")

    with running(handler, subprotocols=None) as url:
        assert Client("listen", url).outcome() == {
            "subprotocol": None,
            "messages": 3,
            "received": {"code": 4321, "reason": "enough"},
            "sent": {"code": 4321, "reason": ""},
            "by_peer": True,
            "clean": True,
        }


def test_a_dropped_connection_is_an_error():
    with running(lambda ws: ws.socket.shutdown(socket.SHUT_RDWR)) as url:
        assert "Disconnected" in Client("listen", url).error()


def test_a_message_over_the_limit_is_refused_with_1009():
    codes = []

    def handler(ws):
        try:
            ws.send(bytes((4 << 20) + 1))
            ws.recv(HANGS)
        except ConnectionClosed as closed:
            codes.append(closed.rcvd.code)

    with running(handler) as url:
        assert "TooBig" in Client("listen", url).error()
    assert codes == [1009]


def test_a_refusal_is_told_with_its_status():
    def refuse(connection, _):
        return connection.respond(http.HTTPStatus.UNAUTHORIZED, "who are you?\n")

    with running(echo_all, process_request=refuse) as url:
        assert "401" in Client("echo", url).error()


def test_a_subprotocol_that_was_not_offered_fails_the_handshake():
    def choose(_connection, _request, response):
        response.headers["Sec-WebSocket-Protocol"] = "unasked"

    with running(echo_all, subprotocols=None, process_response=choose) as url:
        assert "unasked" in Client("echo", url).error()


def test_tls_with_an_authority_of_ones_own(tmp_path):
    authority = trustme.CA()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("localhost").configure_cert(context)
    trusted = tmp_path / "ca.pem"
    authority.cert_pem.write_to_path(trusted)
    stranger = tmp_path / "stranger.pem"
    trustme.CA().cert_pem.write_to_path(stranger)
    with running(echo_all, ssl=context) as url:
        assert Client("echo", url, "--ca", str(trusted)).outcome() == AFTER_ECHO
        assert "UnknownIssuer" in Client("echo", url, "--ca", str(stranger)).error()
        assert "UnknownIssuer" in Client("echo", url).error()
        assert "NotValidForName" in Client("echo", url.replace("localhost", "127.0.0.1"), "--ca", str(trusted)).error()
