#!/bin/bash
# Runs every fuzz target for its share of the time, from its seeds in the tree. A crash is kept and its replay command printed.
# Usage: run_fuzz.sh BUILD SECONDS
set -uo pipefail

build=$1
seconds=$2
mapfile -t targets < <(find tests/fuzz -name 'fuzz_*.c' | sort)
share=$((seconds / ${#targets[@]}))
if [ $share -lt 1 ]; then share=1; fi
export UBSAN_OPTIONS=print_stacktrace=1
failed=0
for source in "${targets[@]}"; do
    name=$(basename "$source" .c)
    folder=$(dirname "$source")
    program=$build/${source%.c}
    found=$build/found/$name
    mkdir -p "$found" "$build/corpus/$name"
    seeds=()
    if [ -d "$folder/corpus/$name" ]; then seeds=("$folder/corpus/$name"); fi
    if output=$("$program" -max_total_time="$share" -timeout=20 -rss_limit_mb=2048 -max_len=65536 -artifact_prefix="$found/" \
        "$build/corpus/$name" "${seeds[@]}" 2>&1); then
        runs=$(grep -o '^Done [0-9]* runs' <<< "$output" | grep -o '[0-9]*' || echo "?")
        printf '  ok      %-32s %10s inputs in %ss\n' "$name" "$runs" "$share"
    else
        failed=$((failed + 1))
        printf '  FAILED  %s\n' "$name"
        tail -n 40 <<< "$output" | sed 's/^/    /'
        echo "    replay: $program $found/<file named above>"
    fi
done
echo
echo "$((${#targets[@]} - failed)) passed, $failed failed"
[ $failed -eq 0 ]
