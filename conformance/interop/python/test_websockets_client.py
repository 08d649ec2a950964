"""Python's `websockets` as a client of the server."""

import base64
import json

import pytest
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import connect as websockets_connect

from support import HANGS, Server, curl, publish

V1 = "openline.v1"
EVERY_BYTE = bytes(range(256)) * 1024


@pytest.fixture(params=["deflate", None], ids=["compression offered", "no compression"])
def connect(request):
    """Connects with and without an offer of permessage-deflate, which the server may decline."""
    def connect(url, **options):
        return websockets_connect(url, compression=request.param, proxy=None, open_timeout=HANGS, **options)
    return connect


def receive(ws):
    return ws.recv(HANGS)


def objects(ws, count):
    return [json.loads(receive(ws)) for _ in range(count)]


def closing(ws):
    """Reads on to the close, and returns its code."""
    with pytest.raises(ConnectionClosed) as closed:
        while True:
            receive(ws)
    return closed.value.rcvd.code


def refused(connect, url, **options):
    with pytest.raises(InvalidStatus) as refusal:
        connect(url, **options)
    return refusal.value.response


def test_bare_bodies_come_as_they_were_published(server, name, connect):
    channel = server.channel(name)
    publish(channel, "the latest")
    with connect(server.websocket(name)) as ws:
        assert ws.subprotocol is None
        assert receive(ws) == "the latest"
        publish(channel, "é€😀")
        assert receive(ws) == "é€😀"
        publish(channel, '{ "a":\n [1] }', "application/json")
        assert json.loads(receive(ws)) == {"a": [1]}
        publish(channel, EVERY_BYTE, "application/octet-stream")
        assert receive(ws) == EVERY_BYTE
        publish(channel, b"\xff not UTF-8")
        assert receive(ws) == b"\xff not UTF-8"
        publish(channel, b"")
        assert receive(ws) == ""


def test_envelopes_carry_cursor_type_and_data(server, name, connect):
    channel = server.channel(name)
    first = publish(channel, '{"late": 30}', "application/json")
    with connect(server.websocket(name), subprotocols=["other", V1]) as ws:
        assert ws.subprotocol == V1
        ready, latest = objects(ws, 2)
        assert ready["recovered"] is True
        assert latest | {"time": ""} == {
            "channel": name, "cursor": first, "time": "", "type": "application/json", "data": {"late": 30},
        }
        assert latest["time"].endswith("Z")
        second = publish(channel, "two\nlines")
        third = publish(channel, EVERY_BYTE, "image/png")
        text, binary = objects(ws, 2)
        assert (text["cursor"], text["data"], text["type"]) == (second, "two\nlines", "text/plain")
        assert (binary["cursor"], binary["type"]) == (third, "image/png")
        assert base64.b64decode(binary["base64"]) == EVERY_BYTE
        assert "data" not in binary
        # The cursor of the first object is one from which nothing is lost.
        with connect(f"{server.websocket(name)}?since={ready['cursor']}", subprotocols=[V1]) as again:
            assert [one["cursor"] for one in objects(again, 4)[1:]] == [first, second, third]


def test_a_resumed_line_gets_what_it_missed_and_nothing_twice(server, name, connect):
    channel = server.channel(name)
    cursors = [publish(channel, str(number)) for number in range(5)]
    with connect(f"{server.websocket(name)}?since={cursors[1]}", subprotocols=[V1]) as ws:
        ready, *missed = objects(ws, 4)
        assert ready == {"cursor": cursors[1], "recovered": True}
        assert [one["data"] for one in missed] == ["2", "3", "4"]
        publish(channel, "5")
        assert objects(ws, 1)[0]["data"] == "5"
    with connect(f"{server.websocket(name)}?since={cursors[1]}") as bare:
        assert [receive(bare) for _ in range(4)] == ["2", "3", "4", "5"]


def test_a_gap_is_told_and_the_latest_follows(server, name, connect):
    channel = server.channel(name)
    lost = publish(channel, "before")
    publish(channel, "lost")
    assert curl("--request", "DELETE", channel).status == 204
    latest = publish(channel, "after")
    with connect(f"{server.websocket(name)}?since={lost}", subprotocols=[V1]) as ws:
        ready, one = objects(ws, 2)
        assert ready["recovered"] is False
        assert (one["cursor"], one["data"]) == (latest, "after")
    answer = refused(connect, f"{server.websocket(name)}?since={lost}")
    assert answer.status_code == 410
    assert answer.headers["Content-Type"] == "application/problem+json"


