"""What the monitor's nodes share: parameters, camera images while somebody looks, buttons that call services."""

import threading
import time
from collections import defaultdict, deque
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from kinema_interfaces.msg import CalibrationState, RecorderState
from sensor_msgs.msg import Image
from std_srvs.srv import Trigger

from kinema import paths
from kinema.apps import ghost
from kinema.apps.monitor_calibration import Calibration
from kinema.apps.monitor_recorder import Recorder, StreamRate
from kinema.calibration.session import Phase as CalibrationPhase
from kinema.chunk import Image as ImageArray
from kinema.episodes.quality_monitor import HANDHELD
from kinema.episodes.session import Phase
from kinema.errors import ConfigError, DeviceError
from kinema.streams import Stream
from kinema.topics import CAMERAS, topic
from kinema_ros import convert
from kinema_ros.node import Node, Parameter
from kinema_ros.topics import QOS, message_type

PERIOD = 0.1  # [s] between two moments on the page
_ANSWER_TIMEOUT = 2.0  # [s] for a service to answer a button
_VIDEO = 32  # predicted frames kept per camera
_SESSION = "calibration"  # a camera's stream of pictures with what a session sees drawn in
_PAUSE_NS = 10**9  # at the end of a video that goes round

PARAMETERS = (
    Parameter("cell", "launch/cells/virtual.yaml", "the cell file; its workspace is drawn"),
    Parameter("host", "127.0.0.1", "address that the page is bound to"),
    Parameter("port", 8080, "0: any free one", 0, 65535),
    Parameter("ghost", "", "folder of a recorded episode whose first images may be laid over the live ones"),
    Parameter("token_file", "", "file with the token (16 or more letters and digits); needed beyond loopback"),
)


def _nominal(name: str) -> float:
    """[Hz] that a recording expects of a topic."""
    return HANDHELD.rates.get(name, topic(name).rate)


def ghosts(node: Node) -> dict[str, ImageArray]:
    """The images of the parameter `ghost`, none where it is empty; raises ConfigError."""
    folder = node.value("ghost")
    return ghost.load(paths.find(folder)) if folder else {}


def token(node: Node) -> str | None:
    """What `token_file` holds; raises ConfigError."""
    file = node.value("token_file")
    if not file:
        return None
    try:
        return Path(file).read_text(encoding="ascii").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"token_file {file}: cannot be read as text: {error}") from error


class Newest:
    """The newest message of a topic that may be absent: its silence is no fault of the graph's."""

    def __init__(self, node: Node, name: str) -> None:
        row = topic(name)
        self._stream = Stream.of(row)
        self._message: Any = None
        self._node = node
        self._subscription = node.create_subscription(message_type(row), row.name, self._take, QOS[row.qos])

    def _take(self, message: Any) -> None:
        self._stream.arrived(time.monotonic_ns())
        self._message = message

    def fresh(self, now_ns: int) -> Any:
        """The message, None while the topic is stale; `now_ns` on the monotonic clock."""
        return None if self._stream.stale(now_ns) else self._message

    def close(self) -> None:
        self._node.destroy_subscription(self._subscription)


def _calibration(message: CalibrationState, pictures: Mapping[str, ImageArray]) -> Calibration:
    return Calibration(
        phase=CalibrationPhase(message.phase),
        what=message.what,
        devices=tuple(message.devices),
        samples=message.samples,
        auto=message.auto_capture,
        pose=message.pose,
        poses=message.poses,
        show_next=message.show_next,
        message=message.message,
        pictures={view.camera: pictures[view.camera] for view in message.views if view.camera in pictures},
    )


