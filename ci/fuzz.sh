#!/usr/bin/env bash
# Runs the fuzz targets under libFuzzer; see fuzz/README.md. What it needs: Rust (stable will do) and a C++ compiler.
#
#   ci/fuzz.sh [--keep] [--seconds N] [--asan] [TARGET...]
#
#   --seconds N   how long for each target; 60 without it
#   --keep        put what reaches something new into fuzz/corpus, as little as does so
#   --asan        with AddressSanitizer, for the dependencies that use `unsafe`: slower
#
# It begins with fuzz/corpus, the targets' seeds, and what earlier runs found (fuzz/target/work).
# Exit code: 0 nothing was found, 1 something was, 2 it could not run.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../fuzz"
exec </dev/null

seconds=60
keep=
asan=
targets=()

main() {
    options "$@"
    readarray -t all < <(sed -n 's/^path = "fuzz_targets\/\(.*\)\.rs"$/\1/p' Cargo.toml)
    [[ ${#targets[@]} -gt 0 ]] || targets=("${all[@]}")
    local target found=0 summary=()
    for target in "${targets[@]}"; do
        [[ " ${all[*]} " == *" $target "* ]] || cannot "there is no target \`$target\`; there are: ${all[*]}"
    done
    build
    for target in "${targets[@]}"; do
        if ! fuzz "$target"; then
            found=1
        fi
        summary+=("$line")
        [[ -z $keep ]] || keep_new "$target"
    done
    printf '\n%-18s %12s %10s %10s  %s\n' target inputs "inputs/s" coverage result
    printf '%s\n' "${summary[@]}"
    if [[ $found == 1 ]]; then
        echo "ci/fuzz.sh: something was found; fuzz/README.md tells how to go on with it" >&2
    fi
    exit "$found"
}

options() {
    while [[ $# -gt 0 ]]; do
        case $1 in
            --keep) keep=yes ;;
            --asan) asan=yes ;;
            --seconds)
                [[ ${2:-} =~ ^[1-9][0-9]*$ ]] || cannot "--seconds wants a number of seconds, at least 1"
                seconds=$2
                shift
                ;;
            -*) cannot "no option \`$1\`; there are: --keep, --asan, --seconds N" ;;
            *) targets+=("$1") ;;
        esac
        shift
    done
}

# cargo-fuzz is not needed for it, nor a nightly compiler: see fuzz/instrument.sh.
build() {
    command -v "${CXX:-c++}" >/dev/null || cannot "no C++ compiler, and libFuzzer is C++: on Debian, apt-get install g++"
    host=$(rustc -vV | sed -n 's/^host: //p')
    local flags=""
    target_dir=$PWD/target
    if [[ -n $asan ]]; then
        target_dir+=/asan
        flags="-Zsanitizer=address"
        # The option is an unstable one; a compiler that comes with the runtime can do it all the same.
        [[ -n $(find "$(rustc --print sysroot)/lib/rustlib/$host/lib" -name 'librustc-*_rt.asan.*') ]] ||
            cannot "this Rust comes without AddressSanitizer: leave --asan out, or take the toolchain \`nightly\`"
        export RUSTC_BOOTSTRAP=1
    fi
    # With --target, the flags are not for build scripts.
    RUSTC_WRAPPER=$PWD/instrument.sh CARGO_TARGET_DIR=$target_dir RUSTFLAGS=$flags cargo build --locked --profile fuzz --features libfuzzer \
        --bins --target "$host" || cannot "the targets don't build"
    (unset RUSTC_BOOTSTRAP && CARGO_TARGET_DIR=$PWD/target cargo build --quiet --locked --example write_seeds) ||
        cannot "the seeds' program does not build"
    programs=$target_dir/$host/fuzz
}

# Sets `line`; fails if something was found.
fuzz() {
    local target=$1 status=0 result=nothing
    work=target/work/$target seeds=target/seeds/$target found_dir=target/found/$target log=target/found/$target.log
    mkdir -p "$work" "$seeds" "$found_dir" "corpus/$target"
    target/debug/examples/write_seeds "$target" "$seeds"
    echo "fuzzing $target for $seconds s"
    # An allocation that is too large is a finding, and so is a single input that takes seconds.
    "$programs/$target" "$work" "$seeds" "corpus/$target" -max_total_time="$seconds" -max_len=4096 -timeout=10 \
        -rss_limit_mb=1024 -malloc_limit_mb=512 -print_final_stats=1 -artifact_prefix="$found_dir/" >"$log" 2>&1 || status=$?
    if [[ $status != 0 ]]; then
        result="FOUND: $(sed -n 's/.*Test unit written to /fuzz\//p' "$log" | tail -1)"
        [[ $result != "FOUND: " ]] || result="FAILED with exit code $status: fuzz/$log"
        sed -n '/panicked at/,/^stack backtrace\|^note:/p; /^SUMMARY/p' "$log" | head -20
    fi
    line=$(awk -v target="$target" -v result="$result" '
        /^#[0-9]/ { for (i = 1; i < NF; i++) if ($i == "cov:") coverage = $(i + 1) }
        /number_of_executed_units/ { inputs = $2 }
        /average_exec_per_sec/ { rate = $2 }
        END { printf "%-18s %12s %10s %10s  %s", target, inputs, rate, coverage, result }' "$log")
    [[ $status == 0 ]]
}

# As few files as reach each place of the code that is reached, whatever the counts: a corpus for tests is small.
keep_new() {
    local target=$1 before after
    before=$(find "corpus/$target" -type f | wc -l)
    "$programs/$target" -set_cover_merge=1 -use_counters=0 -use_cmp=0 -max_len=4096 "corpus/$target" "target/work/$target" >"target/found/$target.merge.log" 2>&1 ||
        cannot "the corpus of $target can't be merged: fuzz/target/found/$target.merge.log"
    after=$(find "corpus/$target" -type f | wc -l)
    echo "fuzz/corpus/$target: $((after - before)) inputs are new, $after in all"
}

cannot() {
    echo "ci/fuzz.sh: $1" >&2
    exit 2
}

main "$@"
