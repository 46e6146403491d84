"""The gate on the graph: shows the chunk that waits, and serves `approve` and `reject`.

`kinema.control.approval` decides what may go on; the core plays nothing else in a run that asks for approval.
"""

from collections.abc import Callable

from kinema_interfaces.msg import Proposal
from kinema_interfaces.srv import Decide

from impedance_executor import messages
from impedance_executor.clickable import Clickable
from kinema.chunk import ActionChunk
from kinema.control.approval import Gate
from kinema.control.messages import Event, PlayChunk, RejectObservation
from kinema_ros import convert
from kinema_ros.node import Node, Outlet

_PATH = "proposed_path"  # namespace of its marker
_DECISIONS = {"approve": Gate.approve, "reject": Gate.reject}

Answer = PlayChunk | RejectObservation


class Approval:
    """The one place through which chunks reach the core where a person has to approve them.

    path    where markers go
    record  takes events for the audit log; send takes what the core is to be answered
    """

    def __init__(
        self,
        node: Node,
        patience: float,
        path: Outlet,
        record: Callable[[list[Event]], None],
        send: Callable[[Answer], None],
    ) -> None:
        self.patience = patience
        self._gate, self._t_ns = Gate(patience), 0
        self._path, self._record, self._send = path, record, send
        self._proposal = node.outlet("executor/proposal")
        self._clickable = Clickable(node, self._decide)
        node.serve(Decide, "~/approve", lambda request, response: self._decide("approve", request.chunk))
        node.serve(Decide, "~/reject", lambda request, response: self._decide("reject", request.chunk))

    def propose(self, chunk: ActionChunk, request: int, t_ns: int) -> None:
        """Let a chunk wait for a person, and show where it leads; raises ChunkError for what can't be played."""
        self._gate.propose(chunk, request, t_ns)
        self._tell(t_ns, "chunk_proposed", chunk.id, f"chunk {chunk.id} waits for a person")
        self._path.publish(messages.path(chunk, _PATH))
        self.show()

    def follow(self, request: int, t_ns: int) -> None:
        """Once for every look at the loop: what waits goes when the core's request does, or when nobody decides."""
        self._t_ns = t_ns
        waiting = self._gate.waiting
        late = self._gate.follow(request, t_ns)
        if waiting is None or self._gate.waiting is not None:
            return
        self._tell(t_ns, "chunk_declined", waiting.chunk.id, late.reason if late else "it is no longer wanted")
        self.show()
        if late is not None:
            self._send(late)

    def show(self) -> None:
        """Say what waits, or that nothing does; then its path goes, too."""
        waiting = self._gate.waiting
        if waiting is None:
            self._proposal.publish(Proposal())
            self._path.publish(messages.no_path(_PATH))
            self._clickable.hide()
            return
        self._clickable.show(waiting.chunk)
        self._proposal.publish(
            Proposal(
                header=convert.header(waiting.chunk.t0_ns),
                waiting=True,
                chunk=waiting.chunk.id,
                policy=waiting.chunk.policy,
                until=convert.time_msg(waiting.until_ns),
            )
        )

    def _decide(self, decision: str, chunk: int) -> str:
        answer: Answer = _DECISIONS[decision](self._gate, chunk)
        self.show()
        approved = isinstance(answer, PlayChunk)
        self._tell(self._t_ns, "chunk_approved" if approved else "chunk_declined", chunk, "by a person")
        self._send(answer)
        return f"chunk {chunk} {'goes to the control loop' if approved else 'is dropped, another one is asked for'}"

    def _tell(self, t_ns: int, kind: str, chunk: int, text: str) -> None:
        self._record([Event(t_ns, kind, text, data={"chunk": chunk})])
