#!/usr/bin/env bash
# Kills a server again and again while clients publish and listen on every transport, and checks that nothing which was
# acknowledged is lost, doubled or out of order. `ci/test.sh` does it 5 times; this, as often as it is told:
#
#   ci/kill-loop.sh [TIMES]     50 times by default
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

times=${1:-50}
[[ $times =~ ^[1-9][0-9]*$ ]] || { echo "error: how often? write a number, such as 50" >&2; exit 2; }
export OPENLINE_KILLS=$times
cargo test --workspace --all-features --locked --test cli -- --nocapture kill_loop::
echo "the server was killed $times times"
