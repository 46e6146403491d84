"""The base of every node: lifecycle, declared parameters, topics by the table, diagnostics, one way to spin.

A node overrides `configure`, `activate`, `deactivate`, `cleanup` and raises a KinemaError to refuse. It brings itself
up (parameter `autostart`): a device that is not there yet is waited for, a wrong configuration is not.
"""

import os
import signal
import threading
import time
import traceback
from collections.abc import Callable
from typing import Any, ClassVar

import rclpy
from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus, KeyValue
from rclpy.experimental import EventsExecutor
from rclpy.lifecycle import LifecycleNode, LifecycleState, TransitionCallbackReturn
from rclpy.qos import QoSProfile
from rclpy.signals import SignalHandlerOptions

from kinema.clock import now_ns, to_ns
from kinema.errors import ConfigError, DeviceError, KinemaError, OwnershipError
from kinema.streams import Health, Level, Stream
from kinema.topics import topic
from kinema_ros.convert import time_msg
from kinema_ros.parameters import Parameter, declare
from kinema_ros.topics import QOS, message_type

_COMMON = (
    Parameter("autostart", True, "configure and activate without being told"),
    Parameter("device_timeout", 30.0, "[s] how long to wait for a device that is not there yet", 0.0, 600.0),
)
_RETRY = 0.25  # [s] between two tries at a device
_DIAGNOSTICS = 1.0  # [s] between two reports

GAVE_UP = "gave up"  # key in /diagnostics of a node that does not come up by itself any more; its message says why

_LEVELS = {
    Level.OK: DiagnosticStatus.OK,
    Level.WARN: DiagnosticStatus.WARN,
    Level.ERROR: DiagnosticStatus.ERROR,
    Level.STALE: DiagnosticStatus.STALE,
}


class Outlet:
    """A publisher of one row of the topic table; silent while the node is inactive. Any thread may publish."""

    def __init__(self, publisher: Any, stream: Stream) -> None:
        self._publisher = publisher
        self._stream = stream

    @property
    def wanted(self) -> bool:
        """Whether anybody listens."""
        return bool(self._publisher.get_subscription_count())

    def publish(self, message: Any) -> None:
        self._stream.arrived(time.monotonic_ns())
        self._publisher.publish(message)


