import pytest
import yaml

from kinema import cell_file, paths
from kinema.control.messages import Mode
from kinema.errors import ConfigError
from kinema.interfaces import CommandKind

SHIPPED = paths.root() / "launch/cells/virtual.yaml"


def _write(tmp_path, change):
    content = yaml.safe_load(SHIPPED.read_text())
    change(content)
    file = tmp_path / "cell.yaml"
    file.write_text(yaml.safe_dump(content))
    return file


def _refusal(file):
    with pytest.raises(ConfigError) as refused:
        cell_file.load(file)
    assert str(file) in str(refused.value)
    return str(refused.value)


def test_the_shipped_file_is_valid():
    cell = cell_file.load("launch/cells/virtual.yaml")
    assert cell.simulated and cell.arm.command_kind is CommandKind.TORQUE
    assert cell.control.execution.mode is Mode.OVERLAP
    assert cell.check_robot("virtual_ur5e") == "virtual_ur5e"
    assert cell.calibration_folder == paths.root() / "calibration/virtual"


@pytest.mark.parametrize("file", sorted(SHIPPED.parent.glob("*.yaml")), ids=lambda file: file.stem)
def test_every_shipped_file_is_valid_and_is_of_a_real_cell_unless_its_name_says_otherwise(file):
    cell = cell_file.load(file)
    assert cell.name == file.stem
    assert cell.simulated == file.stem.startswith("virtual")
    assert cell.simulated or cell.speed_scale <= 0.25


def test_a_real_cell_is_refused_what_only_a_simulated_one_has(tmp_path):
    content = yaml.safe_load((SHIPPED.parent / "ur5e.yaml").read_text())
    content["devices"]["load_cell"]["port"] = "load_cell.tty"
    content["devices"]["cameras"]["left"] = {"backend": "virtual", "serial": "1"}
    file = tmp_path / "cell.yaml"
    file.write_text(yaml.safe_dump(content | {"speed_scale": 0.5, "robots": ["virtual_ur5e", "xarm7"]}))
    message = _refusal(file)
    for part in ("speed_scale is 0.5", "robots holds 'virtual_ur5e'", "robots holds 'xarm7'", "allowed: ur5e",
                 "load_cell.port is 'load_cell.tty'", "cameras.left.backend is 'virtual'"):  # fmt: skip
        assert part in message


def test_a_handheld_cell_has_no_arm():
    cell = cell_file.load("launch/cells/handheld.yaml")
    assert "tracker" in cell.serials(handheld=True)
    with pytest.raises(ConfigError, match="allowed: none, it has no arm"):
        cell.check_robot("ur5e")
    with pytest.raises(ConfigError, match=r"devices\.arm is missing"):
        cell.serials(handheld=False)


def test_what_a_cell_file_says_of_a_gripper_and_of_a_camera_is_what_models_and_nodes_are_told():
    devices = cell_file.load("launch/cells/xarm7.yaml").devices
    assert (devices.gripper.model.tcp, devices.gripper.model.mass) == (0.172, 0.82)
    assert devices.cameras.left.parameters == {"exposure": 0.008, "inter_cam_sync_mode": 1}


def test_a_robot_that_may_not_stand_in_the_cell_is_refused_naming_the_allowed():
    with pytest.raises(ConfigError, match="'ur5e'; allowed: virtual_ur5e, virtual_xarm7"):
        cell_file.load(SHIPPED).check_robot("ur5e")


@pytest.mark.parametrize(
    ("change", "wanted"),
    [
        (lambda c: c.update(colour="red"), ["'colour' is unknown", "name, robots, calibration"]),
        (lambda c: c["devices"]["arm"].update(port=1), ["'devices.arm.port' is unknown", "serial, backend, command"]),
        (
            lambda c: c["devices"]["tracker"].update(port=1),
            ["'devices.tracker.port' is unknown", "allowed here: serial, backend"],
        ),
        (
            lambda c: c["control"].update(limits={"sped": 1.0}),
            ["'control.limits.sped' is unknown", "workspace, planes, joint_margin"],
        ),
    ],
)
def test_f22_an_unknown_key_is_refused_naming_file_key_and_the_allowed(tmp_path, change, wanted):
    message = _refusal(_write(tmp_path, change))
    assert all(part in message for part in wanted), message


