"""The faults. Each is done to a server while a healthy pair of clients goes on (see run.py), and returns what was seen."""

import concurrent.futures
import contextlib
import ctypes
import json
import os
import pathlib
import random
import resource
import signal
import subprocess
import time
from dataclasses import dataclass

from server import HANGS, Helper, token
from wire import Wire, ask, cursor, frame, head, post, stream, websocket

SSE, NDJSON = "text/event-stream", "application/x-ndjson"


class NotRun(Exception):
    """This machine has not what the fault needs."""


def refusals(before, after):
    """The refusals in between, by reason."""
    names = [name for name in after if name.startswith("refusals_total{")]
    grown = {name.split('"')[1]: int(after[name] - before.get(name, 0)) for name in names}
    return {reason: count for reason, count in grown.items() if count}


def grown(before, after, name):
    return int(after.get(name, 0) - before.get(name, 0))


def publish(server, channel, body, **fields):
    return ask(server, post(f"/channels/{channel}", body, fields))


# --- what one client does, or many


def stalled_clients(server, size):
    """Twenty listeners on each transport that never read, while ten times what may wait for each is published."""
    before = server.metrics()
    ways = [lambda: websocket(server, "stall", room=4096),
            lambda: websocket(server, "stall", "openline.v1", room=4096),
            lambda: stream(server, "stall", SSE, room=4096),
            lambda: stream(server, "stall", NDJSON, room=4096)]
    with contextlib.ExitStack() as stack:
        for way in ways:
            for _ in range(size.stalled):
                stack.enter_context(way())
        # One that never takes the answers to what it asks, either.
        deaf = stack.enter_context(Wire(server, 4096))
        deaf.socket.setblocking(False)
        body, most = os.urandom(60_000).hex().encode()[:60_000], 0
        for _ in range(100):
            assert publish(server, "stall", body) == 201
            with contextlib.suppress(BlockingIOError, ConnectionError):
                deaf.socket.send(head("GET", "/channels/stall") * 20)
            most = max(most, server.metric("queue_bytes"))
        count = size.stalled * len(ways)
        # Each is let go for what waits for it, or because it takes nothing.
        after = server.until(lambda now: now.get('listeners{transport="websocket"}', 0) == 1
                             and not now.get('listeners{transport="sse"}', 0)
                             and not now.get('listeners{transport="ndjson"}', 0)
                             and now["queue_bytes"] < 256 << 10)
    lagged = grown(before, after, 'drops_total{reason="lagged"}')
    assert lagged == count, f"{lagged} of {count} were counted as let go"
    # What was let go and still takes nothing is cut, and so is the deaf one.
    cut = grown(before, after, 'timeouts_total{reason="write"}')
    return f"{count} let go, all counted, {cut} cut; {most / 2**20:.1f} MiB waited at most"


def connection_storm(server, size):
    """More connections than there is room for, all at once."""
    before = server.metrics()
    with Helper("storm", server.port, size.storm, "/channels/storm") as storm:
        told = json.loads(storm.line())
        answers = told["answers"]
        after = server.metrics()
        storm.end()
    let_in, refused = answers.get("101", 0), refusals(before, after)
    assert let_in >= 1000, answers
    assert answers["none"] == 0, answers
    # Each connection was let in or counted with the reason why not.
    assert sum(refused.values()) == size.storm - let_in, (answers, refused)
    assert set(refused) <= {"accept_rate", "connections", "handshakes", "memory"}, refused
    server.until(lambda now: now["connections"] <= 5)
    shown = ", ".join(f"{count} {reason}" for reason, count in refused.items())
    return f"{size.storm} in {told['seconds']} s: {let_in} let in; refused: {shown or 'none'}"


