"""Does to a server what goes wrong in production, one thing after the other, and looks whether it serves those who do
nothing wrong, stays within its memory, and counts what it refuses.

    run.py [--long] [FAULT...]      OPENLINE_BIN names the command under test
"""

import argparse
import json
import os
import pathlib
import resource
import shutil
import sys
import tempfile
import time
import traceback
from dataclasses import dataclass

import faults
from faults import NotRun
from server import MEMORY, Helper, Server, Watch

# How long something may take that takes a few milliseconds when nothing is wrong. Machines are shared, hence so much.
BOUND = 5.0


@dataclass
class Size:
    """How much of each."""
    storm: int = 15_000
    stalled: int = 20
    flood: int = 2_000
    slow: int = 100
    slow_disk: float = 3
    kills: int = 3


LONG = Size(storm=19_000, stalled=200, flood=50_000, slow=1_000, slow_disk=30, kills=50)


class Run:
    def __init__(self, scratch, size):
        self.scratch, self.size, self.rows = scratch, size, []

    def fault(self, name, do):
        """Does one, and tells what was seen."""
        begun = time.monotonic()
        try:
            seen, outcome = do(), "PASS"
        except NotRun as reason:
            seen, outcome = f"needs {reason}", "NOT RUN"
        except Exception as error:
            traceback.print_exc()
            seen, outcome = f"{type(error).__name__}: {error}"[:200], "FAIL"
        self.rows.append((name, seen, outcome))
        print(f"{outcome}  {name} ({time.monotonic() - begun:.1f} s): {seen}", flush=True)

    def beside_healthy(self, server, do, may_refuse=False, may_come_back=False):
        """Does it to a server that serves a healthy pair all the while."""
        channel = f"healthy/{len(self.rows)}"
        with Helper("healthy", server.port, channel) as pair:
            assert pair.line() == "begun"
            with Watch(server) as watch:
                seen = do(channel)
                time.sleep(0.3)
            report = json.loads(pair.end())
        wrong = {key: report[key] for key in ("lost", "doubled", "out_of_order", "gaps") if report[key]}
        assert not wrong, report
        assert report["acknowledged"] > 5, report
        assert may_refuse or not report["refusals"], report
        assert may_come_back or not report["comebacks"], report
        worst = max(report["worst_delay"], report["worst_answer"])
        assert may_refuse or may_come_back or worst < BOUND, report
        assert watch.most < MEMORY, f"{watch.most} bytes of memory"
        return (f"{seen}. Healthy: {report['acknowledged']} published, none lost, {worst * 1000:.0f} ms at the worst; "
                f"{watch.most / 2**20:.0f} MiB")

    def in_memory(self):
        """Those to one server, whose log is in memory."""
        with Server(self.scratch, "--memory") as server:
            for name, fault in IN_MEMORY.items():
                if wanted(name):
                    self.fault(name, lambda: self.beside_healthy(server, lambda _: fault(server, self.size)))
            if server.process.poll() is not None:
                self.fault("the server", lambda: sys.exit("it is gone"))

    def on(self, directory, do, around=(), may_refuse=False, **options):
        with Server(self.scratch, "--data-dir", str(directory), around=around, **options) as server:
            return self.beside_healthy(server, lambda healthy: do(server, healthy), may_refuse)

    def full_disk(self):
        with faults.small_disk(self.scratch) as disk:
            return self.on(disk / "log", lambda server, healthy: faults.full_disk(server, self.size, disk, healthy),
                           may_refuse=True)

    def failing_disk(self, error="EIO"):
        strace = self.strace()
        return self.on(self.scratch / error,
                       lambda server, healthy: faults.failing_disk(server, self.size, strace, error, healthy), may_refuse=True)

    def disk_turned_read_only(self):
        return self.failing_disk("EROFS")

    def vanished(self):
        with faults.far() as there, Server(self.scratch, "--memory", listen="0.0.0.0") as server:
            return self.beside_healthy(server, lambda _: faults.vanished(server, self.size, there))

    def read_only_directory(self):
        return faults.read_only_directory(self.scratch)

    def file_limit(self):
        return self.on(self.scratch / "limited", lambda server, healthy: faults.file_limit(server, self.size, healthy),
                       may_refuse=True)

    def strace(self):
        found = shutil.which("strace")
        if not found:
            raise NotRun("strace")
        return [found, "-f", "--quiet=all", "-o", os.devnull]

    def slow_disk(self):
        # -D: the server stays the child that is started, and the tracer is another.
        around = [*self.strace(), "-D", "--seccomp-bpf", "-e", "trace=fsync,fdatasync", "-e",
                  "inject=fsync,fdatasync:delay_enter=200ms"]
        return self.on(self.scratch / "slow", lambda server, healthy: faults.slow_disk(server, self.size, healthy), around)

    def clock_jumps(self):
        found = next(pathlib.Path("/usr/lib").glob("*/faketime/libfaketimeMT.so.1"), None)
        if not found:
            raise NotRun("faketime")
        clock = self.scratch / "clock"
        clock.write_text("+0\n")
        environment = os.environ | {"LD_PRELOAD": str(found), "FAKETIME_TIMESTAMP_FILE": str(clock),
                                    "FAKETIME_DONT_FAKE_MONOTONIC": "1", "FAKETIME_NO_CACHE": "1"}
        return self.on(self.scratch / "clocked",
                       lambda server, healthy: faults.clock_jumps(server, self.size, clock, healthy), env=environment,
                       config='[history]\nage = "1h"\n')

    def killed(self):
        servers = []

        def start(port=0):
            servers.append(Server(self.scratch, "--data-dir", str(self.scratch / "killed"), port=port))
            return servers[-1]

        try:
            return self.beside_healthy(start(), lambda healthy: faults.killed(servers[0], self.size, start, healthy),
                                       may_come_back=True)
        finally:
            servers[-1].stop()


