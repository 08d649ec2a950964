"""The programs under test, and what the tests share."""

import json
import os
import pathlib
import re
import signal
import socket
import subprocess
import threading
from contextlib import contextmanager

from websockets.sync.server import serve

# Only to end a test that hangs: nothing passes or fails by time.
HANGS = 60


def binary(variable):
    """A built program, named by an environment variable."""
    path = os.environ.get(variable)
    if not path or not pathlib.Path(path).is_file():
        raise RuntimeError(f"{variable} must be the path of a built program (ci/test.sh interop sets it), not {path!r}")
    return path


def free_port():
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return listener.getsockname()[1]


class Program:
    """A program that runs beside the test, and its standard output line by line."""

    def __init__(self, *command, **options):
        self.process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True, **options)

    def sockets(self):
        """How many sockets it has open."""
        def is_socket(file):
            try:
                return os.readlink(file).startswith("socket:")
            except FileNotFoundError:  # closed meanwhile
                return False
        return sum(map(is_socket, pathlib.Path(f"/proc/{self.process.pid}/fd").iterdir()))

    def line(self):
        """The next line without its end, or None behind the last."""
        line = self.process.stdout.readline()
        return line.rstrip("\n") if line else None

    def until_listening(self, port):
        """For a program that does not say when it listens."""
        while True:
            try:
                socket.create_connection(("127.0.0.1", port), HANGS).close()
                return
            except ConnectionRefusedError:
                if self.process.poll() is not None:
                    raise RuntimeError(f"{self.process.args[0]} ended by itself") from None

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.stop()

    def stop(self, signal_number=signal.SIGKILL):
        """Ends it, and returns its exit status."""
        if self.process.poll() is None:
            self.process.send_signal(signal_number)
        status = self.process.wait(HANGS)
        self.process.stdout.close()
        return status


class Server(Program):
    """`openline serve` on a free port."""

    def __init__(self, *arguments, **options):
        super().__init__(binary("OPENLINE_BIN"), "serve", "--memory", "--listen", "127.0.0.1:0", *arguments,
                         **options)
        line = self.line() or ""
        found = re.fullmatch(r"listening on (http://127\.0\.0\.1:(\d+))/", line)
        if not found:
            self.stop()
            raise RuntimeError(f"the server began with {line!r}")
        self.url, self.port = found[1], int(found[2])

    def channel(self, name):
        return f"{self.url}/channels/{name}"

    def websocket(self, name):
        return f"ws://127.0.0.1:{self.port}/channels/{name}"

    def terminate(self):
        """Asks for a graceful end, without waiting for it."""
        self.process.send_signal(signal.SIGTERM)


class Echo(Program):
    """The library's example `echo`: a bare WebSocket server."""

    def __init__(self, *options):
        self.port = free_port()
        super().__init__(binary("OPENLINE_ECHO"), *options, f"127.0.0.1:{self.port}")
        self.url = f"ws://127.0.0.1:{self.port}/"
        self.until_listening(self.port)


class Client:
    """A run of the example `client_interop`: the library as a client."""

    def __init__(self, mode, url, *options):
        command = [binary("OPENLINE_CLIENT"), mode, url, *options]
        self.done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=HANGS)

    def outcome(self):
        """How the connection went; `self.wire` then tells what was on the wire."""
        assert self.done.returncode == 0, self.done.stderr
        told = json.loads(self.done.stdout)
        self.wire = told.pop("wire")
        return told

    def error(self):
        assert (self.done.returncode, self.done.stdout) == (1, "")
        return self.done.stderr


# What `client_interop echo` tells of a server that echoes, and chooses the subprotocol `chat`.
AFTER_ECHO = {
    "subprotocol": "chat",
    "messages": 9 * 2 + 100,
    "received": {"code": 1000, "reason": "done"},
    "sent": {"code": 1000, "reason": "done"},
    "by_peer": False,
    "clean": True,
}
# The same of `client_interop talk`.
AFTER_TALK = AFTER_ECHO | {"messages": 23}


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


def echo_all(ws):
    """A handler for `running`."""
    for message in ws:
        ws.send(message)


class Answer:
    """An HTTP answer as curl printed it."""

    def __init__(self, text):
        head, self.body = text.split(b"\r\n\r\n", 1)
        status, *fields = head.decode("latin-1").split("\r\n")
        self.status = int(status.split()[1])
        self.fields = {name.lower(): value.strip() for name, value in (field.split(":", 1) for field in fields)}

    def __getitem__(self, field):
        return self.fields.get(field.lower())

    def json(self):
        return json.loads(self.body)


def curl(*arguments, body=None):
    """Asks with curl, and returns the answer. A body is sent as it is, whatever its bytes."""
    if body is not None:
        arguments = ("--data-binary", "@-", *arguments)
    done = subprocess.run(curl_command(*arguments), input=body or b"", stdout=subprocess.PIPE, timeout=HANGS, check=True)
    return Answer(done.stdout)


class Asking:
    """curl that waits for an answer while the test goes on."""

    def __init__(self, *arguments):
        self.process = subprocess.Popen(curl_command(*arguments), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE)

    def answer(self):
        try:
            return Answer(self.process.communicate(timeout=HANGS)[0])
        finally:
            self.process.kill()

    def stop(self):
        """Gives up waiting."""
        self.process.kill()
        self.process.communicate()


class Stream(Program):
    """curl on an endless answer, line by line behind the head."""

    def __init__(self, *arguments):
        super().__init__(*curl_command("--no-buffer", *arguments))
        self.watchdog = threading.Timer(HANGS, self.process.kill)
        self.watchdog.start()
        self.head = []
        while line := (self.line() or "").rstrip("\r"):
            self.head.append(line.lower())

    def stop(self, signal_number=signal.SIGKILL):
        self.watchdog.cancel()
        return super().stop(signal_number)

    def field(self, name):
        return next((line.split(":", 1)[1].strip() for line in self.head if line.startswith(f"{name}:")), None)

    def event(self):
        """The next Server-Sent Event: its fields."""
        fields = {}
        while (line := self.line()) is not None:
            if not line and fields:
                break
            if line and not line.startswith(":"):
                key, value = line.split(":", 1)
                value = value.removeprefix(" ")
                fields[key] = f"{fields[key]}\n{value}" if key in fields else value
        return fields

    def object(self):
        """The next line that is no heartbeat, as JSON."""
        while (line := self.line()) == "":
            pass
        return json.loads(line)


def curl_command(*arguments):
    """Without a proxy from the environment, nor `100 Continue` before the answer."""
    return ["curl", "--silent", "--show-error", "--noproxy", "*", "--include", "--header", "Expect:", *arguments]


def publish(url, body, content_type="text/plain"):
    """Publishes on a channel, and returns the cursor."""
    body = body.encode() if isinstance(body, str) else body
    answer = curl("--header", f"Content-Type: {content_type}", url, body=body)
    assert answer.status == 201, answer.body
    return answer.json()["cursor"]