def publish_flood(server, size):
    """One publisher past its rate, one address past its own, and one that nothing limits."""
    before, statuses = server.metrics(), {}
    bearer = token({"sub": "flood", "exp": time.time() + 600, "openline": {"publish": ["**"]}})

    def flood(fields, count):
        with Wire(server) as wire:
            request = post("/channels/flood", b"1", fields)
            for _ in range(count // 10):
                wire.send(request * 10)
                for _ in range(10):
                    status, told = wire.answer()
                    length = told.lower().split(b"content-length: ")[1].split(b"\r\n")[0]
                    wire.exactly(int(length))
                    statuses[status] = statuses.get(status, 0) + 1

    flood({"Authorization": f"Bearer {bearer}"}, size.flood)
    flood({"X-Forwarded-For": "192.0.2.7"}, size.flood)
    flood({}, size.flood)
    after = server.metrics()
    refused = refusals(before, after)
    assert set(statuses) == {201, 429} and set(refused) == {"publish_rate", "request_rate"}, (statuses, refused)
    assert sum(refused.values()) == statuses[429], (statuses, refused)
    assert grown(before, after, 'publications_refused_total{status="429"}') == statuses[429]
    # The healthy publisher's are counted as well.
    assert grown(before, after, "publications_total") >= statuses[201]
    return f"{statuses[201]} taken, {statuses[429]} told 429 ({', '.join(f'{n} {reason}' for reason, n in refused.items())})"


def one_address(server, size):
    """One address that opens more connections than it may."""
    before = server.metrics()
    with contextlib.ExitStack() as stack:
        statuses = []
        for _ in range(80):
            wire = stack.enter_context(Wire(server))
            wire.send(head("GET", "/channels/one", {"X-Forwarded-For": "192.0.2.9", "Accept": SSE}))
            statuses.append(wire.answer()[0])
    refused = refusals(before, server.metrics())
    assert statuses.count(200) == 50 and statuses.count(503) == 30, statuses
    assert refused == {"connections_per_address": 30}, refused
    return "50 of 80 let in, 30 told 503, each counted"


def oversized(server, size):
    """Everything that has a bound, past it."""
    long_name = "a" * 65
    too_deep = "/".join("a" * 17)
    jwt = "a" * 20_000 + "." + "b" * 5_000 + "." + "c" * 2_000
    many = {f"x-{number}": "1" for number in range(101)}
    cases = [
        ("a head of 40 KiB", head("GET", "/channels/a", {"x": "y" * 40_960}), {431}),
        ("an address of 40 KiB", head("GET", "/channels/a?" + "x" * 40_960), {414, 431}),
        ("101 fields", head("GET", "/channels/a", many), {431}),
        ("a segment of 65 characters", head("GET", f"/channels/{long_name}"), {400}),
        ("17 segments", head("GET", f"/channels/{too_deep}"), {400}),
        ("a name of 300 bytes", head("GET", "/channels/" + "/".join(["a" * 60] * 5)), {400}),
        ("a cursor of 10 KiB", head("GET", "/channels/a?since=" + "1" * 10_240), {400}),
        ("an Idempotency-Key of 256", post("/channels/a", b"1", {"Idempotency-Key": "k" * 256}), {400}),
        ("a Content-Type of 1 KiB", post("/channels/a", b"1", {"Content-Type": "text/" + "x" * 1024}), {400, 415}),
        ("a body that says it is too large", post("/channels/a", b"", {"Content-Length": 65_537}), {413}),
        ("a body of 2^64 bytes", post("/channels/a", b"", {"Content-Length": 1 << 64}), {400, 413}),
        ("a body in chunks that grows too large",
         head("POST", "/channels/a", {"Transfer-Encoding": "chunked"}) + (b"4000\r\n" + b"x" * 0x4000 + b"\r\n") * 5, {413}),
        ("a JWT of 27 KB", head("GET", "/channels/a", {"Authorization": f"Bearer {jwt}"}), {400}),
        ("a JWT of 27 KB in the address", head("GET", f"/channels/a?token={jwt}"), {400}),
        ("a meter's name of 1 KiB", head("GET", "/channels/a?meter=" + "m" * 1024), {400, 404}),
        ("1,000 entity tags", head("GET", "/channels/a", {"If-None-Match": ", ".join(['"x"'] * 1000)}), {200, 404}),
    ]
    for name, request, statuses in cases:
        status = ask(server, request)
        assert status in statuses, f"{name}: {status}"
    frames = [
        ("a message of 17 KiB", frame(1, b"x" * 17_408), 1009),
        ("a message of 17 KiB in pieces", b"".join(frame(0 if at else 1, b"x" * 1024, final=False) for at in range(17)), 1009),
        ("a frame that says it has 2^62 bytes", b"\x81\xff" + (1 << 62).to_bytes(8, "big") + b"mask", 1009),
        ("a ping of 126 bytes", frame(9, b"x" * 126), 1002),
        ("a close frame of 126 bytes", frame(8, b"\x03\xe8" + b"x" * 124), 1002),
        ("a message on a bare WebSocket", frame(1, b"{}"), 1008),
    ]
    for name, data, code in frames:
        protocol = None if code == 1008 else "openline.v1"
        with websocket(server, "a", protocol) as wire:
            found = wire.send(data).close_code()
            assert found == code, f"{name}: {found}"
    return f"{len(cases)} requests and {len(frames)} messages, each told why"


def bad_tokens(server, size):
    """Tokens that are none, or not for here."""
    before = server.metrics()
    now = time.time()
    rights = {"openline": {"publish": ["**"], "subscribe": ["**"]}}
    good = {"sub": "a", "exp": now + 600} | rights
    head_, claims, mac = token(good).split(".")
    deep = {"sub": "a", "exp": now + 600, "openline": {"subscribe": ["a" * 300]}}
    bad = [
        "x.y.z", "..", "a.b.c.d", token(good, algorithm="none"), token(good, secret="another secret"),
        f"{head_}.{claims}.{mac[:-4]}AAAA", f"{head_}.{claims}x.{mac}", token(good | {"exp": now - 600}),
        token(good | {"nbf": now + 600}), token({"sub": "a"} | rights), token(good | {"aud": "elsewhere"}),
        token(good | {"openline": 7}), token(good | {"openline": {"subscribe": "a"}}), token(deep),
        token(good | {"exp": "soon"}), token(good | {"exp": 1e400}), token(good, algorithm="HS999"),
        token(good | {"openline": {"presence": ["a//b"]}}), "olk_" + "0" * 64,
    ]
    for text in bad:
        for request in (head("GET", "/channels/a", {"Authorization": f"Bearer {text}", "Accept": SSE}),
                        post("/channels/a", b"1", {"Authorization": f"Bearer {text}"})):
            assert ask(server, request) == 401, text
    with websocket(server, "a", "openline.v1") as wire:
        assert wire.send(frame(1, json.dumps({"token": "x.y.z"}).encode())).close_code() == 1008
    assert ask(server, head("GET", "/channels/a", {"Authorization": f"Bearer {token(good)}", "Accept": SSE})) == 200
    after = server.metrics()
    count = grown(before, after, 'answers_total{status="401"}')
    assert count == 2 * len(bad), count
    return f"{len(bad)} kinds, each 401 on both ways and counted"


def slowloris(server, size):
    """Heads and bodies that come a byte at a time."""
    before = server.metrics()
    request = head("GET", "/channels/a", {"x": "y" * 1000})
    body = head("POST", "/channels/a", {"Content-Length": 1000})
    with contextlib.ExitStack() as stack:
        heads = [stack.enter_context(Wire(server)) for _ in range(size.slow)]
        bodies = [stack.enter_context(Wire(server)).send(body) for _ in range(size.slow)]
        for at in range(8):
            for wire in heads:
                wire.send(request[at:at + 1])
            for wire in bodies:
                wire.send(b"x")
            time.sleep(0.5)
        # timeouts.header and timeouts.body are 2 s: they are over by now.
        assert all(wire.rest() == b"" for wire in heads)
        told = [wire.answer()[0] for wire in bodies]
    assert set(told) == {408}, told
    after = server.until(lambda now: now["handshakes"] == 0)
    assert grown(before, after, 'answers_total{status="408"}') == size.slow
    assert grown(before, after, 'timeouts_total{reason="header"}') == size.slow
    return f"{size.slow} heads cut, {size.slow} bodies told 408, all places given back"


def half_open(server, size):
    """Connections whose other end says no more: nothing at all, half a head, half a goodbye, half a frame."""
    before = server.metrics()
    with contextlib.ExitStack() as stack:
        silent = [stack.enter_context(Wire(server)) for _ in range(50)]
        half = [stack.enter_context(Wire(server)).send(b"GET /channels/a HT") for _ in range(50)]
        gone = [stack.enter_context(Wire(server)) for _ in range(50)]
        for wire in gone:
            wire.socket.shutdown(1)
        streams = [stack.enter_context(stream(server, "half", SSE)) for _ in range(20)]
        for wire in streams:
            wire.socket.shutdown(1)
        for wire in half + gone:
            wire.rest()
        sockets = [stack.enter_context(websocket(server, "half")) for _ in range(20)]
        for wire in sockets:
            wire.send(b"\x81")
        after = server.until(lambda now: now["handshakes"] == 0)
        cut = grown(before, after, 'timeouts_total{reason="header"}')
        assert cut == len(silent) + len(half), cut
        published = publish(server, "half", b"1")
        assert published == 201, published
        assert all(wire.exactly(3)[:1] == b"\x82" for wire in sockets), "a peer in the middle of a frame is still served"
    server.until(lambda now: now["connections"] <= 5)
    return f"{cut} cut and counted, {len(gone)} ended, 40 served until they went; all places given back"


# --- what the network does


@dataclass
class Far:
    """The server, as it is seen from another machine, which is a network namespace at the other end of a cable."""
    name: str
    address: str
    port: int = 0

    def within(self, do):
        """Does it on that machine: sockets stay there, whoever uses them."""
        def work():
            with open(f"/run/netns/{self.name}") as namespace:
                if ctypes.CDLL(None, use_errno=True).setns(namespace.fileno(), 0x4000_0000) != 0:
                    raise OSError(ctypes.get_errno(), "cannot enter a network namespace")
            return do()

        # A thread of its own, which stays there.
        with concurrent.futures.ThreadPoolExecutor(1) as thread:
            return thread.submit(work).result()

    def cut(self):
        """Nobody is told anything any more: not even that the other end is gone."""
        ip("-n", self.name, "link", "set", "there", "down")


def ip(*arguments):
    try:
        subprocess.run(["ip", *arguments], check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError):
        raise NotRun("a network namespace, which root may make by `ip`") from None


@contextlib.contextmanager
def far():
    name, here = f"openline-{os.getpid()}", f"ol{os.getpid()}"
    ip("netns", "add", name)
    try:
        ip("link", "add", here, "type", "veth", "peer", "name", "there", "netns", name)
        ip("addr", "add", "198.18.77.1/30", "dev", here)
        ip("link", "set", here, "up")
        ip("-n", name, "addr", "add", "198.18.77.2/30", "dev", "there")
        ip("-n", name, "link", "set", "there", "up")
        yield Far(name, "198.18.77.1")
    finally:
        # Both ends at once: the namespace itself may live for as long as it has sockets.
        subprocess.run(["ip", "link", "del", here], capture_output=True)
        subprocess.run(["ip", "netns", "del", name], check=True)


def vanished(server, size, there):
    """Clients of every kind whose machine is gone: not a packet comes from it any more."""
    there.port = server.port

    def held(channel):
        return Wire(there).send(head("GET", f"/channels/{channel}?since=", {"Prefer": "wait=300"}))

    ways = [lambda channel: websocket(there, channel), lambda channel: websocket(there, channel, "openline.v1"),
            lambda channel: stream(there, channel, SSE), lambda channel: stream(there, channel, NDJSON),
            held, lambda _: Wire(there).send(head("GET", "/healthz"))]
    with contextlib.ExitStack() as stack:
        for way in ways:
            for channel in 5 * ["far", "quiet"]:
                stack.enter_context(there.within(lambda: way(channel)))
        count = 10 * len(ways)
        server.until(lambda now: now.get('listeners{transport="poll"}') == 10)
        assert server.metric("connections") >= count
        there.cut()
        cut = time.monotonic()
        # Half of them are sent something meanwhile, and streams their heartbeats.
        assert publish(server, "far", b"1") == 201
        gone = {}
        for transport in "sse", "ndjson", "poll", "websocket":
            own = 1 if transport == "websocket" else 0
            server.until(lambda now: now.get(f'listeners{{transport="{transport}"}}', 0) == own)
            gone[transport] = time.monotonic() - cut
        server.until(lambda now: now["connections"] <= 5)
    worst = time.monotonic() - cut
    # `timeouts.write`, and the time between two questions of the system.
    assert worst < 3 + 1 + HANGS / 4, gone
    return f"{count} let go after {worst:.1f} s at most, where a client may take nothing for 3 s"


# --- what the machine does


def mount(directory, size):
    directory.mkdir()
    done = subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(directory)], capture_output=True)
    if done.returncode != 0:
        directory.rmdir()
        raise NotRun("a small file system to fill, which root may mount")


