"""What check_chunk refuses, and where a chunk's targets lie."""

import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, strategies as st

from kinema.chunk import ActionChunk, check_chunk
from kinema.errors import ChunkError
from kinema.geometry import Pose, so3_exp


def chunk(n: int = 8) -> ActionChunk:
    T_rel = np.tile(np.eye(4), (n, 1, 1))
    T_rel[:, 0, 3] = 0.01 * np.arange(1, n + 1)
    anchor = Pose.from_rotvec([0.4, 0.1, 0.3], [math.pi, 0.0, 0.0])
    return ActionChunk(3, "test", 10**9, anchor, 0.08, 1 / 30, 0.1, T_rel, np.zeros(n), np.ones(n), n - 2)


def test_a_good_chunk_passes() -> None:
    check_chunk(chunk())
    check_chunk(replace(chunk(), width_change=None, force=None))


@given(
    st.sampled_from(["T_rel", "width_change", "force"]),
    st.integers(0, 7),
    st.sampled_from([math.nan, math.inf, -math.inf]),
)
def test_f01_any_number_that_is_not_finite_is_refused(name: str, step: int, value: float) -> None:
    bad = chunk()
    array = getattr(bad, name).copy()
    array[(step,) if array.ndim == 1 else (step, 1, 3)] = value
    with pytest.raises(ChunkError, match=rf"chunk 3 of test: {name}\[{step}\] is not finite"):
        check_chunk(replace(bad, **{name: array}))


@pytest.mark.parametrize("field", ["width_t0", "dt", "offset"])
def test_f01_scalars_and_anchor_must_be_finite(field: str) -> None:
    with pytest.raises(ChunkError, match="not finite"):
        check_chunk(replace(chunk(), **{field: math.nan}))
    with pytest.raises(ChunkError, match="not finite"):
        check_chunk(replace(chunk(), T_base_tcp_t0=Pose(np.full(3, math.inf), np.eye(3))))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"T_rel": np.zeros((8, 3, 4))}, r"T_rel has shape \(8, 3, 4\)"),
        ({"T_rel": np.zeros((0, 4, 4)), "width_change": None, "force": None}, "n >= 1"),
        ({"width_change": np.zeros(7)}, r"width_change has shape \(7,\), T_rel has 8 steps"),
        ({"force": np.zeros((8, 1))}, r"force has shape \(8, 1\), T_rel has 8 steps"),
        ({"executable": 0}, r"executable is 0, allowed is 1..8"),
        ({"executable": 9}, r"executable is 9, allowed is 1..8"),
        ({"dt": 0.0}, "dt is 0.0 s"),
        ({"T_rel": np.tile(np.diag([1.0, 1.0, 1.1, 1.0]), (8, 1, 1))}, "orthonormal"),
        ({"T_rel": np.tile(np.diag([1.0, 1.0, -1.0, 1.0]), (8, 1, 1))}, "orthonormal"),
    ],
)
def test_f02_parts_that_disagree_are_refused_by_name(changes: dict[str, object], message: str) -> None:
    with pytest.raises(ChunkError, match=message):
        check_chunk(replace(chunk(), **changes))


def test_targets_are_relative_to_the_anchor() -> None:
    T_rel = np.tile(np.eye(4), (2, 1, 1))
    T_rel[1, :3, :3] = so3_exp(np.array([0.0, 0.0, 0.3]))
    T_rel[1, :3, 3] = [0.02, 0.0, 0.1]
    turned = replace(chunk(2), T_rel=T_rel, executable=2)
    np.testing.assert_allclose(turned.target(0).matrix, turned.T_base_tcp_t0.matrix)
    np.testing.assert_allclose(turned.target(1).position, [0.42, 0.1, 0.2], atol=1e-12)  # the anchor looks down


def test_steps_are_due_at_offset_and_dt() -> None:
    one = chunk()
    assert one.due_ns(0) == 10**9 + 100_000_000
    assert one.due_ns(3) - one.due_ns(0) == 100_000_000
