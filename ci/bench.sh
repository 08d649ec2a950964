#!/usr/bin/env bash
# Measures Openline beside the kernel's limit and its peers, and writes tables and plots into docs/.
#
#   ci/bench.sh                       everything: 19 minutes, on a machine that does nothing else
#   ci/bench.sh --quick               a look at everything, in a few minutes
#   ci/bench.sh WORKLOAD... [--quick] [--rounds N]
#   ci/bench.sh --resume              what is left of a run that was interrupted
#   ci/bench.sh --list                the workloads
#   ci/bench.sh --render              tables and plots anew, from what was measured last
#   ci/bench.sh install-peers         what is measured beside Openline, and what looks into it, as root on Debian
#
# It needs Linux with two processors and 16,000 open files a process (`ulimit -Hn`). Peers that are not installed are left
# out, and the page says so. Sockudo has no other way than to be built: a quarter of an hour. uWebSockets is built if there is a
# C++ compiler (`CC`, `CXX`; otherwise gcc and g++).
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
exec </dev/null

export CARGO_TERM_COLOR=${CARGO_TERM_COLOR:-never}
BENCH_TARGET=$PWD/bench/target
SOCKUDO=4.5.2

main() {
    local target commit
    if [[ ${1-} == install-peers ]]; then
        install_peers
        return
    fi
    target=${CARGO_TARGET_DIR:-target}
    cargo build --release --locked --package openline --package openline-cli --bin openline --example echo --example echo_tls
    CARGO_TARGET_DIR=$BENCH_TARGET cargo build --release --locked --manifest-path bench/Cargo.toml --workspace
    compile_uws || echo "uWebSockets is left out: it could not be compiled" >&2
    commit=$(git rev-parse --short HEAD)
    git diff --quiet HEAD -- crates bench || commit="$commit with changes"
    # A group of its own, so that no server is left behind when this is stopped; nor are their files.
    TMPDIR=$(mktemp -d)
    export TMPDIR
    trap 'rm -rf "$TMPDIR"' EXIT
    set -m
    "$BENCH_TARGET/release/openline-bench" --docs docs --product "$target/release" --tools "$BENCH_TARGET/tools" \
        --date "$(date -u +%F)" --commit "$commit" "$@" &
    trap 'kill -KILL -- "-$!" 2>/dev/null; exit 130' INT TERM HUP
    wait "$!"
}

# The crate's sources, as their own makefiles compile them, but for -march=native, TLS and compression.
compile_uws() {
    local program=$BENCH_TARGET/tools/bin/uws sources here=$PWD/bench/uws
    if [[ $program -nt $here/server.cpp && $program -nt $here/Cargo.lock ]]; then
        return
    fi
    rm -f "$program"
    sources=$(cargo metadata --locked --format-version 1 --manifest-path "$here/Cargo.toml" |
        grep -o '"manifest_path":"[^"]*/libuwebsockets-sys-[^"]*/Cargo.toml"' | cut -d '"' -f 4) || return
    sources=${sources%/Cargo.toml}/uWebSockets
    (
        objects=$(mktemp -d)
        trap 'rm -rf "$objects"' EXIT
        cd "$objects"
        "${CC:-gcc}" -std=c11 -O3 -flto=auto -DLIBUS_NO_SSL -I"$sources/uSockets/src" \
            -c "$sources"/uSockets/src/*.c "$sources"/uSockets/src/eventing/*.c "$sources"/uSockets/src/crypto/*.c &&
            "${CXX:-g++}" -std=c++20 -O3 -flto=auto -DLIBUS_NO_SSL -DUWS_NO_ZLIB -I"$sources/src" -I"$sources/uSockets/src" \
                "$here/server.cpp" ./*.o -o uws &&
            mkdir -p "${program%/*}" && mv uws "$program"
    )
}

install_peers() {
    if [[ $(id -u) != 0 ]] || ! command -v apt-get >/dev/null; then
        echo "error: this needs root on Debian; elsewhere, install nginx with Nchan, g++, perf and valgrind" >&2
        exit 1
    fi
    apt-get update --quiet=2
    # protoc is for Sockudo.
    DEBIAN_FRONTEND=noninteractive apt-get install --quiet=2 --yes --no-install-recommends \
        g++ nginx libnginx-mod-nchan linux-perf valgrind libc6-dbg protobuf-compiler libprotobuf-dev >/dev/null
    if command -v npm >/dev/null; then
        npm ci --prefix bench/node --ignore-scripts --no-audit --no-fund
    else
        echo "no npm: Socket.IO and ws are left out" >&2
    fi
    # It reads what tokio calls unstable.
    RUSTFLAGS="--cfg tokio_unstable" cargo install sockudo --version "$SOCKUDO" --locked \
        --root "$BENCH_TARGET/tools" --target-dir "$BENCH_TARGET/sockudo"
    rm -rf "$BENCH_TARGET/sockudo"
}

main "$@"
