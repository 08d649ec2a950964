#!/usr/bin/env bash
# Runs every test of the project, on a machine that has Rust; the first failure ends it.
#
#   ci/test.sh              all steps
#   ci/test.sh STEP...      some of them: format lint purity tests fuzz docs dependencies packaging interop faults browser
#                           autobahn
#
# What it needs of other languages it installs under the target directory and in node_modules, by lock files, from
# PyPI, npm and crates.io; as root on Debian also the programs that `prepare` names. Where it can't, it names all that is missing
# before anything runs. A part that can't run is a failure.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
exec </dev/null

readonly all_steps=(format lint purity tests fuzz docs dependencies packaging interop faults browser autobahn)
readonly cargo_deny_version=0.20.2

source ci/tools.sh

format() {
    cargo fmt --all --check
    cargo fmt --manifest-path bench/Cargo.toml --all --check
}

lint() {
    cargo clippy "${everything[@]}" --all-targets -- -D warnings
}

# The core does no I/O and asks neither the clock nor a source of randomness. Its dependencies can't do so for it, on
# any platform; and of the standard library, what crates/proto/clippy.toml names is forbidden beyond any `allow`.
purity() {
    local tree impure
    tree=$(cargo tree --locked --package openline-proto --all-features --edges normal --target all --prefix none --format '{p}')
    impure=$(grep -E '^(tokio|mio|socket2|getrandom|rand|async-io|polling)([-_][a-z0-9_-]+)? v' <<<"$tree" || true)
    [[ -z $impure ]] || fail "openline-proto must do no I/O, but depends on:"$'\n'"$impure"
    cargo clippy --locked --package openline-proto --all-features --lib -- -D warnings \
        -F clippy::disallowed_methods -F clippy::disallowed_types
    echo "openline-proto stands on $(sort -u <<<"$tree" | grep -vc '^openline-proto ') crates, none of which does I/O"
}

tests() {
    if cargo nextest --version >/dev/null 2>&1; then
        cargo nextest run --config-file ci/nextest.toml "${everything[@]}"
        cargo test --doc "${everything[@]}"
    else
        cargo test "${everything[@]}"
    fi
}

# The fuzz targets as plain tests, on their seeds and on what ci/fuzz.sh found worth keeping.
fuzz() {
    cargo fmt --manifest-path fuzz/Cargo.toml --check
    cargo clippy --manifest-path fuzz/Cargo.toml --locked --all-targets -- -D warnings
    cargo test --manifest-path fuzz/Cargo.toml --locked
}

docs() {
    RUSTDOCFLAGS="-D warnings" cargo doc "${everything[@]}" --no-deps
}

dependencies() {
    local deny=$tools/cargo-deny-$cargo_deny_version/bin/cargo-deny
    if [[ ! -x $deny ]]; then
        echo "building cargo-deny $cargo_deny_version"
        # Unoptimized and without debug information: it is built faster than it could ever win back.
        CARGO_TARGET_DIR=$tools/build CARGO_PROFILE_DEV_DEBUG=0 cargo install --quiet --locked --debug \
            --root "$tools/cargo-deny-$cargo_deny_version" --version "=$cargo_deny_version" cargo-deny
        rm -rf "$tools/build"
    fi
    # It looks at the crates of every platform, of which a build has fetched only its own.
    cargo fetch --quiet --locked
    "$deny" --offline --locked check bans licenses sources
    # The other languages' lock files name packages and their hashes, and no host.
    local found
    found=$(find conformance -name node_modules -prune -o -name package-lock.json -exec grep -H '"resolved"' {} + || true)
    [[ -z $found ]] || fail "a lock file names a host (see .npmrc beside it):"$'\n'"$found"
    found=$(find conformance -name node_modules -prune -o -name requirements.txt -exec grep -HE '^ *-|://' {} + |
        grep -v -- '--hash=' || true)
    [[ -z $found ]] || fail "a requirements file names a host or an option:"$'\n'"$found"
    echo "lock files name no host"
}

