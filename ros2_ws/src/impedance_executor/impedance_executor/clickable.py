"""Two balls in RViz's scene to click on, approve and reject, as its InteractiveMarkers display speaks.

A client asks for all markers once, then follows numbered updates; a gap in the numbers makes it ask again (the protocol
of the `interactive_markers` package, which isn't needed for this).
"""

from collections.abc import Callable

from std_msgs.msg import ColorRGBA
from visualization_msgs.msg import (
    InteractiveMarker,
    InteractiveMarkerControl,
    InteractiveMarkerFeedback,
    InteractiveMarkerUpdate,
    Marker,
)
from visualization_msgs.srv import GetInteractiveMarkers

from kinema.chunk import ActionChunk
from kinema.errors import KinemaError
from kinema.frames import BASE
from kinema.geometry import Pose
from kinema_ros.convert import header, pose_msg
from kinema_ros.node import Node

_LOOKS = {  # aside of the path's end [m], colour
    "approve": (0.06, ColorRGBA(r=0.17, g=0.54, b=0.24, a=0.9)),
    "reject": (-0.06, ColorRGBA(r=0.79, g=0.16, b=0.16, a=0.9)),
}
_SIZE = 0.04  # [m] of a ball; of its letters the same
_ALIVE = 0.5  # [s] between two signs of life


class Clickable:
    """`decide(decision, chunk)` is called when somebody clicks; what it refuses is logged."""

    def __init__(self, node: Node, decide: Callable[[str, int], str]) -> None:
        self._node, self._decide = node, decide
        self._sequence = 0
        self._markers: list[InteractiveMarker] = []
        self._update = node.outlet("executor/decision/update")
        node.listen("executor/decision/feedback", self._clicked)
        node.respond(GetInteractiveMarkers, "~/decision/get_interactive_markers", self._all)
        node.every(_ALIVE, self._live)

    def show(self, chunk: ActionChunk) -> None:
        """Offer the decision on a chunk, at the end of its path."""
        self.hide()
        end = chunk.target(chunk.executable - 1).position
        self._markers = [_marker(f"{name} {chunk.id}", end, *look) for name, look in _LOOKS.items()]
        self._tell(InteractiveMarkerUpdate(markers=self._markers))

    def hide(self) -> None:
        """Take the offer back."""
        if self._markers:
            erased, self._markers = [marker.name for marker in self._markers], []
            self._tell(InteractiveMarkerUpdate(erases=erased))

    def _tell(self, update: InteractiveMarkerUpdate) -> None:
        self._sequence += 1
        update.type, update.seq_num, update.server_id = InteractiveMarkerUpdate.UPDATE, self._sequence, "decision"
        self._update.publish(update)

    def _live(self) -> None:
        kind = InteractiveMarkerUpdate.KEEP_ALIVE
        self._update.publish(InteractiveMarkerUpdate(type=kind, seq_num=self._sequence, server_id="decision"))

    def _all(
        self, request: GetInteractiveMarkers.Request, response: GetInteractiveMarkers.Response
    ) -> GetInteractiveMarkers.Response:
        response.sequence_number, response.markers = self._sequence, self._markers
        return response

    def _clicked(self, message: InteractiveMarkerFeedback) -> None:
        decision, _, chunk = message.marker_name.partition(" ")
        if message.event_type != InteractiveMarkerFeedback.BUTTON_CLICK or decision not in _LOOKS:
            return
        try:
            self._node.get_logger().info(self._decide(decision, int(chunk)))
        except (KinemaError, ValueError) as error:
            self._node.get_logger().error(f"{message.marker_name}: {error}")


def _marker(name: str, end: object, aside: float, colour: ColorRGBA) -> InteractiveMarker:
    """A ball beside the path's end `end` (3,) [m] in base_link, with its name above it."""
    ball = Marker(type=Marker.SPHERE, color=colour)
    letters = Marker(type=Marker.TEXT_VIEW_FACING, color=colour, text=name)
    letters.pose.position.z = 1.25 * _SIZE
    for part in (ball, letters):
        part.scale.x = part.scale.y = part.scale.z = _SIZE
    button = InteractiveMarkerControl(
        name="click",
        interaction_mode=InteractiveMarkerControl.BUTTON,
        always_visible=True,
        markers=[ball, letters],
    )
    x, y, z = end
    return InteractiveMarker(
        header=header(0, BASE),
        pose=pose_msg(Pose.from_rotvec([x, y + aside, z], [0.0, 0.0, 0.0])),
        name=name,
        description="",
        scale=2 * _SIZE,
        controls=[button],
    )
