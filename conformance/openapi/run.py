#!/usr/bin/env python3
"""Checks `GET /openapi.json` against the server that serves it: schemathesis makes requests from the document, right and
wrong ones, and looks whether every answer is as the document says.

    run.py SERVER SCHEMATHESIS
"""

import os
import pathlib
import re
import subprocess
import sys
import tempfile

HERE = pathlib.Path(__file__).resolve().parent


def main(server, schemathesis):
    # What schemathesis keeps on disk goes with the directory.
    with tempfile.TemporaryDirectory() as scratch:
        return check(pathlib.Path(server).resolve(), pathlib.Path(schemathesis).absolute(), scratch)


def check(server, schemathesis, scratch):
    command = [server, "serve", "--memory", "--listen", "127.0.0.1:0"]
    process = subprocess.Popen(command, cwd=scratch, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True)
    try:
        line = process.stdout.readline()
        found = re.fullmatch(r"listening on (http://127\.0\.0\.1:\d+)/\n", line)
        if not found:
            raise SystemExit(f"the server began with {line!r}")
        checked = subprocess.run(
            [schemathesis, "--config-file", HERE / "schemathesis.toml", "run", f"{found[1]}/openapi.json", "--no-color"],
            cwd=scratch,
            env=os.environ | {"NO_COLOR": "1"},
            # Only to end a run that hangs.
            timeout=600,
        )
        if process.poll() is not None:
            raise SystemExit("the server did not survive it")
        return checked.returncode
    finally:
        process.kill()
        process.wait()


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