@contextlib.contextmanager
def small_disk(scratch):
    directory = scratch / "disk"
    mount(directory, "3m")
    try:
        yield directory
    finally:
        subprocess.run(["umount", "--lazy", str(directory)], check=True)
        directory.rmdir()


def refused_for_a_while(server, healthy, cause, begin, end):
    """Publishing is refused with a reason while the disk takes nothing; all else goes on; and publishing again, by itself."""
    server.until(lambda now: now["publications_total"] > 20)
    begin()
    server.until(lambda now: now["log_refuses"] == 1)
    status, reason = server.readiness()
    assert status == 503 and cause in reason, (status, reason)
    assert server.get("/healthz")[0] == 200
    assert server.get(f"/channels/{healthy}")[0] == 200, "reading goes on"
    with stream(server, "other", SSE) as wire:
        assert b"ready" in wire.exactly(30), "and listening"
    before = server.metrics()
    assert publish(server, "a", b"1") == 503
    after = server.metrics()
    assert grown(before, after, 'publications_refused_total{status="503"}') >= 1
    end()
    after = server.until(lambda now: now["log_refuses"] == 0)
    assert publish(server, "a", b"1") == 201
    assert server.readiness()[0] == 200
    told = grown({}, after, 'publications_refused_total{status="503"}')
    return f"{told} told 503 with the reason; taken again without a restart"


