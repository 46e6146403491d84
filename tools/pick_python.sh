#!/usr/bin/env bash
# Print the interpreter to make the environment with, the same one from inside of that environment as from outside.
#   tools/pick_python.sh [PYTHON]      PYTHON: the only candidate; else $PYTHON, python3.11, python3.12, python3
set -euo pipefail
candidates=("${PYTHON:-}" python3.11 python3.12 python3)
[ $# -eq 0 ] || candidates=("$1")
for python in "${candidates[@]}"; do
    [ -n "$python" ] && "$python" -c 'import sys; sys.exit(sys.version_info[:2] not in [(3, 11), (3, 12)])' 2>/dev/null || continue
    exec "$python" -c 'import sys; print("{}/bin/python{}.{}".format(sys.base_prefix, *sys.version_info))'
done
echo "set-up: needs Python 3.11 or 3.12; found: $(python3 --version 2>&1). Install one, or name it: PYTHON=/path/to/python3.12 make setup" >&2
exit 1
