"""nginx as a reverse proxy, in front of the server and of the library's echo server."""

import json
import os
import shutil
import signal
import socket
import time

import pytest
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.extensions.permessage_deflate import PerMessageDeflate
from websockets.sync.client import connect as websockets_connect

from support import HANGS, Asking, Echo, Program, Server, Stream, curl, free_port, publish

V1 = "openline.v1"

# What an administrator writes, with nothing tuned: buffering stays on, as it is by default.
CONFIGURATION = """
{user}
daemon off;
pid {directory}/pid;
error_log stderr;
events {{}}
http {{
    access_log off;
    client_body_temp_path {directory}/body;
    proxy_temp_path {directory}/proxy;
    fastcgi_temp_path {directory}/fastcgi;
    uwsgi_temp_path {directory}/uwsgi;
    scgi_temp_path {directory}/scgi;
    map $http_upgrade $connection_upgrade {{
        default upgrade;
        '' '';
    }}
    server {{
        listen 127.0.0.1:{port};
        location / {{
            proxy_pass http://127.0.0.1:{upstream};
            proxy_http_version 1.1;
            proxy_set_header Upgrade $http_upgrade;
            proxy_set_header Connection $connection_upgrade;
            {host}
        }}
    }}
}}
"""


class Nginx(Program):
    """nginx on a free port, before a server of ours on `upstream`."""

    def __init__(self, directory, upstream, host="proxy_set_header Host $http_host;"):
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        file = directory / f"{self.port}.conf"
        # Its workers are another user's than root's, who can't look into the directory of a test.
        user = "user root;" if os.geteuid() == 0 else ""
        file.write_text(CONFIGURATION.format(user=user, directory=directory, port=self.port, upstream=upstream, host=host))
        super().__init__(shutil.which("nginx"), "-e", "stderr", "-p", str(directory), "-c", str(file))
        self.until_listening(self.port)

    def stop(self, signal_number=signal.SIGTERM):
        return super().stop(signal_number)

    def channel(self, name):
        return f"{self.url}/channels/{name}"

    def websocket(self, name):
        return f"ws://127.0.0.1:{self.port}/channels/{name}"

    def connect(self, url, **options):
        """A client of the proxy, whatever name the URL gives the server."""
        return websockets_connect(url, sock=socket.create_connection(("127.0.0.1", self.port)), open_timeout=HANGS, **options)


@pytest.fixture(scope="module")
def upstream():
    with Server("--allow-host", "push.example") as server:
        yield server


@pytest.fixture(scope="module")
def nginx(upstream, tmp_path_factory):
    with Nginx(tmp_path_factory.mktemp("nginx"), upstream.port) as nginx:
        yield nginx


def test_a_websocket_is_passed_on_both_ways(nginx, name):
    channel = nginx.channel(name)
    first = publish(channel, "before")
    with nginx.connect(nginx.websocket(name), subprotocols=[V1]) as ws:
        assert ws.subprotocol == V1
        ready, latest = (json.loads(ws.recv(HANGS)) for _ in range(2))
        assert (ready["recovered"], latest["cursor"]) == (True, first)
        assert ws.ping(b"are you there").wait(HANGS)
        second = publish(channel, "after")
        assert json.loads(ws.recv(HANGS))["cursor"] == second
        ws.close(4000, "enough")
        assert (ws.protocol.close_rcvd.code, ws.protocol.close_rcvd_then_sent) == (4000, False)
    with nginx.connect(f"{nginx.websocket(name)}?since={first}") as bare:
        assert bare.recv(HANGS) == "after"


def test_the_library_is_reached_with_compression_and_large_messages(tmp_path):
    with Echo("--deflate") as echo, Nginx(tmp_path, echo.port) as nginx:
        with nginx.connect(f"ws://127.0.0.1:{nginx.port}/", max_size=1 << 24) as ws:
            assert isinstance(ws.protocol.extensions[0], PerMessageDeflate)
            for message in ["", "é€😀" * 100_000, os.urandom(5 << 20)]:
                ws.send(message)
                assert ws.recv(HANGS) == message
            ws.send([b"frag", b"", b"ments"])
            assert ws.recv(HANGS) == b"fragments"


def test_events_come_at_once(nginx, name):
    channel = nginx.channel(name)
    with Stream("--header", "Accept: text/event-stream", channel) as stream:
        assert stream.field("content-type") == "text/event-stream"
        assert stream.event()["event"] == "ready"
        for number in range(3):
            cursor = publish(channel, str(number))
            assert stream.event() == {"id": cursor, "data": str(number)}


