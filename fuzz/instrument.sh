#!/bin/sh
# Cargo's RUSTC_WRAPPER in ci/fuzz.sh: has the compiler watch what is fuzzed, and nothing else. The fuzzer would be slow if it
# saw every step of the harness, and would keep an input for each header name that the crate http knows.
case " $* " in
    *" --crate-name openline_proto "* | *" --crate-name httparse "* | *" --crate-name zlib_rs "* | *" --crate-name tungstenite "*)
        exec "$@" -Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=4 \
            -Cllvm-args=-sanitizer-coverage-inline-8bit-counters -Cllvm-args=-sanitizer-coverage-pc-table \
            -Cllvm-args=-sanitizer-coverage-trace-compares
        ;;
    *) exec "$@" ;;
esac
