"""The server under fault, and those who look at it."""

import base64
import contextlib
import hashlib
import hmac
import http.client
import json
import pathlib
import subprocess
import sys
import tempfile
import threading
import time

HERE = pathlib.Path(__file__).parent
sys.path.insert(0, str(HERE.parent / "interop" / "python"))

from support import HANGS, Program, binary, free_port  # noqa: E402

MEMORY = 512 << 20
SECRET = "a secret that only this suite and its server know"
CONFIG = f"""
listen = "127.0.0.1:0"
drain = "5s"

[limits]
connections = 12_000
connections_per_address = 50
accept_rate = 4_000
handshakes = 3_000
request_rate = 200
publish_rate = 100
publication = "64KiB"
bodies = "4MiB"
queue = "256KiB"
memory = "{MEMORY >> 20}MiB"

[timeouts]
header = "2s"
body = "2s"
write = "3s"
idle = "20s"
heartbeat = "1s"

# Who says that it speaks for another address is believed here, so that limits on addresses can be seen from one.
[proxies]
trusted = ["127.0.0.0/8"]
header = "x-forwarded-for"

[token]
secret = "{SECRET}"

[anonymous]
publish = true
subscribe = true
"""


class Server(Program):
    """`openline serve` on free ports of the loopback; `around` is a command that starts it."""

    address = "127.0.0.1"

    def __init__(self, directory, *arguments, around=(), listen=address, port=0, config="", **options):
        self.metrics_port = free_port()
        file = pathlib.Path(tempfile.mkdtemp(dir=directory)) / "openline.toml"
        file.write_text(CONFIG + config)
        self.log = open(file.with_name("log"), "w+")
        super().__init__(*around, binary("OPENLINE_BIN"), "serve", "--config", str(file), "--listen", f"{listen}:{port}",
                         "--metrics-listen", f"127.0.0.1:{self.metrics_port}", *arguments, stderr=self.log, **options)
        line = self.line() or ""
        if not line.startswith(f"listening on http://{listen}:"):
            self.stop()
            raise RuntimeError(f"the server did not start: {self.said()}")
        self.port = int(line.rstrip("/").rsplit(":", 1)[1])

    def said(self):
        self.log.seek(0)
        return self.log.read()

    def get(self, path, port=None):
        """The status and the text of an answer on a connection of its own."""
        connection = http.client.HTTPConnection("127.0.0.1", port or self.port, timeout=HANGS)
        with contextlib.closing(connection):
            connection.request("GET", path)
            answer = connection.getresponse()
            return answer.status, answer.read().decode()

    def metrics(self):
        """Each line of the metrics, by its name with its labels."""
        status, text = self.get("/metrics", self.metrics_port)
        assert status == 200, text
        lines = (line.rsplit(" ", 1) for line in text.splitlines() if not line.startswith("#"))
        return {name.removeprefix("openline_"): float(value) for name, value in lines}

    def metric(self, name):
        return self.metrics().get(name, 0)

    def until(self, condition):
        """Waits until the metrics are so."""
        begun = time.monotonic()
        while not condition(metrics := self.metrics()):
            assert time.monotonic() - begun < HANGS, {name: value for name, value in metrics.items() if "bucket" not in name}
            time.sleep(0.05)
        return metrics

    def readiness(self):
        return self.get("/readyz", self.metrics_port)

    def resident(self):
        status = pathlib.Path(f"/proc/{self.process.pid}/status").read_text()
        return next(int(line.split()[1]) << 10 for line in status.splitlines() if line.startswith("VmRSS:"))


class Watch:
    """The most memory that a server has while this is entered."""

    def __init__(self, server):
        self.server, self.most, self.over = server, 0, threading.Event()
        self.thread = threading.Thread(target=self.look)

    def look(self):
        while not self.over.is_set():
            with contextlib.suppress(OSError, StopIteration):
                self.most = max(self.most, self.server.resident())
            self.over.wait(0.05)

    def __enter__(self):
        self.thread.start()
        return self

    def __exit__(self, *_):
        self.over.set()
        self.thread.join()


class Helper:
    """One of the programs beside this file, which goes on until it is asked how it went."""

    def __init__(self, name, *arguments):
        command = [sys.executable, str(HERE / f"{name}.py"), *map(str, arguments)]
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def line(self):
        return self.process.stdout.readline().strip()

    def end(self):
        told, _ = self.process.communicate(timeout=2 * HANGS)
        return told.strip()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.kill()
        self.process.wait()


def token(claims, secret=SECRET, algorithm="HS256"):
    """A JWT."""
    def part(value):
        return base64.urlsafe_b64encode(value).rstrip(b"=")
    signed = part(json.dumps({"alg": algorithm, "typ": "JWT"}).encode()) + b"." + part(json.dumps(claims).encode())
    mac = hmac.new(secret.encode(), signed, hashlib.sha256).digest()
    return (signed + b"." + (part(mac) if algorithm != "none" else b"")).decode()