def full_disk(server, size, disk, healthy):
    """No room is left on the log's disk, and then there is some."""
    filler = disk / "filler"

    def fill():
        with open(filler, "wb", buffering=0) as file, contextlib.suppress(OSError):
            while True:
                file.write(b"x" * 4096)
        # What the log has already reserved is used up as well.
        for number in range(400):
            if publish(server, f"fill/{number}", os.urandom(4000)) == 503:
                return

    return refused_for_a_while(server, healthy, "full", fill, filler.unlink)


def file_limit(server, size, healthy):
    """No file may grow: `ulimit -f`, as some supervisors set it."""
    pid = server.process.pid

    def limit():
        resource.prlimit(pid, resource.RLIMIT_FSIZE, (4096, resource.RLIM_INFINITY))
        for number in range(400):
            if publish(server, f"fill/{number}", os.urandom(4000)) == 503:
                return

    def lift():
        resource.prlimit(pid, resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))

    return refused_for_a_while(server, healthy, "", limit, lift)


def failing_disk(server, size, strace, error, healthy):
    """Each write to the disk fails, as on one that dies or that the system makes read-only for its errors; and then none does,
    as on one that was mounted again."""
    tracer = []

    def begin():
        tracer.append(subprocess.Popen([*strace, "-e", "trace=pwrite64", "-e", f"inject=pwrite64:error={error}", "-p",
                                        str(server.process.pid)]))

    def end():
        tracer[0].send_signal(signal.SIGINT)
        tracer[0].wait(HANGS)

    try:
        return refused_for_a_while(server, healthy, "", begin, end)
    finally:
        for process in tracer:
            process.kill()
            process.wait()


