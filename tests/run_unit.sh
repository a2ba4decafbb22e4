#!/bin/bash
# Runs unit test programs, one line each, and what a failing one printed. Ends with the plain line "N passed, N failed".
# Usage: run_unit.sh PROGRAM...
set -uo pipefail

limit_s=${UNIT_LIMIT_S:-300}
passed=0
failed=0
broken=0
for program in "$@"; do
    output=$(timeout "$limit_s" "$program" 2>&1)
    status=$?
    ok=$(grep -c '^\[       OK \]' <<< "$output")
    # cmocka names what failed or was skipped twice: when it happens, and in its summary.
    bad=$(grep '^\[  FAILED  \] [a-z_0-9]*$' <<< "$output" | sort -u | wc -l)
    skipped=$(grep '^\[  SKIPPED \] [a-z_0-9]*$' <<< "$output" | sort -u | wc -l)
    name=${program#*/tests/unit/}
    note=""
    if [ "$skipped" -gt 0 ]; then note=", $skipped skipped"; fi
    if [ $status -ne 0 ]; then
        if [ "$bad" -eq 0 ]; then bad=1; fi
        broken=$((broken + 1))
        printf '  FAILED  %s (status %d)\n' "$name" "$status"
        sed 's/^/    /' <<< "$output" | tail -n 60
    else
        bad=0
        printf '  ok      %-36s %3d tests%s\n' "$name" "$ok" "$note"
    fi
    passed=$((passed + ok))
    failed=$((failed + bad))
done
echo
echo "$passed passed, $failed failed"
[ $broken -eq 0 ]
