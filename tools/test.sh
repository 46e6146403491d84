#!/usr/bin/env bash
# Run the tests: first what only computes, on all cores, then what runs against the clock, one test at a time.
#   tools/test.sh 'not slow and not hardware'        which ones, as pytest's -m takes it
set -uo pipefail
cd "$(dirname "$0")/.."

against_the_clock=(tests/apps/test_vendor_cells.py tests/devices tests/monitor tests/recorder tests/ros)
cores=$(env -u OMP_NUM_THREADS nproc)
failed=0
pytest -m "$1" -n "$cores" --maxprocesses 4 --dist loadfile --no-loadscope-reorder "${against_the_clock[@]/#/--ignore=}" || failed=1
pytest -m "$1" "${against_the_clock[@]}" || failed=1
exit $failed
