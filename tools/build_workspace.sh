#!/usr/bin/env bash
# Build ros2_ws with the environment's colcon: interfaces first, then the nodes, installed as links into the checkout.
# Arguments go to colcon, for example: tools/build_workspace.sh --packages-select kinema_interfaces
set -euo pipefail
root=$(cd "$(dirname "$0")/.." && pwd)
set +u
. "$root/tools/env.sh"
set -u
cd "$root/ros2_ws"

paths=(src)
python -c 'from ament_index_python import get_package_prefix as p; import sys; sys.exit(sys.argv[1] in p("tf2_msgs"))' \
    "$root" 2>/dev/null || paths+=("$root/tools/tf2_msgs")

exec python -m colcon --log-base log build --base-paths "${paths[@]}" --symlink-install \
    --event-handlers console_direct- console_cohesion- "$@" --cmake-args -GNinja -DBUILD_TESTING=OFF
