# Source me: puts the environment, the built workspace and the settings that every Kinema process needs into this shell.
#   . tools/env.sh
# Whatever is already set in the shell wins, except the paths.

_kinema_root=$(cd "$(dirname "${BASH_SOURCE[0]:-$0}")/.." && pwd)
if [ ! -f "$_kinema_root/.venv/bin/activate" ]; then
    echo "no environment in $_kinema_root/.venv; run: make setup" >&2
    return 1
fi

. "$_kinema_root/.venv/bin/activate"
export KINEMA_ROOT=$_kinema_root

if ! [ -x "/opt/ros/${ROS_DISTRO:-none}/bin/ros2" ]; then # the ROS wheels: the environment itself is the ament prefix
    export ROS_DISTRO=jazzy ROS_VERSION=2 ROS_PYTHON_VERSION=3
    export AMENT_PREFIX_PATH=$VIRTUAL_ENV CMAKE_PREFIX_PATH=$VIRTUAL_ENV
fi
if [ -f "$_kinema_root/ros2_ws/install/local_setup.bash" ]; then
    . "$_kinema_root/ros2_ws/install/local_setup.bash"
fi

# The graph stays on this machine; a cell that spans machines sets these three on purpose.
export FASTRTPS_DEFAULT_PROFILES_FILE=${FASTRTPS_DEFAULT_PROFILES_FILE:-$_kinema_root/tools/fastdds.xml}
export ROS_AUTOMATIC_DISCOVERY_RANGE=${ROS_AUTOMATIC_DISCOVERY_RANGE:-LOCALHOST}
export ROS_DOMAIN_ID=${ROS_DOMAIN_ID:-0}
export RMW_IMPLEMENTATION=${RMW_IMPLEMENTATION:-rmw_fastrtps_cpp}

export MUJOCO_GL=${MUJOCO_GL:-egl}
export OMP_NUM_THREADS=${OMP_NUM_THREADS:-1} OPENBLAS_NUM_THREADS=${OPENBLAS_NUM_THREADS:-1}
export PYTHONUNBUFFERED=1 # a child's lines appear when they are written

unset _kinema_root
