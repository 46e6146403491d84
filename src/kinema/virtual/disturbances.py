"""What one may ask a virtual controller's process to break, or to mend, and how it answers."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from kinema.errors import DeviceError
from kinema.wire import Codec, Server


@dataclass(frozen=True, slots=True)
class Disturb:
    """One of the controller's `DISTURBANCES`, by its name."""

    name: str


@dataclass(frozen=True, slots=True)
class Done:
    """What became of a Disturb."""

    success: bool
    message: str


DISTURB = Codec(Disturb, Done)


def serve(requests: Server, disturb: Callable[[str], None], known: Mapping[str, str]) -> None:
    """Answer the requests that have arrived; `known`: what each disturbance is, by its name."""
    while (packet := requests.receive()) is not None:
        try:
            request = DISTURB.decode(packet)
            disturb(request.name)
            answer = Done(True, known[request.name])
        except DeviceError as error:
            answer = Done(False, str(error))
        requests.send(DISTURB.encode(answer))