# What is shipped for systemd, Docker and Kubernetes, as far as it can be checked without them.
packaging() {
    python_env packaging conformance/packaging/requirements.txt
    build_programs
    "$tools/packaging/bin/python" conformance/packaging/check.py packaging
}

interop() {
    build_programs
    python_env interop conformance/interop/python/requirements.txt
    (cd conformance/interop/python && "$tools/interop/bin/python" -m pytest --quiet)
    node_tests conformance/interop/node
    local rust=(--manifest-path conformance/interop/rust/Cargo.toml)
    cargo fmt "${rust[@]}" --check
    cargo clippy "${rust[@]}" --locked --all-targets -- -D warnings
    cargo test "${rust[@]}" --locked
    python_env openapi conformance/openapi/requirements.txt
    python3 conformance/openapi/run.py "$OPENLINE_BIN" "$tools/openapi/bin/schemathesis"
}

# What goes wrong in production, done to a server that others are served by all the while.
faults() {
    build_programs
    ci/faults.sh
}

browser() {
    CHROMIUM_BIN=$(command -v chromium)
    export CHROMIUM_BIN
    build_programs
    node_tests conformance/browser
}

# Which cases: AUTOBAHN_SET=core|nocomp|deflate|quick|full, or more than one between commas; see conformance/README.md.
# All of them are run by ci/conformance.sh, whose last results are looked at here.
autobahn() {
    local role program
    build_programs
    for role in server client; do
        program=("$OPENLINE_ECHO" --deflate)
        [[ $role == server ]] || program=("$target/debug/examples/autobahn_client")
        python3 conformance/autobahn/run.py "$role" --set "${AUTOBAHN_SET:-quick,nocomp}" --env "$tools/autobahn" -- "${program[@]}"
    done
    python3 conformance/autobahn/run.py recorded
}

# The examples are built along with the command: with those of `tests`, their features are then the same, and so is
# what `tests` has built already.
build_programs() {
    cargo build "${everything[@]}" --bins --examples
    export OPENLINE_BIN=$target/debug/openline
    export OPENLINE_ECHO=$target/debug/examples/echo
    export OPENLINE_CLIENT=$target/debug/examples/client_interop
    export OPENLINE_EXAMPLE_CLIENT=$target/debug/examples/client
}

# What the steps need beside Rust, so that nobody learns of a missing program after minutes of tests.
prepare() {
    local step commands=(cc:build-essential make)
    for step in "$@"; do
        case $step in
            packaging) commands+=(python3 python3-venv systemd-analyze:systemd) ;;
            interop) commands+=(python3 python3-venv node:nodejs npm curl nginx tinyproxy:tinyproxy-bin microsocks) ;;
            faults) commands+=(python3 python3-venv strace faketime ip:iproute2) ;;
            browser) commands+=(node:nodejs npm chromium) ;;
            autobahn) commands+=(python3 python3-venv) ;;
        esac
    done
    need "${commands[@]}"
    [[ " ${commands[*]} " != *" python3 "* ]] || need_python
    [[ " ${commands[*]} " != *" npm "* ]] || need_node
}

main() {
    local steps=("$@") times=() started
    [[ $# -gt 0 ]] || steps=("${all_steps[@]}")
    for step in "${steps[@]}"; do
        [[ " ${all_steps[*]} " == *" $step "* ]] || fail "no step \`$step\`; there are: ${all_steps[*]}"
    done
    prepare "${steps[@]}"
    trap 'status=$?; [[ $status == 0 ]] || echo "ci/test.sh: the step \`$step\` failed" >&2' EXIT
    for step in "${steps[@]}"; do
        printf '\n=== %s\n' "$step"
        started=$SECONDS
        "$step"
        times+=("$step $((SECONDS - started)) s")
    done
    printf '\nci/test.sh: all is well ('
    printf '%s, ' "${times[@]}"
    printf '%s s in all)\n' "$SECONDS"
}

main "$@"
