"""What was planned for a tracked tool, played by the executor in the virtual cell: piece by piece, as planned."""

import math

import numpy as np
import pytest
import trimesh

from kinema.control.messages import Mode, PlayChunk, StartPolicy, State
from kinema.geometry import Pose, distance
from kinema.perception.tool_mesh import assemble
from kinema.policies.dreamitate.plan import ArmTask, plan
from kinema.robots import GRIPPER


@pytest.mark.slow
def test_the_arm_leads_the_tool_along_its_path(rig):
    cell = rig()
    cell.enable()
    mount = GRIPPER.T_flange_tcp
    tool = assemble({"block": trimesh.creation.box([0.02, 0.05, 0.03])}, "m", T_flange_tool=mount)
    down = np.diag([1.0, -1.0, -1.0])
    poses = [
        Pose(np.array([0.45 + 0.01 * i, -0.08 + 0.015 * i, 0.10 - 0.004 * i]), down)
        @ Pose.from_rotvec([0.0, 0.0, 0.0], [0.0, 0.0, 0.03 * i])
        for i in range(12)
    ]
    arm, state = cell.world.arm, cell.world.arm_state()
    found = plan({"": ArmTask([None, *poses], tool, arm, cell.last.T_base_tcp, state.q)})[""]

    cell.tick(StartPolicy(Mode.STOP_AND_GO, 1.0, chunks=len(found.pieces), uses_force=False))
    furthest = 0.0
    for number, piece in enumerate(found.pieces):
        while cell.last.request is None:
            cell.tick()
            assert cell.last.state in (State.EXECUTING, State.HOLDING), cell.said()
        chunk = found.chunk(number, number + 1, cell.t_ns, cell.last.T_base_tcp, cell.world.jaw_state().width)
        cell.tick(PlayChunk(chunk, cell.last.request.id))
        assert cell.said("chunk_accepted")[number:], cell.said()
        for _ in range(round((len(piece) * found.dt + 0.5) * 500)):
            cell.tick()
            away = np.linalg.norm(piece[:, :3, 3] - cell.pose().position, axis=1).min()
            furthest = max(furthest, float(away))
        moved, turned = distance(cell.pose(), Pose.from_matrix(piece[-1]))
        assert moved < 0.004 and turned < math.radians(1.5)
    assert furthest < 0.012  # off the nearest planned pose: half a step, and what the arm lags
    assert not cell.said("clamped") and not cell.said("error")
