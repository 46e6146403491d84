#!/usr/bin/env bash
# Resolve the dependencies anew and write both locks; commit what changes after `make test-all` has passed on it.
#   requirements/lock.sh [PYTHON]      PYTHON: python3.11, the older of the two supported ones, unless given
# Versions are public ones: which build of torch they stand for, CPU or CUDA, is the index's choice.
# bare.txt: a machine without ROS. full_ros.txt: beside ROS 2 Jazzy from apt, which brings its own Python packages.
set -euo pipefail
cd "$(dirname "$0")/.."
python=${1:-python3.11}
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
"$python" -m venv "$scratch/venv"
"$python" - >"$scratch/project.txt" <<'END'
import tomllib
project = tomllib.load(open("pyproject.toml", "rb"))["project"]
print(*project["dependencies"], *project["optional-dependencies"]["dev"], sep="\n")
END

lock() { # file, requirements...
    local file=$1
    shift
    "$scratch/venv/bin/python" -m pip install --progress-bar off --dry-run --ignore-installed \
        --report "$scratch/report.json" 'setuptools<80' wheel -r "$scratch/project.txt" "$@"
    "$python" - "$scratch/report.json" >"requirements/$file" <<'END'
import json, platform, sys
rows = (row["metadata"] for row in json.load(open(sys.argv[1]))["install"])
pins = sorted(f"{row['name']}=={row['version'].partition('+')[0]}" for row in rows if row["name"] != "kinema")
print(f"# Written by requirements/lock.sh with Python {platform.python_version()}; installed with --no-deps.", *pins, sep="\n")
END
}

lock bare.txt -r requirements/ros_wheels.txt
lock full_ros.txt
