"""The virtual cell."""

import os

os.environ.setdefault("MUJOCO_GL", "egl")  # MuJoCo reads it at import; a cell renders without a screen
