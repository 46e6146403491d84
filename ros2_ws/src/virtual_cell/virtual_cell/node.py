"""The simulated cell on the ROS graph: status and truth out, scenario resets, faults and taring in.

The cell itself is a process of its own (`python -m kinema.apps.cell`, or `kinema.apps.handheld`); this node only speaks
to it.
"""

from kinema_interfaces.msg import CellStatus
from kinema_interfaces.srv import InjectFault, ResetScenario
from std_srvs.srv import Trigger

from kinema.apps.clients import CellClient
from kinema.streams import Health, Level
from kinema.topics import topic
from kinema_ros.convert import header, truth_msg
from kinema_ros.node import Node, spin


class VirtualCellNode(Node):
    """Relays what the cell process says; a fault of the simulation shows as ERROR and is never hidden (F28)."""

    def configure(self) -> None:
        self._cell = CellClient()
        self._fault = ""
        self._truth_ns = 0
        self._status = self.outlet("cell/status")
        self._truth = self.outlet("cell/truth")
        self.serve(ResetScenario, "~/reset_scenario", self._reset)
        self.serve(InjectFault, "~/inject_fault", self._inject)
        self.serve(Trigger, "~/clear_faults", self._clear)
        self.serve(Trigger, "~/tare", self._tare)
        self.serve(Trigger, "~/demonstrate", self._demonstrate)
        self.every(1.0 / topic("cell/status").rate, self._publish_status)
        self.every(0.5 / topic("cell/truth").rate, self._publish_truth)
        self.watch("simulation", self._simulation)

    def cleanup(self) -> None:
        if cell := self.__dict__.pop("_cell", None):
            cell.close()

    def _publish_status(self) -> None:
        status = self._cell.status()
        if status is None:
            return
        self._fault = status.fault
        self._status.publish(
            CellStatus(
                header=header(status.t_ns, "base_link"),
                task=status.task,
                split=status.split,
                seed=status.seed,
                episode=status.episode,
                success=status.success,
                outcome=status.outcome,
                real_time_factor=status.real_time_factor,
                slipped=status.slipped,
                ticks=status.ticks,
                unanswered=status.unanswered,
                hand=status.hand,
                fault=status.fault,
            )
        )

    def _publish_truth(self) -> None:
        truth = self._cell.truth()
        if truth is not None and truth.stamp_ns != self._truth_ns:
            self._truth_ns = truth.stamp_ns
            self._truth.publish(truth_msg(truth))

    def _reset(self, request: ResetScenario.Request, response: ResetScenario.Response) -> str:
        response.text = self._cell.reset(request.task, request.split, request.seed)
        return "a fresh scene"

    def _inject(self, request: InjectFault.Request, response: InjectFault.Response) -> str:
        return self._cell.inject(request.name, request.target, request.value, request.delay, request.duration)

    def _clear(self, request: Trigger.Request, response: Trigger.Response) -> str:
        self._cell.clear()
        return "all injected faults are cleared"

    def _tare(self, request: Trigger.Request, response: Trigger.Response) -> str:
        return f"tared; the load taken for zero is {self._cell.tare():.3f} N"

    def _demonstrate(self, request: Trigger.Request, response: Trigger.Response) -> str:
        return f"the person begins: {self._cell.demonstrate()}"

    def _simulation(self, now_ns: int) -> Health:
        return Health(Level.ERROR, self._fault) if self._fault else Health(Level.OK, "runs")


def main() -> None:
    spin(lambda: VirtualCellNode("virtual_cell"))