IN_MEMORY = {
    "stalled_clients": faults.stalled_clients,
    "connection_storm": faults.connection_storm,
    "publish_flood": faults.publish_flood,
    "one_address": faults.one_address,
    "oversized": faults.oversized,
    "bad_tokens": faults.bad_tokens,
    "slowloris": faults.slowloris,
    "half_open": faults.half_open,
}
OTHERS = ["vanished", "full_disk", "file_limit", "failing_disk", "disk_turned_read_only", "read_only_directory", "slow_disk", "clock_jumps", "killed"]

chosen = []


def wanted(name):
    return not chosen or name in chosen


def main():
    known = [*IN_MEMORY, *OTHERS]
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--long", action="store_true", help="more of each: about five minutes")
    parser.add_argument("faults", nargs="*", metavar="FAULT", help=f"some of them: {', '.join(known)}")
    arguments = parser.parse_args()
    if unknown := set(arguments.faults) - set(known):
        parser.error(f"no fault {', '.join(unknown)}; there are: {', '.join(known)}")
    chosen.extend(arguments.faults)

    files = 20_000
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard != resource.RLIM_INFINITY and hard < files:
        sys.exit(f"error: {hard} files may be open at once; this needs {files} (ulimit -n)")
    resource.setrlimit(resource.RLIMIT_NOFILE, (files, hard))

    with tempfile.TemporaryDirectory(prefix="openline-faults-") as scratch:
        run = Run(pathlib.Path(scratch), LONG if arguments.long else Size())
        if any(map(wanted, IN_MEMORY)):
            run.in_memory()
        for name in filter(wanted, OTHERS):
            run.fault(name, getattr(run, name))
    width = max(len(name) for name, _, _ in run.rows)
    print("\n" + "\n".join(f"{name:{width}} | {seen} | {outcome}" for name, seen, outcome in run.rows))
    sys.exit(any(outcome != "PASS" for _, _, outcome in run.rows))


if __name__ == "__main__":
    main()