def read_only_directory(scratch):
    """A start where nothing can be written."""
    with small_disk(scratch) as disk:
        subprocess.run(["mount", "-o", "remount,bind,ro", str(disk)], check=True)
        started = subprocess.run([os.environ["OPENLINE_BIN"], "serve", "--listen", "127.0.0.1:0", "--data-dir", str(disk / "log")],
                                 capture_output=True, text=True, timeout=HANGS)
        assert started.returncode == 1 and "ead-only" in started.stderr, started
    return f"exit code 1: {started.stderr.splitlines()[0].replace(str(scratch), '…')}"


def slow_disk(server, size, healthy):
    """Each sync of the disk takes 200 ms more."""
    slowest, begun = 0, time.monotonic()
    while time.monotonic() - begun < size.slow_disk:
        asked = time.monotonic()
        assert server.get(f"/channels/{healthy}")[0] in (200, 404)
        slowest = max(slowest, time.monotonic() - asked)
        time.sleep(0.05)
    asked = time.monotonic()
    assert publish(server, "a", b"1") == 201
    took = time.monotonic() - asked
    assert took >= 0.2, f"{took}: the delay is not there"
    assert slowest < 2, f"reading waited {slowest} s"
    return f"a publication took {took * 1000:.0f} ms, reading {slowest * 1000:.0f} ms at most"


