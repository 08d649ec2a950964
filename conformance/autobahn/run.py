#!/usr/bin/env python3
"""Runs the Autobahn WebSocket testsuite against a program of ours.

    run.py server [OPTIONS] -- PROGRAM ARGS...   an echo server; it is given the address to listen on
    run.py client [OPTIONS] -- PROGRAM ARGS...   a client; it is given the URL of the fuzzing server
    run.py recorded                              tells of the recorded results: whether they are whole, and this version's

Each is given what it needs as its last argument. The exit status is 0 only if every case of the set was run and came
out as it must: OK, but for the cases in results.INFORMATIONAL. What the suite needs is installed from PyPI at the first run.
"""

import argparse
import concurrent.futures
import contextlib
import fnmatch
import hashlib
import json
import os
import pathlib
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import zipfile

import bridge
from results import SUITE, check_recorded, judge, record, tally

HERE = pathlib.Path(__file__).resolve().parent

CORE = ["1.*", "2.*", "3.*", "4.*", "5.*", "6.*", "7.*", "10.*"]
LIMITS = ["9.*"]
# Of each data set and each parameter set of permessage-deflate: a small, a middle and an automatically fragmented case.
DEFLATE = [f"{group}.{n}.{case}" for group, last in ((12, 5), (13, 7)) for n in range(1, last + 1) for case in (1, 4, 11)]
SETS = {
    "core": CORE,
    "nocomp": CORE + LIMITS,
    "deflate": DEFLATE,
    "quick": CORE + DEFLATE,
    "full": ["*"],
}

def main():
    if sys.argv[1:] == ["recorded"]:
        return check_recorded()
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("role", choices=["server", "client"], help="what PROGRAM is")
    parser.add_argument("--set", metavar="SETS", type=Sets, default="quick",
                        help=f"cases to run, of one or more of {', '.join(SETS)}: 'quick,nocomp' [default: %(default)s]")
    parser.add_argument("--cases", metavar="PATTERNS", help="cases to run instead of a set: '1.*,9.3.1'")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1, help="how many cases are run side by side")
    parser.add_argument("--bridge", choices=bridge.PACKAGES, help="PROGRAM speaks HTTP/2, through this proxy")
    parser.add_argument("--env", type=pathlib.Path, default=HERE.parents[1] / "target" / "autobahn", metavar="DIR",
                        help="where the suite is installed [default: target/autobahn]")
    parser.add_argument("--record", type=pathlib.Path, metavar="FILE", help="write the result there as JSON")
    arguments = sys.argv[1:]
    program = []
    if "--" in arguments:
        cut = arguments.index("--")
        arguments, program = arguments[:cut], arguments[cut + 1:]
    options = parser.parse_args(arguments)
    if not program:
        parser.error("PROGRAM is missing: … -- PROGRAM ARGS...")

    suite = Suite(options.env.resolve())
    patterns = options.cases.split(",") if options.cases else options.set.patterns
    cases = [case for case in suite.cases() if any(fnmatch.fnmatchcase(case, pattern) for pattern in patterns)]
    if not cases:
        sys.exit("no such case")
    started = time.monotonic()
    with tempfile.TemporaryDirectory() as reports:
        run = test_server if options.role == "server" else test_client
        results = run(suite, program, cases, pathlib.Path(reports), options)
    failures = judge(cases, results)
    over = f" over HTTP/2 through {options.bridge}" if options.bridge else ""
    print(f"autobahn {options.role}{over}: {len(cases)} cases in {time.monotonic() - started:.0f} s, {tally(results)}")
    for failure in failures:
        print(f"  {failure}")
    if options.record:
        record(options, cases, results, failures)
    print(f"{len(cases) - len(failures)} passed, {len(failures)} failed", flush=True)
    return 1 if failures else 0


class Sets:
    """One or more of SETS, by their names between commas."""

    def __init__(self, names):
        if unknown := set(names.split(",")) - SETS.keys():
            raise argparse.ArgumentTypeError(f"no set {', '.join(unknown)}; there are: {', '.join(SETS)}")
        self.names = names
        self.patterns = [pattern for name in names.split(",") for pattern in SETS[name]]

    def __str__(self):
        return self.names


