#!/usr/bin/env bash
# Does to a server what goes wrong in production (full, slow and failing disks, storms, floods, stalled and hostile clients,
# clocks that jump, kill -9) while a healthy pair of clients goes on, and prints what was seen of each fault.
#
#   ci/faults.sh [--long] [FAULT...]     a minute or two; with --long about five. FAULT: some of them, see --help
#
# OPENLINE_BIN names the command to try; without it the debug build is made and taken. What it needs beside Rust it installs, or names.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
exec </dev/null

source ci/tools.sh

need strace faketime ip:iproute2
need_python
python_env interop conformance/interop/python/requirements.txt
if [[ -z ${OPENLINE_BIN:-} ]]; then
    cargo build "${everything[@]}" --bins --examples
    export OPENLINE_BIN=$target/debug/openline
fi
# Fifteen thousand connections, and what else is open.
ulimit -n 20000 || fail "20,000 files must be allowed to be open at once (ulimit -n)"
around=()
# Who is not root may mount a small disk, and lay a cable, in namespaces where it is; `ip` keeps the names of its own below /run.
# shellcheck disable=SC2016
[[ $(id -u) == 0 ]] || around=(unshare --user --map-root-user --mount --net
    bash -c 'ip link set lo up && mount -t tmpfs none /run && exec "$@"' --)
"${around[@]}" "$tools/interop/bin/python" conformance/faults/run.py "$@"