def clock_jumps(server, size, clock, healthy):
    """The wall clock jumps: two hours on, four back, and to the right time again."""
    first, _, _ = cursor(server, "/channels/clock?since=")
    soon = token({"sub": "a", "exp": time.time() + 3600, "openline": {"subscribe": ["**"]}})
    expected, statuses, place = [], [], first
    for number, offset in enumerate(["+0", "+7200", "-7200", "+0"]):
        clock.write_text(f"{offset}\n")
        time.sleep(0.3)
        for repeat in range(3):
            assert publish(server, "clock", str(10 * number + repeat).encode(), **{"Content-Type": "application/json"}) == 201
            expected.append(10 * number + repeat)
        statuses.append(ask(server, head("GET", "/channels/clock", {"Authorization": f"Bearer {soon}"})))
        place, recovered, missed = cursor(server, f"/channels/clock?since={place}")
        assert recovered and missed == expected[-3:], (offset, recovered, missed)
    # Whoever was away all the while misses nothing: how old something is goes by a clock that does not jump.
    _, recovered, missed = cursor(server, f"/channels/clock?since={first}")
    assert recovered and missed == expected, (recovered, missed)
    # A token goes by the time of day: two hours later it was too old.
    assert statuses == [200, 401, 200, 200], statuses
    return (f"over +2 h, -4 h, +2 h, {len(missed)} of {len(expected)} are there in order, though history.age is 1 h; "
            "a token of 1 h was refused in the future only")


def killed(server, size, start, healthy):
    """kill -9, and a new server on the same log and port, again and again."""
    pauses = random.Random(1)
    for _ in range(size.kills):
        time.sleep(0.5 + pauses.random())
        server.stop(signal.SIGKILL)
        server = start(server.port)
    server.until(lambda now: now.get('listeners{transport="websocket"}') == 1 and now["publications_total"] > 10)
    return f"{size.kills} kills; both came back by themselves"