class Suite:
    """The installed testsuite."""

    def __init__(self, env):
        self.env = env
        self.python = env / "bin" / "python"
        needed = [HERE / name for name in ("requirements.txt", "suite.txt", "port_to_python3.py")]
        stamp = hashlib.sha256(b"".join(path.read_bytes() for path in needed)).hexdigest()
        installed = env / "installed"
        if not installed.is_file() or installed.read_text() != stamp:
            print(f"installing {SUITE} into {env}", flush=True)
            self.install()
            installed.write_text(stamp)

    def install(self):
        shutil.rmtree(self.env, ignore_errors=True)
        subprocess.check_call([sys.executable, "-m", "venv", self.env])
        pip = [self.python, "-m", "pip", "--disable-pip-version-check", "--quiet"]
        subprocess.check_call([*pip, "install", "--require-hashes", "-r", HERE / "requirements.txt"])
        with tempfile.TemporaryDirectory() as scratch:
            as_python2 = ["--python-version", "2.7", "--implementation", "py", "--abi", "none", "--platform", "any"]
            subprocess.check_call([*pip, "download", "--require-hashes", "--no-deps", "--only-binary=:all:", *as_python2,
                                   "-d", scratch, "-r", HERE / "suite.txt"])
            wheel, = pathlib.Path(scratch).glob("*.whl")
            with zipfile.ZipFile(wheel) as archive:
                archive.extractall(scratch)
            source = os.path.join(scratch, "autobahntestsuite")
            subprocess.check_call([self.python, HERE / "port_to_python3.py", source, self.env])

    def cases(self):
        """The names of all cases, in the suite's order."""
        code = "import wstest3.compat, wstest3.fuzzing as f; print(*(c.__name__[4:].replace('_', '.') for c in f.Cases))"
        return subprocess.check_output([self.python, "-c", code], env=self.variables(), text=True).split()

    def start(self, mode, specification, reports):
        """Starts a fuzzing client or a fuzzing server that writes to `reports`."""
        reports.mkdir()
        file = reports / "specification.json"
        specification |= {"outdir": str(reports), "exclude-cases": [], "exclude-agent-cases": {}}
        file.write_text(json.dumps(specification))
        with open(reports / "log", "w") as log:
            return subprocess.Popen([self.python, "-m", "wstest3", mode, file], stdin=subprocess.DEVNULL, stdout=log,
                                    stderr=subprocess.STDOUT, env=self.variables())

    def variables(self):
        return dict(os.environ, PYTHONPATH=str(self.env))


def test_server(suite, program, cases, reports, options):
    """The program and the bridge run all the while; each lot of cases has a fuzzing client."""
    port = free_port()
    server = subprocess.Popen([*program, f"127.0.0.1:{port}"], stdin=subprocess.DEVNULL)
    with stopping(server):
        wait_until_listening(port, server, "the server")
        with bridged(options.bridge, port, reports, http2="back") as front:
            def run(lot, directory):
                target = {"agent": "openline", "url": f"ws://127.0.0.1:{front}"}
                suite.start("fuzzingclient", {"servers": [target], "cases": lot}, directory).wait()

            results = side_by_side(run, cases, reports, options.jobs)
        if server.poll() is not None:
            sys.exit(f"the server ended by itself, with status {server.returncode}")
    return results


def test_client(suite, program, cases, reports, options):
    """Each lot of cases has a fuzzing server, a bridge, and a run of the program."""
    def run(lot, directory):
        port = free_port()
        fuzzer = suite.start("fuzzingserver", {"url": f"ws://127.0.0.1:{port}", "cases": lot}, directory)
        with stopping(fuzzer):
            wait_until_listening(port, fuzzer, "the fuzzing server")
            with bridged(options.bridge, port, directory, http2="front") as front:
                status = subprocess.call([*program, f"ws://127.0.0.1:{front}"], stdin=subprocess.DEVNULL)
            if status:
                raise RuntimeError(f"the client failed, with status {status}")

    return side_by_side(run, cases, reports, options.jobs)


@contextlib.contextmanager
def bridged(name, port, directory, http2):
    """The port to connect to: that of the bridge `name` before `port`, or `port` itself without one."""
    if not name:
        yield port
        return
    front = free_port()
    log = directory / "bridge.log"
    try:
        with open(log, "w") as output, stopping(bridge.start(name, front, port, directory, http2, output)) as proxy:
            wait_until_listening(front, proxy, name)
            yield front
    except BaseException:
        print(log.read_text(), file=sys.stderr)
        raise


def side_by_side(run, cases, reports, jobs):
    """Calls `run` with lots of the cases and directories for their reports, in threads, and gathers the reports."""
    results = {}

    def work(number, lot):
        directory = reports / str(number)
        run(lot, directory)
        results.update(read_index(directory))

    with concurrent.futures.ThreadPoolExecutor(jobs) as pool:
        for done in [pool.submit(work, *numbered) for numbered in enumerate(in_lots(cases, jobs))]:
            done.result()
    return results


def in_lots(cases, jobs):
    """Compression cases take long: they go in small lots, the largest first, and the others in one lot a job."""
    slow = [case for case in cases if case.split(".")[0] in ("12", "13")]
    fast = [case for case in cases if case not in slow]
    slow.sort(key=lambda case: -int(case.split(".")[2]))
    lots = [slow[start:start + 4] for start in range(0, len(slow), 4)]
    lots += [fast[start::jobs] for start in range(jobs)]
    return [lot for lot in lots if lot]


def read_index(directory):
    """What the suite found, by case; nothing if it did not come so far."""
    try:
        index = json.loads((directory / "index.json").read_text())
    except OSError:
        print((directory / "log").read_text(), file=sys.stderr)
        return {}
    return next(iter(index.values()), {})


def free_port():
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return listener.getsockname()[1]


def wait_until_listening(port, process, what):
    deadline = time.monotonic() + 30
    while process.poll() is None and time.monotonic() < deadline:
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
            return
        except OSError:
            time.sleep(0.05)
    sys.exit(f"{what} does not listen on 127.0.0.1:{port}")


@contextlib.contextmanager
def stopping(process):
    """Ends the process behind the block."""
    try:
        yield process
    finally:
        process.terminate()
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


if __name__ == "__main__":
    sys.exit(main())
