"""F22 for parameters: a node with a wrong one stays unconfigured and says which, whence, and what is allowed."""

import subprocess

import pytest

pytestmark = pytest.mark.ros


@pytest.fixture
def output(start, wait_for, tmp_path):
    def run(package: str, executable: str, *arguments: str) -> str:
        log = tmp_path / "log"
        with log.open("w") as out:
            start(["ros2", "run", package, executable, "--ros-args", *arguments], stdout=out, stderr=subprocess.STDOUT)
        wait_for(lambda: "stays unconfigured" in log.read_text(), timeout=60, what="an unconfigured node")
        return log.read_text()

    return run


def test_f22_an_unknown_parameter(output, tmp_path):
    file = tmp_path / "parameters.yaml"
    file.write_text("/**:\n  ros__parameters:\n    colour: red\n")
    text = output("virtual_cell", "virtual_cell", "--params-file", str(file))
    assert str(file) in text and "unknown parameter 'colour'" in text and "allowed: autostart, device_timeout" in text


@pytest.mark.parametrize(
    "value, allowed",
    [("device_timeout:=1e9", "float in 0.0..600.0"), ("device_timeout:=soon", "float in 0.0..600.0")],
)
def test_f22_a_value_out_of_range_or_of_the_wrong_type(output, value, allowed):
    text = output("virtual_cell", "virtual_cell", "-p", value)
    assert "device_timeout is" in text and allowed in text


def test_f22_a_choice_that_is_none(output):
    assert "one of gripper, left, right" in output("sensor_nodes", "virtual_camera", "-p", "camera:=rear")


def test_f22_a_robot_that_does_not_stand_in_the_cell(output, tmp_path):
    text = output("impedance_executor", "executor", "-p", "robot:=ur10", "-p", f"run_dir:={tmp_path}")
    assert "'ur10'" in text and "virtual_ur5e" in text


def test_f22_a_cell_file_with_an_unknown_key_leaves_a_node_unconfigured_naming_key_and_file(output, tmp_path):
    from kinema import cell_file

    cell = tmp_path / "bad.yaml"
    cell.write_text(cell_file.VIRTUAL.read_text() + "\nspeed: 9\n")
    text = output("impedance_executor", "executor", "-p", f"cell:={cell}", "-p", f"run_dir:={tmp_path}")
    assert "bad.yaml: key 'speed' is unknown; allowed here" in text


def test_f23_a_cell_whose_calibration_is_missing_names_file_and_service(output, tmp_path):
    from kinema import paths

    text = (paths.root() / "launch/cells/virtual.yaml").read_text()
    cell = tmp_path / "cell.yaml"
    cell.write_text(text.replace("calibration: calibration/virtual", f"calibration: {tmp_path}/nowhere"))
    text = output("sensor_nodes", "virtual_camera", "-p", f"cell:={cell}", "-p", "camera:=left")
    assert "nowhere/left.yaml" in text and "stereo_calibration" in text


def test_f22_a_wrong_configuration_is_told_also_after_a_device_was_waited_for():
    import rclpy
    from rclpy.signals import SignalHandlerOptions

    from kinema.errors import ConfigError, DeviceError
    from kinema_ros.node import Node

    refusals = [DeviceError("no device yet"), ConfigError("a wrong key")]

    class Refusing(Node):
        def configure(self) -> None:
            raise refusals.pop(0)

    rclpy.init(signal_handler_options=SignalHandlerOptions.NO)
    node = Refusing("refusing")
    try:
        for why in ("no device yet", "a wrong key"):
            node.trigger_configure()
            assert node._state_machine.current_state[1] == "unconfigured" and node._why == why
    finally:
        node.destroy_node()
        rclpy.shutdown()
