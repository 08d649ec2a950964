#!/usr/bin/env bash
# Measures Openline beside the kernel's limit and its peers, and writes tables and plots into docs/.
#
#   ci/bench.sh                       everything: about half an hour, on a machine that does nothing else
#   ci/bench.sh --quick               a look at everything, in about three minutes
#   ci/bench.sh WORKLOAD... [--quick] [--rounds N]
#   ci/bench.sh --list                the workloads
#   ci/bench.sh --render              tables and plots anew, from what was measured last
#
# It needs Linux with two processors, 16,000 open files a process (`ulimit -Hn`), and Nchan, which it installs as root
# on Debian.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
exec </dev/null

export CARGO_TERM_COLOR=${CARGO_TERM_COLOR:-never}

main() {
    local target bench_target commit
    target=${CARGO_TARGET_DIR:-target}
    bench_target=bench/target
    [[ " $* " == *" --list "* || " $* " == *" --render "* ]] || need_nchan
    cargo build --release --locked --package openline --package openline-cli --bin openline --example echo --example echo_tls
    CARGO_TARGET_DIR=$bench_target cargo build --release --locked --manifest-path bench/Cargo.toml --workspace
    commit=$(git rev-parse --short HEAD)
    git diff --quiet HEAD -- crates bench || commit="$commit with changes"
    "$bench_target/release/openline-bench" --docs docs --product "$target/release" \
        --date "$(date -u +%F)" --commit "$commit" "$@"
}

need_nchan() {
    local module=/usr/lib/nginx/modules/ngx_nchan_module.so
    [[ ! -e $module ]] || return 0
    if [[ $(id -u) != 0 ]] || ! command -v apt-get >/dev/null; then
        echo "error: Nchan is missing: install it (on Debian: sudo apt-get install nginx libnginx-mod-nchan)" >&2
        exit 1
    fi
    echo "installing the Debian packages nginx and libnginx-mod-nchan"
    apt-get update --quiet=2
    DEBIAN_FRONTEND=noninteractive apt-get install --quiet=2 --yes --no-install-recommends nginx libnginx-mod-nchan >/dev/null
}

main "$@"