@pytest.mark.parametrize(
    ("change", "wanted"),
    [
        (lambda c: c.update(speed_scale="fast"), ["'speed_scale' is fast", "number"]),
        (lambda c: c.update(speed_scale=1.5), ["'speed_scale' is 1.5", "less than or equal to 1"]),
        (lambda c: c.update(speed_scale=float("nan")), ["'speed_scale'", "finite"]),
        (
            lambda c: c["devices"]["arm"].update(backend="ros"),
            ["'devices.arm.backend' is ros", "'virtual', 'ur', 'xarm'"],
        ),
        (lambda c: c["devices"]["arm"].pop("backend"), ["'devices.arm.backend' is missing"]),
        (lambda c: c["devices"]["tracker"].update(backend="t265", map="x"), ["'devices.tracker.map' is unknown"]),
        (lambda c: c["devices"]["load_cell"].update(backend="serial"), ["'devices.load_cell.port' is missing"]),
        (
            lambda c: c["devices"]["cameras"]["left"].update(backend="realsense", depth=1),
            ["'devices.cameras.left.depth' is 1", "boolean"],
        ),
        (lambda c: c["world"].update(split="test"), ["'world.split' is test", "'unseen_objects'"]),
        (lambda c: c["control"]["execution"].update(mode="eager"), ["'control.execution.mode'", "'stop_and_go'"]),
        (lambda c: c["control"].update(limits={"on_workspace": "wrap"}), ["on_workspace", "'clamp' or 'refuse'"]),
        (lambda c: c["control"].update(force={"step": True}), ["'control.force.step' is True", "number"]),
        (lambda c: c.update(robots=["virtual_ur6"]), ["'virtual_ur6' is not in the table", "virtual_xarm7"]),
        (lambda c: c.update(robots=["virtual_ur10"]), ["'virtual_ur10' is not in the table", "virtual_xarm7"]),
        (lambda c: c["devices"].pop("arm"), ["robots holds 2 and devices.arm is missing"]),
        (
            lambda c: c["devices"]["tracker"].update(backend="tags"),
            ["devices.tracker.backend is 'tags'", "virtual, t265"],
        ),
        (
            lambda c: c["devices"].update(arm={"backend": "ur", "serial": "1", "address": "192.168.0.1"}),
            ["robots holds 'virtual_xarm7'", "'ur'; allowed: virtual_ur5e", "devices.arm.address is '192.168.0.1'"],
        ),
        (
            lambda c: c["devices"].update(gripper={"backend": "xarm", "serial": "1", "address": "127.0.0.1"}),
            ["address and port have to be the arm's"],
        ),
        (
            lambda c: c["devices"]["load_cell"].update(backend="serial", port="/dev/ttyACM0"),
            ["devices.load_cell.port is '/dev/ttyACM0'", "a name without a folder"],
        ),
        (
            lambda c: c.pop("world"),
            ["speed_scale is 1.0", "0.25 at most", "robots holds 'virtual_ur5e'", "devices.cameras.left.backend is"],
        ),
    ],
)
def test_f22_a_wrong_value_is_refused_naming_file_key_and_the_allowed(tmp_path, change, wanted):
    message = _refusal(_write(tmp_path, change))
    assert all(part in message for part in wanted), message


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("name: [unclosed", "not valid YAML"),
        ("name: a\nname: b\n", "key 'name' stands twice"),
        ("\x00\x01", "not valid YAML"),
        ("", "the whole file"),
        ("- a list", "the whole file"),
        ("2026-01-01: x", "not valid YAML"),
    ],
)
def test_f22_a_corrupt_file_is_refused_naming_it(tmp_path, text, wanted):
    file = tmp_path / "cell.yaml"
    file.write_text(text)
    assert wanted in _refusal(file)


def test_f22_an_absent_file_is_refused_naming_it(tmp_path):
    assert "No such file" in _refusal(tmp_path / "nothing.yaml")


def test_serial_numbers_are_of_what_an_episode_needs():
    cell = cell_file.load(SHIPPED)
    by_hand, by_arm = cell.serials(handheld=True), cell.serials(handheld=False)
    assert by_hand.keys() - by_arm.keys() == {"tracker"} and by_arm.keys() - by_hand.keys() == {"arm"}
    assert by_hand.keys() & by_arm.keys() == {"gripper", "left", "right", "jaw", "load_cell"}
    without = cell.model_copy(update={"devices": cell.devices.model_copy(update={"tracker": None})})
    with pytest.raises(ConfigError, match=r"devices\.tracker is missing"):
        without.serials(handheld=True)
