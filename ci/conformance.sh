#!/usr/bin/env bash
# Runs the whole Autobahn testsuite, all 517 cases, against the library: as a server and as a client, over HTTP/1.1, and over
# HTTP/2 through a bridge. About ten minutes a run on two processors.
#
#   ci/conformance.sh [--record] [RUN...]    RUN: server client server-http2 client-http2; all of them without any
#
#   --record    write the results into conformance/autobahn/results
#
# BRIDGE=nghttpx|haproxy chooses the bridge, which as root on Debian is installed. The exit code is 0 only if every case came
# out as it must, and the recorded results say the same.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
exec </dev/null

source ci/tools.sh

readonly all_runs=(server client server-http2 client-http2)
readonly results=conformance/autobahn/results
readonly bridge=${BRIDGE:-nghttpx}

main() {
    local record='' runs=() run
    while [[ $# -gt 0 ]]; do
        case $1 in
            --record) record=yes ;;
            *) runs+=("$1") ;;
        esac
        shift
    done
    [[ ${#runs[@]} -gt 0 ]] || runs=("${all_runs[@]}")
    for run in "${runs[@]}"; do
        [[ " ${all_runs[*]} " == *" $run "* ]] || fail "no run \`$run\`; there are: ${all_runs[*]}"
    done
    need_python
    if [[ " ${runs[*]} " == *-http2* ]]; then
        case $bridge in
            nghttpx) need nghttpx:nghttp2-proxy ;;
            haproxy) need haproxy ;;
            *) fail "no bridge \`$bridge\`; there are: nghttpx, haproxy" ;;
        esac
    fi
    cargo build --release "${everything[@]}" --example echo --example echo_http2 --example autobahn_client
    for run in "${runs[@]}"; do
        examine "$run" ${record:+--record "$results/$run.json"}
    done
    python3 conformance/autobahn/run.py recorded
}

examine() {
    local run=$1 examples=$target/release/examples options=() program
    shift
    case $run in
        server) program=("$examples/echo" --deflate) ;;
        client) program=("$examples/autobahn_client") ;;
        server-http2) program=("$examples/echo_http2") ;;
        client-http2) program=("$examples/autobahn_client" --http2) ;;
    esac
    [[ $run != *-http2 ]] || options=(--bridge "$bridge")
    python3 conformance/autobahn/run.py "${run%-http2}" --set full --env "$tools/autobahn" "${options[@]}" "$@" -- "${program[@]}"
}

main "$@"
