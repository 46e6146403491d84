"""A virtual UR controller: RTDE, dashboard, primary and script ports before an arm that somebody else simulates.

The real ur_rtde connects to it. It is our reading of Universal Robots' documents and of what ur_rtde sends, not the
vendor's simulator: safety functions, PolyScope and URScript itself aren't here, and of the servo only its smoothing.
The arm behind it is anything with the `Arm` protocol, in kinema the MuJoCo cell: what pushes that arm is felt in
`actual_TCP_force`.
"""

import logging
import re
import struct

import numpy as np

from kinema import clock, dh, robots
from kinema.dh import Chain
from kinema.errors import DeviceError
from kinema.geometry import Array, Pose, so3_exp
from kinema.interfaces import Arm, ArmCommand, ArmMode, ArmState, CommandKind
from kinema.robots import GRIPPER, ArmModel
from kinema.virtual.controller_ports import Connection, Port
from kinema.virtual.ur_controller_dashboard import Dashboard
from kinema.virtual.ur_controller_program import Installation, Program
from kinema.virtual.ur_controller_rtde import Rtde, Value, Version

E_SERIES: Version = (5, 26, 0, 0)
CB3: Version = (3, 15, 8, 106339)

_PRIMARY, _SCRIPT = 30001, (30002, 30003)
_LEISURE = 4  # ticks between two looks at the ports other than RTDE's, on which no cycle depends
_UNLOCK_AFTER = 5.0  # [s] a protective stop can't be unlocked earlier
_START_AFTER = 0.05  # [s] from a program's arrival to its first cycle: our guess of what compiling takes
_PLANT_GRACE = 50  # ticks in which the arm behind may still report a stop that was cleared
_PROGRAM = re.compile(rb"\s*(?:def|sec)\s+(\w+)\(\):.*?\nend\s*\n", re.S)

_ROBOT_MODES = {3: "POWER_OFF", 5: "IDLE", 7: "RUNNING"}
_POWER_OFF, _IDLE, _RUNNING = _ROBOT_MODES
_NORMAL, _PROTECTIVE_STOP, _EMERGENCY_STOP, _FAULT = 1, 3, 7, 9
_SAFETY = {  # safety_mode: its name on the dashboard, safety_status_bits
    _NORMAL: ("NORMAL", 0x001),
    _PROTECTIVE_STOP: ("PROTECTIVE_STOP", 0x404),
    _EMERGENCY_STOP: ("ROBOT_EMERGENCY_STOP", 0x4C0),
    _FAULT: ("FAULT", 0x600),
}
_STOPPED, _PLAYING = 1, 2  # runtime_state
_DOUBLES = tuple(f"output_double_register_{i}" for i in range(24))
_BRAKE = ArmCommand(CommandKind.BRAKE, np.empty(0))

_log = logging.getLogger(__name__)


DISTURBANCES = {
    "cut": "every connection ends; new ones are welcome",
    "silent": "RTDE sends nothing more; connections stay open",
    "frozen": "RTDE goes on sending the same data",
    "protective_stop": "as after a collision",
    "emergency_stop": "the button of the pendant is pressed",
    "local": "the pendant takes over: no remote control",
    "other_arm": "kinematics of another arm of the same type, millimetres off",
    "other_tcp": "somebody has moved the TCP in the installation by 20 mm along the flange, without telling anybody",
    "other_payload": "somebody has added half a kilogram to the payload in the installation",
    "clear": "all as it was at the start; but after an emergency stop the power is off",
}


def _other_arm(chain: Chain) -> Chain:
    """A chain as the factory finds it on another arm of the same type: 1 mm and 1 mrad off, one standard deviation."""
    theta, a, d, alpha = np.random.default_rng(0).normal(0.0, 1e-3, (4, len(chain.theta)))
    return Chain(chain.theta + theta, chain.a + a, chain.d + d, chain.alpha + alpha)


def _installation() -> Installation:
    return Installation(GRIPPER.T_flange_tcp, GRIPPER.mass, np.array([0.0, 0.0, GRIPPER.com]))


