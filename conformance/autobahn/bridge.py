"""Proxies that carry a WebSocket from HTTP/1.1 to HTTP/2 (RFC 8441) or back: the suite itself speaks HTTP/1.1 only."""

import pathlib
import shutil
import subprocess
import sys

# What each is a part of on Debian. They go from the port `front` to the port `back`, without TLS.
PACKAGES = {"nghttpx": "nghttp2-proxy", "haproxy": "haproxy"}


def start(name, front, back, directory, http2, log):
    """Starts the bridge `name`; `http2` is "front" or "back"."""
    program = shutil.which(name)
    if not program:
        sys.exit(f"{name} is missing: install it (Debian: apt-get install {PACKAGES[name]})")
    command = nghttpx(front, back, http2) if name == "nghttpx" else haproxy(front, back, directory, http2)
    return subprocess.Popen([program, *command], stdin=subprocess.DEVNULL, stdout=log, stderr=log)


def version(name):
    told = subprocess.run([name, "-v"], capture_output=True, text=True, check=True).stdout
    return next(word for word in told.replace("/", " ").split() if word[0].isdigit())


def nghttpx(front, back, http2):
    # At a frontend without TLS it tells the versions apart by their first bytes.
    protocol = ";;proto=h2" if http2 == "back" else ""
    # The fuzzing server answers to nobody who calls it by another port.
    rewrite = ["--host-rewrite"] if http2 == "front" else []
    return [
        *rewrite, "--conf=/dev/null", "--workers=1", "--no-ocsp", "--accesslog-file=/dev/null",
        f"--frontend=127.0.0.1,{front};no-tls", f"--backend=127.0.0.1,{back}{protocol}",
        # The suite's longest cases pause, and compression cases take long.
        "--frontend-read-timeout=300s", "--frontend-http2-read-timeout=300s", "--frontend-write-timeout=300s",
        "--backend-read-timeout=300s", "--backend-write-timeout=300s", "--stream-read-timeout=300s", "--stream-write-timeout=300s",
    ]


def haproxy(front, back, directory, http2):
    file = pathlib.Path(directory) / f"haproxy-{front}.cfg"
    rewrite = f"http-request set-header Host 127.0.0.1:{back}" if http2 == "front" else ""
    file.write_text(f"""
global
    maxconn 200
defaults
    mode http
    timeout connect 5s
    timeout client 300s
    timeout server 300s
    timeout tunnel 300s
frontend suite
    bind 127.0.0.1:{front} {"proto h2" if http2 == "front" else ""}
    {rewrite}
    default_backend program
backend program
    server program 127.0.0.1:{back} {"proto h2" if http2 == "back" else ""}
""")
    return ["-f", str(file), "-db", "-q"]