def test_lines_come_at_once(nginx, name):
    with Stream("--header", "Accept: application/x-ndjson", nginx.channel(f"{name}/**")) as stream:
        assert stream.object()["recovered"] is True
        for number in range(3):
            cursor = publish(nginx.channel(f"{name}/{number}"), str(number))
            assert stream.object()["cursor"] == cursor


def test_a_long_poll_is_held_until_there_is_news(nginx, name):
    channel = nginx.channel(name)
    first = publish(channel, "old")
    held = Asking("--header", f'If-None-Match: "{first}"', "--header", "Prefer: wait=30", channel)
    publish(channel, "new")
    answer = held.answer()
    assert (answer.status, answer.body, answer["Preference-Applied"]) == (200, b"new", "wait=30")


def test_pages_of_the_proxys_own_name_are_let_in_and_no_others(nginx, name):
    near = f"http://127.0.0.1:{nginx.port}"
    for host, origin in [
        (f"127.0.0.1:{nginx.port}", near),
        # As it is when the proxy ends TLS.
        ("push.example", "https://push.example"),
    ]:
        with nginx.connect(f"ws://{host}/channels/{name}", origin=origin) as ws:
            assert ws.ping().wait(HANGS)
        answer = curl("--header", f"Host: {host}", "--header", f"Origin: {origin}", nginx.channel(name), body=b"x")
        assert answer.status == 201
    for host, origin in [("push.example", near), (f"127.0.0.1:{nginx.port}", "https://evil.example"), ("evil.example", None)]:
        with pytest.raises(InvalidStatus) as refused:
            nginx.connect(f"ws://{host}/channels/{name}", origin=origin)
        problem = json.loads(refused.value.response.body)
        assert problem["type"] == ("/problems/foreign-origin" if origin else "/problems/foreign-host")


def test_a_proxy_that_hides_the_host_lets_programs_in_and_no_pages(upstream, name, tmp_path):
    with Nginx(tmp_path, upstream.port, host="") as careless:
        with careless.connect(careless.websocket(name)) as ws:
            assert ws.ping().wait(HANGS)
        with pytest.raises(InvalidStatus) as refused:
            careless.connect(careless.websocket(name), origin=careless.url)
        assert refused.value.response.status_code == 403


def test_a_client_that_leaves_is_seen_behind_the_proxy(name, tmp_path):
    with Server() as server, Nginx(tmp_path, server.port) as nginx:
        alone = server.sockets()
        kinds = ["text/event-stream", "application/x-ndjson"]
        streams = [Stream("--header", f"Accept: {kind}", nginx.channel(name)) for kind in kinds]
        poll = Asking("--header", "Prefer: wait=60", nginx.channel(name))
        ws = nginx.connect(nginx.websocket(name))
        until(lambda: server.sockets() == alone + 4)
        ws.socket.shutdown(socket.SHUT_RDWR)  # without a Close frame
        for one in [*streams, poll]:
            one.stop()
        until(lambda: server.sockets() == alone)


def test_a_client_that_reads_nothing_is_seen_behind_the_proxy_and_let_go(name, tmp_path):
    """Without the answer's `X-Accel-Buffering: no`, nginx would take it all, up to a gigabyte, and write it into a file."""
    log = tmp_path / "log"
    debug = os.environ | {"OPENLINE_LOG": "openline_server=debug"}
    with log.open("w") as talk, Server(env=debug, stderr=talk) as server, Nginx(tmp_path, server.port) as nginx:
        with Stream("--header", "Accept: text/event-stream", nginx.channel(name)) as stream:
            stream.process.send_signal(signal.SIGSTOP)
            body = "x" * 260_000
            # A megabyte may wait in the server, and some in the sockets on the way.
            for _ in range(200):
                publish(server.channel(name), body)
                if "let subscribers go that lag" in log.read_text():
                    return
            pytest.fail("50 MB were published, and the server has not seen it")


def test_a_server_that_drains_says_so_through_the_proxy(name, tmp_path):
    with Server() as server, Nginx(tmp_path, server.port) as nginx:
        with nginx.connect(nginx.websocket(name)) as ws:
            server.terminate()
            with pytest.raises(ConnectionClosed) as closed:
                ws.recv(HANGS)
            assert closed.value.rcvd.code == 1012
        assert server.process.wait(HANGS) == 0


def until(holds):
    """Waits for what sends no event."""
    deadline = time.monotonic() + HANGS
    while not holds():
        assert time.monotonic() < deadline, "it never came so far"
        time.sleep(0.01)