class Node(LifecycleNode):
    """See the module's text. `PARAMETERS` is the node's own table."""

    PARAMETERS: ClassVar[tuple[Parameter, ...]] = ()

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self._problems = declare(self, (*_COMMON, *self.PARAMETERS))
        self._watches: dict[str, Callable[[int], Health]] = {}
        self._undo: list[Callable[[], Any]] = []
        self._threads: list[threading.Thread] = []
        self._stopping = threading.Event()
        self._why = "not configured yet"
        self._waiting = False  # for a device
        self._gave_up = False  # coming up by itself
        self._diagnostics = self.create_publisher(DiagnosticArray, "/diagnostics", 10)
        self.create_timer(_DIAGNOSTICS, self._publish_diagnostics)

    # ---- what a node overrides

    def configure(self) -> None:
        """Open devices, create topics and services."""

    def activate(self) -> None:
        """Begin: start threads."""

    def deactivate(self) -> None:
        """Cease; threads of `loop` have ended already."""

    def cleanup(self) -> None:
        """Close what `configure` opened; topics and services are gone already."""

    # ---- what a node uses

    def value(self, name: str) -> Any:
        """A declared parameter."""
        return self.get_parameter(name).value

    def outlet(self, name: str, qos: QoSProfile | None = None, watched: bool = True) -> Outlet:
        """A publisher of the table's row `name`."""
        row = topic(name)
        publisher = self.create_lifecycle_publisher(message_type(row), row.name, qos or QOS[row.qos])
        self._undo.append(lambda: self.destroy_lifecycle_publisher(publisher))
        stream = Stream.of(row)
        if watched and row.stale_after > 0:
            self.watch(f"publishes {row.name}", stream.health)
        return Outlet(publisher, stream)

    def listen(
        self, name: str, callback: Callable[[Any], None], qos: QoSProfile | None = None, **options: Any
    ) -> Stream:
        """Subscribe to the table's row `name`; rate, spread and staleness go to /diagnostics."""
        row = topic(name)
        stream = Stream.of(row)

        def arrived(message: Any) -> None:
            stream.arrived(time.monotonic_ns())
            try:
                callback(message)
            except KinemaError as error:
                self.get_logger().error(f"{row.name}: {error}", throttle_duration_sec=1.0)

        subscription = self.create_subscription(message_type(row), row.name, arrived, qos or QOS[row.qos], **options)
        self._undo.append(lambda: self.destroy_subscription(subscription))
        if row.stale_after > 0:
            self.watch(f"receives {row.name}", stream.health)
        return stream

    def serve(self, kind: type, name: str, callback: Callable[[Any, Any], str]) -> None:
        """A service: `callback(request, response)` returns the message; a KinemaError is a refusal with its text."""

        def answer(request: Any, response: Any) -> Any:
            try:
                response.message = callback(request, response)
                response.success = True
            except KinemaError as error:
                response.success, response.message = False, str(error)
                self.get_logger().warning(f"{name} refused: {error}")
            return response

        self.respond(kind, name, answer)

    def respond(self, kind: type, name: str, callback: Callable[[Any, Any], Any]) -> None:
        """A service whose `callback(request, response)` fills in the response and returns it."""
        service = self.create_service(kind, name, callback)
        self._undo.append(lambda: self.destroy_service(service))

    def every(self, period: float, callback: Callable[[], None]) -> None:
        """Call back every `period` [s], while configured."""
        timer = self.create_timer(period, callback)
        self._undo.append(lambda: self.destroy_timer(timer))

    def loop(self, body: Callable[[], None], nice: int = 0) -> None:
        """Run `body` again and again in a thread, until deactivated; an error is reported, and it is tried again.

        `nice`, up to 19, lets other threads and processes go first.
        """

        def run() -> None:
            if nice:
                os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), nice)
            while not self._stopping.is_set():
                try:
                    body()
                except DeviceError as error:
                    self.get_logger().error(str(error), throttle_duration_sec=2.0)
                    self._stopping.wait(_RETRY)
                except Exception:
                    self.get_logger().error(traceback.format_exc(), throttle_duration_sec=2.0)
                    self._stopping.wait(_RETRY)

        thread = threading.Thread(target=run, name=f"{self.get_name()}-{len(self._threads)}", daemon=True)
        self._threads.append(thread)
        thread.start()

    @property
    def stopping(self) -> bool:
        """True once the threads of `loop` should end."""
        return self._stopping.is_set()

    def watch(self, name: str, health: Callable[[int], Health]) -> None:
        """One more line of /diagnostics; `health` is asked with the monotonic clock [ns]."""
        self._watches[name] = health

    # ---- lifecycle

    def on_configure(self, state: LifecycleState) -> TransitionCallbackReturn:
        self._waiting = False
        try:
            if self._problems:
                raise ConfigError("; ".join(self._problems))
            self.configure()
        except KinemaError as error:
            self._waiting = isinstance(error, DeviceError) and not isinstance(error, OwnershipError)
            return self._refuse(str(error))
        except Exception:
            return self._refuse(traceback.format_exc())
        return super().on_configure(state)

    def on_activate(self, state: LifecycleState) -> TransitionCallbackReturn:
        result = super().on_activate(state)
        self._stopping.clear()
        try:
            self.activate()
        except KinemaError as error:
            self._why = str(error)
            self.get_logger().error(f"activation refused: {error}")
            return TransitionCallbackReturn.FAILURE
        self._why = ""
        return result

    def on_deactivate(self, state: LifecycleState) -> TransitionCallbackReturn:
        self._cease()
        return super().on_deactivate(state)

    def on_cleanup(self, state: LifecycleState) -> TransitionCallbackReturn:
        result = super().on_cleanup(state)
        self._release()
        self._why = "cleaned up"
        return result

    def on_shutdown(self, state: LifecycleState) -> TransitionCallbackReturn:
        self.close()
        return super().on_shutdown(state)

    def close(self) -> None:
        """End threads and let go of everything; safe at any time."""
        self._cease()
        self._release()

    def bring_up(self) -> None:
        """Configure and activate, waiting for devices as long as `device_timeout` says."""
        if not self.value("autostart"):
            return
        deadline = time.monotonic_ns() + to_ns(self.value("device_timeout"))

        def attempt() -> None:
            if self._state_machine.current_state[1] == "unconfigured":
                if self.trigger_configure() == TransitionCallbackReturn.SUCCESS:
                    self._gave_up = self.trigger_activate() != TransitionCallbackReturn.SUCCESS
                elif self._waiting and time.monotonic_ns() < deadline:
                    return
                else:
                    self._gave_up = True
                    self.get_logger().error(f"stays unconfigured: {self._why}")
            self.destroy_timer(timer)

        timer = self.create_timer(_RETRY, attempt)
        attempt()

    def _refuse(self, why: str) -> TransitionCallbackReturn:
        if why != self._why:
            if self._waiting:  # two lines of code: rclpy refuses one that logs now as info, now as an error
                self.get_logger().info(f"waiting: {why}")
            else:
                self.get_logger().error(f"configuration refused: {why}")
        self._why = why
        self._release()
        return TransitionCallbackReturn.FAILURE

    def _cease(self) -> None:
        self._stopping.set()
        for thread in self._threads:
            thread.join(timeout=2.0)
        self._threads.clear()
        self.deactivate()

    def _release(self) -> None:
        while self._undo:
            self._undo.pop()()
        self._watches.clear()
        self.cleanup()

    def _publish_diagnostics(self) -> None:
        state = self._state_machine.current_state[1]
        facts = {"lifecycle": state} | ({GAVE_UP: "yes"} if self._gave_up and self._why else {})
        own = Health(Level.ERROR if self._why else Level.OK, self._why or state, facts)
        now = time.monotonic_ns()
        array = DiagnosticArray()
        array.header.stamp = time_msg(now_ns())
        lines = {"node": own, **{name: health(now) for name, health in self._watches.items()}}
        for name, health in lines.items():
            array.status.append(
                DiagnosticStatus(
                    level=_LEVELS[health.level],
                    name=f"{self.get_name()}: {name}",
                    message=health.text,
                    hardware_id=self.get_name(),
                    values=[KeyValue(key=key, value=value) for key, value in health.values.items()],
                )
            )
        self._diagnostics.publish(array)


def start() -> Callable[[], bool]:
    """Initialise rclpy; returns what says whether SIGINT or SIGTERM has come.

    rclpy's own handlers would make the context invalid at once, under the threads that still publish.
    """
    ending = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: ending.set())
    rclpy.init(signal_handler_options=SignalHandlerOptions.NO)
    return lambda: ending.is_set() or not rclpy.ok()


def spin(make: Callable[[], Node]) -> None:
    """The main function of a node's process.

    EventsExecutor with a time-out: without one it hangs and ignores SIGTERM, and MultiThreadedExecutor loses images.
    """
    ended = start()
    node = make()
    executor = EventsExecutor()
    executor.add_node(node)
    try:
        node.bring_up()
        while not ended():
            executor.spin_once(timeout_sec=0.1)
    finally:
        node.close()
        executor.remove_node(node)
        node.destroy_node()
        rclpy.shutdown()


__all__ = ["Node", "Outlet", "Parameter", "spin", "start"]
