#!/usr/bin/env bash
# Set everything up: system packages, environment, workspace. Running it again does only what has changed.
#   PYTHON=/path/to/python3.12 tools/setup.sh      to choose the interpreter
set -euo pipefail
root=$(cd "$(dirname "$0")/.." && pwd)
cd "$root"
mkdir -p .setup
started=$SECONDS

say() { printf '\033[1m==> %s\033[0m\n' "$*"; }
die() {
    echo "set-up: $*" >&2
    exit 1
}
count_packages() {
    awk -v all="$(grep -c == "$lock")" '/^(Collecting|Requirement already)/ && ++n % 20 == 0 { print "    " n " of " all " packages"; fflush() }
        /^Installing/ { print "    installing"; fflush() }'
}
current() { [ "$(cat ".setup/$1" 2>/dev/null)" = "$2" ]; }
stamp() { printf '%s' "$2" >".setup/$1"; }

# A sourced ROS 2 with its own command line is used; everywhere else the wheels and the stand-in take its place.
full_ros=
if [ "${ROS_DISTRO:-}" = jazzy ] && [ -x "/opt/ros/jazzy/bin/ros2" ]; then
    full_ros=yes
elif [ -n "${ROS_DISTRO:-}" ] && [ "${ROS_DISTRO}" != jazzy ]; then
    die "ROS 2 $ROS_DISTRO is sourced; Kinema runs on jazzy. Use a shell without it."
fi

python=$(tools/pick_python.sh ${full_ros:+/usr/bin/python3}) # apt's rclpy is built for the system's
tools/system_packages.sh "$python"

lock=requirements/bare.txt
[ -z "$full_ros" ] || lock=requirements/full_ros.txt
environment=$(cat "$lock" pyproject.toml tools/setup.sh tools/fix_wheels.py tools/ros2_standin/pyproject.toml | sha256sum)" $root $python ${full_ros:-bare}"
if ! current environment "$environment"; then
    say "Python environment in .venv ($("$python" --version), $lock)"
    if ! current venv "$root $python ${full_ros:-bare}"; then
        "$python" -m venv --clear ${full_ros:+--system-site-packages} .venv
        stamp venv "$root $python ${full_ros:-bare}"
    fi
    .venv/bin/python -m pip install --no-deps --progress-bar off -r "$lock" | count_packages
    .venv/bin/python -m pip install -q -c "$lock" torch # the libraries that a CUDA build pins itself; a CPU build has none
    .venv/bin/python -m pip install --no-deps --no-build-isolation -q -e .
    if [ -z "$full_ros" ]; then
        .venv/bin/python -m pip install --no-deps --no-build-isolation -q -e tools/ros2_standin
        .venv/bin/python tools/fix_wheels.py
    fi
    stamp environment "$environment"
fi

# With links into the checkout, a Python file that changes needs no build; everything else that colcon installs does.
sources=$(find -L ros2_ws/src tools/tf2_msgs -type f \( ! -name '*.py' -o -name 'setup.py' -o -name '*.launch.py' \) \
    ! -path '*/__pycache__/*' ! -path '*.egg-info/*' -printf '%p %T@\n' | sort | sha256sum)" $environment"
if ! current workspace "$sources"; then
    if ! current built_at "$environment"; then
        rm -rf ros2_ws/build ros2_ws/install ros2_ws/log
    fi
    say "ROS 2 workspace in ros2_ws"
    tools/build_workspace.sh
    stamp built_at "$environment"
    stamp workspace "$sources"
fi

bash -c '. tools/env.sh && exec python tools/check_messages.py'
say "set up in $((SECONDS - started)) s"