def test_a_pattern_hears_all_its_channels_in_envelopes(server, name, connect):
    first = publish(server.channel(f"{name}/a"), "a")
    second = publish(server.channel(f"{name}/b/c"), "b")
    with connect(server.websocket(f"{name}/**")) as ws:
        ready, *latest = objects(ws, 3)
        assert ready["recovered"] is True
        assert [(one["channel"], one["cursor"]) for one in latest] == [(f"{name}/a", first), (f"{name}/b/c", second)]
    with connect(f"{server.websocket(name)}/*?since={first}") as ws:
        assert objects(ws, 1)[0]["recovered"] is True
        publish(server.channel(f"{name}/b/c"), "too deep")
        publish(server.channel(f"{name}/d"), "heard")
        assert objects(ws, 1)[0]["data"] == "heard"


def test_ping_is_answered(server, name, connect):
    with connect(server.websocket(name)) as ws:
        assert ws.ping(b"are you there").wait(HANGS)


def test_a_client_closes_with_its_code(server, name, connect):
    with connect(server.websocket(name)) as ws:
        ws.close(4000, "enough")
        assert (ws.protocol.close_rcvd.code, ws.protocol.close_rcvd_then_sent) == (4000, False)


@pytest.mark.parametrize("subprotocols", [None, [V1]], ids=["bare", V1])
@pytest.mark.parametrize("message", ["hello", b"\x00", '{"publish":1}'])
def test_who_speaks_out_of_turn_is_closed_with_1008(server, name, connect, subprotocols, message):
    with connect(server.websocket(name), subprotocols=subprotocols) as ws:
        ws.send(message)
        assert closing(ws) == 1008


def test_a_draining_server_closes_with_1012_and_exits_with_0(name, connect):
    with Server() as server:
        with connect(server.websocket(name)) as bare, connect(server.websocket(name), subprotocols=[V1]) as v1:
            publish(server.channel(name), "the last word")
            server.terminate()
            assert receive(bare) == "the last word"
            assert closing(bare) == 1012
            assert closing(v1) == 1012
        assert server.process.wait(HANGS) == 0


def test_refusals_are_http_answers_with_a_problem(server, name, connect):
    for url, options, status in [
        (server.websocket("bad//name"), {}, 400),
        (server.websocket("%2e%2e/x"), {}, 400),
        (f"{server.websocket(name)}?since=nonsense", {}, 400),
        (server.websocket(name), {"origin": "https://evil.example"}, 403),
        (server.websocket(name), {"additional_headers": {"Sec-Fetch-Site": "cross-site"}}, 403),
    ]:
        answer = refused(connect, url, **options)
        problem = json.loads(answer.body)
        assert (answer.status_code, problem["status"]) == (status, status), url
        assert problem["title"] and problem["detail"]


def test_the_own_origin_and_an_allowed_one_are_let_in(server, name, connect):
    with connect(server.websocket(name), origin=server.url) as ws:
        assert ws.ping().wait(HANGS)
    with Server("--allow-origin", "https://app.example") as open_server:
        with connect(open_server.websocket(name), origin="https://app.example") as ws:
            assert ws.ping().wait(HANGS)
        assert refused(connect, open_server.websocket(name), origin="https://app.example:444").status_code == 403


def test_publications_are_compressed_where_the_server_is_told_to():
    sizes = []
    with Server("--compression", "true") as server:
        with websockets_connect(server.websocket("a"), proxy=None, open_timeout=HANGS) as ws:
            agreed, = ws.protocol.extensions
            assert agreed.remote_no_context_takeover and agreed.local_no_context_takeover
            assert agreed.remote_max_window_bits == 12
            decode = agreed.decode

            def measure(frame, **options):
                sizes.append((frame.rsv1, len(frame.data)))
                return decode(frame, **options)

            agreed.decode = measure
            text = json.dumps([{"flight": f"UA{n}", "gate": "C71"} for n in range(100)])
            for body in [text, "short", text]:
                publish(server.channel("a"), body)
                assert receive(ws) == body
            # Each stands alone, so the same text is as long again.
            assert [compressed for compressed, _ in sizes] == [True, False, True]
            assert sizes[0] == sizes[2] and sizes[0][1] < len(text) / 4
        with websockets_connect(server.websocket("a"), compression=None, proxy=None, open_timeout=HANGS) as ws:
            assert ws.protocol.extensions == []
            assert receive(ws) == text