class Cameras:
    """The newest live image of every camera, of an open calibration session what it sees and, where wanted, the
    predicted frames; images while subscribed."""

    def __init__(self, node: Node, predicted: bool) -> None:
        self._node = node
        self._subscriptions: dict[str, list[Any]] = {}  # by stream
        self._live: dict[str, tuple[int, ImageArray]] = {}
        self._video: defaultdict[str, deque[tuple[int, ImageArray]]] = defaultdict(lambda: deque(maxlen=_VIDEO))
        self._session: dict[str, ImageArray] = {}
        self._streams: dict[str, tuple[Callable[[str, Image], None], dict[str, Any]]] = {
            "image_raw": (self._take_live, self._live),
            _SESSION: (self._take_session, self._session),
        }
        self._calibration = Newest(node, "calibration/state")
        if predicted:
            self._streams["predicted"] = self._take_predicted, self._video

    def close(self) -> None:
        self.subscribe(False)
        self._calibration.close()

    @property
    def images(self) -> dict[str, ImageArray]:
        return {name: image for name, (_, image) in self._live.items()}

    @property
    def calibration(self) -> Calibration | None:
        """The session that is open; of the pictures those of its own cameras."""
        message = self._in_session()
        return None if message is None else _calibration(message, self._session)

    def _in_session(self) -> CalibrationState | None:
        message: CalibrationState | None = self._calibration.fresh(time.monotonic_ns())
        return None if message is None or message.phase == CalibrationPhase.IDLE else message

    def subscribe(self, watched: bool) -> None:
        """To what somebody looks at; a session's pictures are there while it is open."""
        calibrating = self._in_session() is not None
        for stream, (take, kept) in self._streams.items():
            wanted = watched and (calibrating or stream != _SESSION)
            if wanted == (stream in self._subscriptions):
                continue
            for subscription in self._subscriptions.pop(stream, ()):
                self._node.destroy_subscription(subscription)
            kept.clear()
            if wanted:
                self._subscriptions[stream] = [self._open(name, stream, take) for name in CAMERAS]

    def _open(self, name: str, stream: str, take: Callable[[str, Image], None]) -> Any:
        row = topic(f"{name}/{stream}")
        return self._node.create_subscription(message_type(row), row.name, lambda m: take(name, m), QOS[row.qos])

    def _take_live(self, name: str, message: Image) -> None:
        self._live[name] = (convert.time_ns(message.header.stamp), convert.image(message))

    def _take_session(self, name: str, message: Image) -> None:
        self._session[name] = convert.image(message)

    def _take_predicted(self, name: str, message: Image) -> None:
        frames, stamp_ns = self._video[name], convert.time_ns(message.header.stamp)
        if frames and stamp_ns <= frames[-1][0]:  # another video begins
            frames.clear()
        frames.append((stamp_ns, convert.image(message)))

    def predicted(self, waiting_ns: int = 0) -> dict[str, ImageArray]:
        """For every camera that has a prediction the frame whose moment is nearest to the live image's.

        While a chunk waits for a person, of an observation at `waiting_ns`, its video goes round instead.
        """
        chosen = {}
        for name, frames in self._video.items():
            shown = [frame for frame in frames if frame[0] >= waiting_ns]
            if shown:
                now = self._live[name][0] if name in self._live else shown[-1][0]
                if waiting_ns:
                    now = waiting_ns + time.monotonic_ns() % (shown[-1][0] - waiting_ns + _PAUSE_NS)
                chosen[name] = min(shown, key=lambda frame: abs(frame[0] - now))[1]
        return chosen


def recorder(message: RecorderState | None) -> Recorder | None:
    """What the page shows of it."""
    if message is None:
        return None
    streams = zip(message.streams, message.rates, message.dropped, strict=True)
    return Recorder(
        phase=Phase(message.state),
        task=message.task,
        operator=message.operator_name,
        episode=message.episode,
        duration=message.duration,
        saved=message.saved,
        rejected=message.rejected,
        message=message.message,
        problems=tuple(message.problems),
        streams=tuple(StreamRate(name, rate, _nominal(name), lost) for name, rate, lost in streams),
        skew=message.skew,
        tags=message.tags,
        confidence=message.confidence,
        tare_drift=message.tare_drift,
        disk_free=message.disk_free,
    )


class Buttons:
    """Calls of services of one node and one kind; they are pressed in the page's own threads."""

    def __init__(self, node: Node, server: str, names: Sequence[str], kind: type = Trigger) -> None:
        self._node = node
        self._server, self._kind = server, kind
        self._clients = {name: node.create_client(kind, f"{server}/{name}") for name in names}

    def __getitem__(self, name: str) -> Callable[..., str]:
        """What the button does with the request's fields: returns the service's answer.

        Raises DeviceError when it refuses or is silent.
        """
        return lambda **fields: self._press(name, fields)

    def _press(self, name: str, fields: Mapping[str, Any]) -> str:
        client = self._clients[name]
        if not client.service_is_ready():
            raise DeviceError(f"the {self._server} offers no service {client.srv_name}; is it running?")
        answered = threading.Event()
        future = client.call_async(self._kind.Request(**fields))
        future.add_done_callback(lambda _: answered.set())
        if not answered.wait(_ANSWER_TIMEOUT):
            raise DeviceError(f"{client.srv_name} did not answer within {_ANSWER_TIMEOUT} s")
        response = future.result()
        if not response.success:
            raise DeviceError(response.message)
        self._node.get_logger().info(f"{name}: {response.message}")
        return str(response.message)

    def close(self) -> None:
        while self._clients:
            self._node.destroy_client(self._clients.popitem()[1])
