#!/usr/bin/env bash
# Runs every test of the project, on a machine that has Rust, Python 3 and Node; the first failure ends it.
#
#   ci/test.sh              all steps
#   ci/test.sh STEP...      some of them: format lint purity tests fuzz docs dependencies interop browser autobahn
#
# What it needs of other languages it installs under the target directory and in node_modules, by lock files, from
# PyPI, npm and crates.io; as root on Debian also curl and Chromium. A part that can't run is a failure.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
exec </dev/null

readonly all_steps=(format lint purity tests fuzz docs dependencies interop browser autobahn)
readonly cargo_deny_version=0.20.2

target=${CARGO_TARGET_DIR:-target}
mkdir -p "$target/tools"
target=$(cd "$target" && pwd)
readonly target tools=$target/tools

# The same features everywhere, so that nothing is built twice.
readonly everything=(--workspace --all-features --locked)

export CARGO_TARGET_DIR=$target
export CARGO_TERM_COLOR=${CARGO_TERM_COLOR:-never}
export PYTHONDONTWRITEBYTECODE=1
export PIP_DISABLE_PIP_VERSION_CHECK=1

format() {
    cargo fmt --all --check
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

interop() {
    need_command curl curl
    build_programs
    python_env interop conformance/interop/python/requirements.txt
    (cd conformance/interop/python && "$tools/interop/bin/python" -m pytest --quiet)
    node_tests conformance/interop/node
}

browser() {
    need_command chromium chromium
    CHROMIUM_BIN=$(command -v chromium)
    export CHROMIUM_BIN
    build_programs
    node_tests conformance/browser
}

# Which cases: AUTOBAHN_SET=core|nocomp|deflate|quick|full; see conformance/README.md.
autobahn() {
    local role set program=()
    need_python
    build_programs
    for set in ${AUTOBAHN_SET:-nocomp deflate}; do
        for role in server client; do
            program=("$OPENLINE_ECHO" --deflate)
            [[ $role == server ]] || program=("$target/debug/examples/autobahn_client")
            python3 conformance/autobahn/run.py "$role" --set "$set" --env "$tools/autobahn" -- "${program[@]}"
        done
    done
}

# The examples are built along with the command: with those of `tests`, their features are then the same, and so is
# what `tests` has built already.
build_programs() {
    cargo build "${everything[@]}" --bins --examples
    export OPENLINE_BIN=$target/debug/openline
    export OPENLINE_ECHO=$target/debug/examples/echo
    export OPENLINE_CLIENT=$target/debug/examples/client_interop
}

python_env() {
    local env=$tools/$1 requirements=$2
    need_python
    if ! cmp --silent "$requirements" "$env/installed"; then
        rm -rf "$env"
        python3 -m venv "$env"
        "$env/bin/python" -m pip install --quiet --require-hashes --requirement "$requirements"
        cp "$requirements" "$env/installed"
    fi
}

need_python() {
    command -v python3 >/dev/null || fail "python3 is missing: install Python 3.10 or newer, with its venv module"
    python3 -c 'import sys; sys.exit(sys.version_info < (3, 10))' || fail "python3 is $(python3 --version), not 3.10 or newer"
    python3 -c 'import ensurepip' 2>/dev/null || install_package python3-venv
}

node_tests() {
    command -v npm >/dev/null || fail "npm is missing: install Node.js 20.18.1 or newer, with npm"
    (cd "$1" && npm ci --no-audit --no-fund --loglevel=error && npm test)
}

need_command() {
    command -v "$1" >/dev/null || install_package "$2"
    command -v "$1" >/dev/null || fail "$1 is missing, though the package $2 is installed"
}

install_package() {
    if [[ $(id -u) != 0 ]] || ! command -v apt-get >/dev/null; then
        fail "$1 is missing: install it (on Debian: sudo apt-get install $1), or run this as root on Debian"
    fi
    echo "installing the Debian package $1"
    if [[ -z ${apt_updated:-} ]]; then
        apt-get update --quiet=2
        apt_updated=yes
    fi
    DEBIAN_FRONTEND=noninteractive apt-get install --quiet=2 --yes --no-install-recommends "$1" >"$tools/apt.log" 2>&1 ||
        { cat "$tools/apt.log"; fail "the Debian package $1 could not be installed"; }
}

fail() {
    echo "error: $1" >&2
    exit 1
}

main() {
    local steps=("$@") times=() started
    [[ $# -gt 0 ]] || steps=("${all_steps[@]}")
    for step in "${steps[@]}"; do
        [[ " ${all_steps[*]} " == *" $step "* ]] || fail "no step \`$step\`; there are: ${all_steps[*]}"
    done
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