class UrController:
    """One controller with its ports at `address`. `tick` does one of its cycles, paced by the arm behind it.

    plant    the arm behind, in base_link axes; its records pace the controller
    version  of its software: 5.x sends at 500 Hz, 3.x at 125 Hz
    """

    serial = "20265500001"

    def __init__(self, plant: Arm, model: ArmModel, address: str, version: Version = E_SERIES) -> None:
        self._plant, self._model, self.version = plant, model, version
        self.model_name = model.name.removesuffix("e").upper()
        self._chain = dh.nominal(model)  # what it believes in, and tells
        self._R_base_link = so3_exp(np.array([0.0, 0.0, -model.base_yaw]))  # from base_link's axes to the controller's
        self.installation = _installation()
        self._mode, self._safety, self.remote = _RUNNING, _NORMAL, True
        self._stopped_ns = 0  # when the protective stop happened
        self._program: Program | None = None
        self._starts_ns: int | None = None  # when the program that has been uploaded begins
        self._k = 0  # of the arm's newest record
        self._origin_ns = self._now_ns = 0  # of its first and its newest
        self._holding = True  # the arm behind stands by its own brakes, as it was told
        self._grace = 0  # ticks in which it may still say so
        self._silent, self._frozen = False, False
        self._sent: dict[str, Value] = {}
        self._speed_fraction = 1.0
        frequency = 500.0 if version[0] >= 5 else 125.0
        self._every = round(1 / (frequency * plant.period))
        self._count = 0
        self._rtde = Rtde(address, version, frequency, self._written)
        self._dashboard = Dashboard(address, self)
        self._primary = Port(address, _PRIMARY, self._upload, self._tell_kinematics)
        scripts = [Port(address, number, self._upload) for number in _SCRIPT]
        self._ports = [self._rtde.port, self._dashboard.port, self._primary, *scripts]

    # -- what the dashboard sees and does

    @property
    def robot_mode(self) -> str:
        return _ROBOT_MODES[self._mode]

    @property
    def safety_mode(self) -> str:
        return _SAFETY[self._safety][0]

    @property
    def running(self) -> bool:
        return self._program is not None

    @property
    def serving(self) -> bool:
        """Whether anybody reads its data."""
        return bool(self._rtde.port.clients)

    def power_on(self) -> None:
        self._mode = max(self._mode, _IDLE)

    def power_off(self) -> None:
        self._mode = _POWER_OFF
        self._end("the power is off")

    def release_brakes(self) -> None:
        if self._mode == _IDLE:
            self._mode = _RUNNING

    def stop_program(self) -> None:
        self._end("the dashboard has stopped it")

    def unlock(self) -> bool:
        fresh = clock.to_seconds(self._now_ns - self._stopped_ns) < _UNLOCK_AFTER
        if self._safety == _PROTECTIVE_STOP and not fresh:
            self._safety = _NORMAL
        return self._safety != _PROTECTIVE_STOP

    # -- what may happen to it

    def protective_stop(self, reason: str) -> None:
        """Stop the arm and wait for somebody to unlock it."""
        if self._safety == _NORMAL:
            self._safety, self._stopped_ns = _PROTECTIVE_STOP, self._now_ns
            self._end(f"protective stop: {reason}")

    def disturb(self, name: str) -> None:
        """One of DISTURBANCES; raises DeviceError naming them for any other."""
        match name:
            case "cut":
                for port in self._ports:
                    port.cut()
            case "silent":
                self._silent = True
            case "frozen":
                self._frozen = True
            case "protective_stop":
                self.protective_stop("somebody wished it")
            case "emergency_stop":
                self._safety = _EMERGENCY_STOP
                self._end("emergency stop")
            case "local":
                self.remote = False
            case "other_arm":
                self._chain = _other_arm(self._chain)
            case "other_tcp":
                tcp = self.installation.tcp
                self.installation.tcp = tcp @ Pose(np.array([0.0, 0.0, 0.02]), np.eye(3))
            case "other_payload":
                self.installation.payload += 0.5
            case "clear":
                self._silent = self._frozen = False
                self.remote = True
                self._chain, self.installation = dh.nominal(self._model), _installation()
                if self._safety == _EMERGENCY_STOP:
                    self._mode = _POWER_OFF
                self._safety = _NORMAL
            case _:
                known = "; ".join(f"{key}: {text}" for key, text in DISTURBANCES.items())
                raise DeviceError(f"disturbance {name!r} is not in the table; allowed: {known}")

    # -- ports

    def _tell_kinematics(self, client: Connection) -> None:
        """Robot state with the sub-package "Kinematics Info" (5), as the primary port sends it to every newcomer."""
        chain = self._chain
        rows = np.concatenate([chain.theta, chain.a, chain.d, chain.alpha])
        info = struct.pack(">iB6I24dI", 4 + 1 + 24 + 192 + 4, 5, *range(6), *rows, 0)
        client.send(struct.pack(">iB", 5 + len(info), 16) + info)

    def _upload(self, client: Connection) -> None:
        """A whole program starts; while the pendant is in charge, or the arm is stopped, it is lost."""
        while found := _PROGRAM.match(client.data):
            client.data = client.data[found.end() :]
            name = found.group(1).decode()
            if self._mode != _RUNNING or self._safety != _NORMAL or not self.remote:
                _log.info("script %s is not run: %s, %s", name, self.robot_mode, self.safety_mode)
            else:
                self._end("another one was uploaded")
                self._starts_ns = self._now_ns + clock.to_ns(_START_AFTER)

    def _written(self, names: list[str]) -> None:
        if self._program is not None and "input_int_register_0" in names:
            self._program.kick()
        if "speed_slider_fraction" in names and self._rtde.inputs.get("speed_slider_mask", (0,))[0]:
            self._speed_fraction = float(np.clip(self._rtde.inputs["speed_slider_fraction"][0], 0.0, 1.0))

    # -- one cycle

    def tick(self, timeout: float = 1.0) -> None:
        """Read the arm, serve the ports, answer the arm, publish. Raises DeviceError when the arm behind is lost."""
        state = self._plant.read(timeout)
        due = self._ports if state is None or state.k % _LEISURE == 0 else [self._rtde.port]
        for port in due:
            port.poll()
        if state is None:
            return
        if self._count == 0:
            self._origin_ns = state.t_ns
        self._k, self._now_ns = state.k, state.t_ns
        wrench = self._felt(state)
        self._count += 1
        if self._starts_ns is not None and state.t_ns >= self._starts_ns:
            self._begin(state)
        if self._count % self._every == 0:
            self._run(state, wrench)
        self._plant.write(state.k, self._command(state))
        if self._count % self._every == 0 and not self._silent:
            if not self._frozen:
                self._sent = self._outputs(state, wrench)
            self._rtde.publish(self._sent)

    def _felt(self, state: ArmState) -> Array:
        R = self._R_base_link
        return np.concatenate([R @ state.wrench[:3], R @ state.wrench[3:]])

    def _begin(self, state: ArmState) -> None:
        self._starts_ns = None
        period = self._every * self._plant.period
        self._program = Program(self._model, self._chain, self.installation, state.q, period)
        _log.info("the program runs")

    def _run(self, state: ArmState, wrench: Array) -> None:
        """One step of the program, unless the arm behind has stopped by itself."""
        if self._program is None:
            return
        self._grace -= 1
        if state.mode != ArmMode.RUNNING and not self._holding and self._grace < 0:
            self.protective_stop(f"the arm behind reports {ArmMode(state.mode).name}")
            return
        self._program.step(self._rtde, wrench)
        if self._program.ended:
            self._end(self._program.ended)

    def _end(self, why: str) -> None:
        self._starts_ns = None
        if self._program is not None:
            _log.info("the program has ended: %s", why)
        self._program = None

    def _command(self, state: ArmState) -> ArmCommand:
        """What the arm behind does: hold by its brakes, or what the program says."""
        wanted = _BRAKE if self._program is None else self._wanted(self._program, state)
        if self._holding and wanted.kind is not CommandKind.BRAKE:
            self._plant.reset()
            self._grace = _PLANT_GRACE
        self._holding = wanted.kind is CommandKind.BRAKE
        return wanted

    def _wanted(self, program: Program, state: ArmState) -> ArmCommand:
        """Positions; or, for an arm behind that takes torques, direct_torque's with what gravity asks for on top."""
        if self._plant.command_kind is CommandKind.POSITION:
            return ArmCommand(CommandKind.POSITION, program.reference)
        if program.torque is None:
            return _BRAKE
        carried = self.installation.payload, self.installation.cog
        torque = program.torque + robots.gravity_torque(self._model, state.q, *carried)
        return ArmCommand(CommandKind.TORQUE, torque)

    def _outputs(self, state: ArmState, wrench: Array) -> dict[str, Value]:
        """What clients may have asked for; poses, which take long, only where one has."""
        program, wanted = self._program, self._rtde.wanted
        reference = state.q if program is None else program.reference
        values: dict[str, Value] = {
            "timestamp": clock.to_seconds(state.t_ns - self._origin_ns),
            "actual_q": state.q,
            "actual_qd": state.dq,
            "target_q": reference,
            "target_moment": state.tau,
            "actual_current_as_torque": state.tau,
            "actual_TCP_force": wrench,
            "ft_raw_wrench": wrench,
            "robot_mode": self._mode,
            "safety_mode": self._safety,
            "safety_status_bits": _SAFETY[self._safety][1],
            "robot_status_bits": (self._mode > _POWER_OFF) | (self.running << 1),
            "runtime_state": _PLAYING if self.running else _STOPPED,
            "speed_scaling": 1.0,
            "target_speed_fraction": self._speed_fraction,
            "joint_mode": (253 if self._mode == _RUNNING else 239,) * 6,
            "payload": self.installation.payload,
            "payload_cog": self.installation.cog,
        }
        if "actual_TCP_pose" in wanted:
            values["actual_TCP_pose"] = _pose_vector(self._chain.frames(state.q)[-1] @ self.installation.tcp)
        if "actual_TCP_speed" in wanted:
            values["actual_TCP_speed"] = self._chain.jacobian(state.q, self.installation.tcp)[1] @ state.dq
        if "target_TCP_pose" in wanted:
            values["target_TCP_pose"] = _pose_vector(self._chain.frames(reference)[-1] @ self.installation.tcp)
        if program is not None:
            values |= {"output_int_register_0": program.state}
            values |= zip(_DOUBLES, program.doubles.tolist(), strict=True)
        return values

    def close(self) -> None:
        """Stop the arm behind, and give the ports back."""
        for port in self._ports:
            port.close()
        if self._count:
            self._plant.write(self._k, _BRAKE)


def _pose_vector(T: Pose) -> Array:
    return np.concatenate([T.position, T.rotvec])
