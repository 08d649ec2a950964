#!/usr/bin/env bash
# Checks that need tools which are not everywhere. What a tool is missing for is not run, and the end says so: what it was, and
# how to get the tool. The exit code is 0 if all that could be run passed.
#
#   ci/extra.sh [CHECK...]    CHECK: wasm msrv miri semver; all of them without any
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
exec </dev/null

source ci/tools.sh

readonly all_checks=(wasm msrv miri semver)
not_run=()

# The core runs where there are no sockets, threads or clocks.
wasm() {
    if [[ ! -d $(rustc --print sysroot)/lib/rustlib/wasm32-unknown-unknown ]]; then
        missing "openline-proto was not built for wasm32" "rustup target add wasm32-unknown-unknown"
        return
    fi
    cargo build --locked --package openline-proto --all-features --target wasm32-unknown-unknown
}

# The oldest Rust that Cargo.toml promises.
msrv() {
    local oldest
    oldest=$(sed -n 's/^rust-version = "\(.*\)"$/\1/p' Cargo.toml)
    if ! cargo "+$oldest" --version >/dev/null 2>&1; then
        missing "Rust $oldest, the oldest promised, was not tried" "rustup toolchain install $oldest --profile minimal"
        return
    fi
    cargo "+$oldest" check "${everything[@]}" --lib --bins --target-dir "$target/msrv"
}

# The project has no unsafe code; what the core stands on has some (masks and UTF-8 by vectors, zlib).
miri() {
    if ! cargo +nightly miri --version >/dev/null 2>&1; then
        missing "openline-proto's tests were not run under Miri" \
            "rustup toolchain install nightly --profile minimal --component miri"
        return
    fi
    # Property tests look at files, and each case takes a thousand times its usual time.
    MIRIFLAGS=${MIRIFLAGS:--Zmiri-disable-isolation} PROPTEST_CASES=${PROPTEST_CASES:-4} \
        cargo +nightly miri test --locked --package openline-proto --lib --target-dir "$target/miri"
}

# Whether the next release may be called compatible with the last one.
semver() {
    local last
    last=$(git describe --tags --match 'v[0-9]*' --abbrev=0 2>/dev/null || true)
    if ! cargo semver-checks --version >/dev/null 2>&1; then
        missing "the API was not compared with the last release's" "cargo install --locked cargo-semver-checks"
    elif [[ -z $last ]]; then
        missing "the API was not compared with the last release's: no release has a tag yet" "git tag v0.1.0, when it is released"
    else
        cargo semver-checks --baseline-rev "$last" --package openline-proto --package openline --package openline-server \
            --all-features
    fi
}

missing() {
    echo "not run: $1"
    not_run+=("$1; to get it: $2")
}

main() {
    local checks=("$@") check failed=() passed=() before
    [[ $# -gt 0 ]] || checks=("${all_checks[@]}")
    for check in "${checks[@]}"; do
        [[ " ${all_checks[*]} " == *" $check "* ]] || fail "no check \`$check\`; there are: ${all_checks[*]}"
    done
    for check in "${checks[@]}"; do
        printf '\n=== %s\n' "$check"
        before=${#not_run[@]}
        # In a condition a function goes on after a command that failed, so each check ends with the one that counts.
        if ! "$check"; then
            failed+=("$check")
        elif [[ ${#not_run[@]} == "$before" ]]; then
            passed+=("$check")
        fi
    done
    printf '\nci/extra.sh: passed: %s\n' "${passed[*]:-none}"
    [[ ${#not_run[@]} == 0 ]] || printf 'not run: %s\n' "${not_run[@]}"
    [[ ${#failed[@]} == 0 ]] || fail "failed: ${failed[*]}"
}

main "$@"
