"""Tools: two formats and two units give one mesh; what is no tool is refused with what is allowed; symmetry."""

import math

import numpy as np
import pytest
import trimesh
from hypothesis import given, settings, strategies as st
from scipy.spatial.transform import Rotation

from kinema.errors import ConfigError
from kinema.perception.tool_mesh import Symmetry, assemble, load_tool

TOOL = """
unit: {unit}
parts: {{handle: handle.{suffix}, head: head.{suffix}}}
tracked: [head]
symmetry: {{axis: [0.0, 0.0, 2.0], fold: {fold}}}
mount: {{position: [0.0, 0.0, 0.05], quaternion: [0.0, 0.0, 0.0, 1.0]}}
"""


def bodies(scale: float = 1.0) -> dict[str, trimesh.Trimesh]:
    handle = trimesh.creation.cylinder(radius=0.01 * scale, height=0.12 * scale, sections=12)
    handle.apply_translation([0.0, 0.0, 0.08 * scale])
    return {"handle": handle, "head": trimesh.creation.box([0.10 * scale, 0.02 * scale, 0.04 * scale])}


def write(folder, unit="m", suffix="stl", scale=1.0, fold=2, text=TOOL):
    for name, body in bodies(scale).items():
        body.export(folder / f"{name}.{suffix}")
    (folder / "tool.yaml").write_text(text.format(unit=unit, suffix=suffix, fold=fold))
    return folder / "tool.yaml"


@pytest.mark.parametrize(("unit", "suffix", "scale"), [("m", "stl", 1.0), ("mm", "obj", 1000.0)])
def test_a_tool_is_read_in_metres_with_its_parts(tmp_path, unit, suffix, scale):
    tool = load_tool(write(tmp_path, unit, suffix, scale))
    assert tool.parts == ("handle", "head") and tool.tracked == ("head",)
    assert np.ptp(tool.vertices, axis=0) == pytest.approx([0.10, 0.02, 0.16], abs=1e-6)
    assert tool.centre == pytest.approx([0.0, 0.0, 0.0], abs=1e-9)
    assert tool.radius == pytest.approx(math.hypot(0.05, 0.01, 0.02))
    assert tool.tracking("handle").centre == pytest.approx([0.0, 0.0, 0.08])
    assert tool.seen.sum() == 12 and len(tool.seen) == len(tool.triangles)
    assert tool.symmetry.fold == 2 and tool.T_flange_tool.position == pytest.approx([0.0, 0.0, 0.05])


@pytest.mark.parametrize(
    ("unit", "scale", "says"),
    [
        ("m", 125.0, "longest side is 20 m with unit: m, allowed are 0.02 to 1.0 m; in mm"),
        ("mm", 1.25, "longest side is 0.0002 m with unit: mm, allowed are 0.02 to 1.0 m; in m it would be 0.2 m"),
        ("m", 1000.0, "allowed are 0.02 to 1.0 m; in mm it would be 0.16 m: say unit: mm"),
    ],
)
def test_f22_a_tool_in_the_wrong_unit_is_refused_with_what_is_allowed(tmp_path, unit, scale, says):
    with pytest.raises(ConfigError, match=says):
        load_tool(write(tmp_path, unit, scale=scale))


def test_f22_a_mesh_with_a_hole_is_refused_with_the_remedy(tmp_path):
    path = write(tmp_path)
    head = bodies()["head"]
    trimesh.Trimesh(head.vertices, head.faces[1:]).export(tmp_path / "head.stl")
    with pytest.raises(ConfigError, match=r"tool\.yaml: part 'head' is not watertight: 3 edges have a hole"):
        load_tool(path)


def test_f22_triangles_that_face_both_ways_are_refused():
    head = bodies()["head"]
    faces = np.array(head.faces)
    faces[0] = faces[0, ::-1]
    with pytest.raises(ConfigError, match="face inwards beside others"):
        assemble({"head": trimesh.Trimesh(head.vertices, faces, process=False)}, "m")


@pytest.mark.parametrize(
    ("file", "content", "says"),
    [
        ("head.stl", b"\x00" * 84, "part 'head' holds no triangles"),
        ("head.stl", None, "head.stl: there is no such file"),
        ("tool.yaml", b"unit: m\nparts: {head: head.step}", "head.step: is no mesh that is read here; allowed: .obj"),
        ("tool.yaml", b"unit: inch\nparts: {head: head.stl}", "'unit' is inch"),
        ("tool.yaml", b"unit: m\nparts: {head: head.stl}\ntracked: [rim]", r"rim can't be tracked; allowed: \['head"),
        ("tool.yaml", b"unit: m\nparts: {head: head.stl}\ncolour: red", "key 'colour' is unknown; allowed here: unit"),
        ("tool.yaml", b"unit: m\nparts: {}", "parts"),
    ],
)  # fmt: skip
def test_f22_a_tool_s_file_that_is_wrong_is_refused_by_name(tmp_path, file, content, says):
    path = write(tmp_path)
    if content is None:
        (tmp_path / file).unlink()
    else:
        (tmp_path / file).write_bytes(content)
    with pytest.raises(ConfigError, match=says):
        load_tool(path)


def test_f22_a_symmetry_that_the_tool_has_not_is_refused():
    beside = trimesh.creation.box([0.1, 0.02, 0.04])
    beside.apply_translation([0.02, 0.0, 0.0])
    with pytest.raises(ConfigError, match=r"middle lies 20\.0 mm beside the axis of its symmetry"):
        assemble({"head": beside}, "m", symmetry=Symmetry((0.0, 0.0, 1.0), 2))


def test_f22_a_mesh_that_is_too_fine_is_refused():
    with pytest.raises(ConfigError, match="has 20480 triangles, allowed are 5000; simplify it"):
        assemble({"ball": trimesh.creation.icosphere(subdivisions=5, radius=0.05)}, "m")


rotations = st.tuples(*[st.floats(-3.0, 3.0)] * 3).map(lambda v: Rotation.from_rotvec(v).as_matrix())
axes = st.tuples(*[st.floats(-1.0, 1.0)] * 3).filter(lambda v: math.hypot(*v) > 0.1)


@settings(max_examples=60)
@given(rotations, rotations, axes, st.integers(0, 6))
def test_the_nearest_of_the_turns_that_look_alike_is_none_farther_than_any_of_them(a, b, axis, fold):
    symmetry = Symmetry(axis, fold)
    nearest = symmetry.nearest(a, b)
    angle = symmetry.apart(a, b)
    for k in range(fold or 36):
        turned = a @ Rotation.from_rotvec(2 * math.pi * k / (fold or 36) * symmetry.unit).as_matrix()
        assert angle <= Rotation.from_matrix(turned.T @ b).magnitude() + 1e-9
        assert symmetry.apart(turned, nearest) == pytest.approx(0.0, abs=1e-6)
    assert Rotation.from_matrix(nearest.T @ b).magnitude() == pytest.approx(angle, abs=1e-7)
