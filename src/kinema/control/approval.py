"""Holds a chunk back until a person has decided on it. Pure: stamps come from the arm's records.

It stands between whatever sends chunks and the core, beside the orders: a policy can't pass it, and the core plays no
other chunks in a run that asks for approval (`StartPolicy.approval`).
"""

from dataclasses import dataclass

from kinema.chunk import ActionChunk, check_chunk
from kinema.clock import to_ns
from kinema.control.messages import PlayChunk, RejectObservation
from kinema.errors import DecisionError


@dataclass(frozen=True, slots=True)
class Proposal:
    """A chunk that waits, the request that it answers, and until when it does [ns, the arm's time]."""

    chunk: ActionChunk
    request: int
    until_ns: int


class Gate:
    """At most one chunk waits; a newer one takes its place. `patience` [s] is how long a person may look at it."""

    def __init__(self, patience: float) -> None:
        self.patience = patience
        self.waiting: Proposal | None = None

    def propose(self, chunk: ActionChunk, request: int, t_ns: int) -> Proposal:
        """Let a chunk wait; raises ChunkError for one that can't be shown, since it couldn't be played either."""
        check_chunk(chunk)
        self.waiting = Proposal(chunk, request, t_ns + to_ns(self.patience))
        return self.waiting

    def approve(self, chunk: int) -> PlayChunk:
        """What lets the chunk with this id go; raises DecisionError when another one waits, or none."""
        found = self._decide(chunk)
        return PlayChunk(found.chunk, found.request, approved=True)

    def reject(self, chunk: int) -> RejectObservation:
        """What asks for another one; raises DecisionError when another one waits, or none."""
        found = self._decide(chunk)
        return RejectObservation(found.request, f"chunk {chunk} was rejected by a person")

    def follow(self, request: int, t_ns: int) -> RejectObservation | None:
        """Drop what waits once the core has another request open, or none; what asks for another one, in time.

        Returns that order when the time is up, else None.
        """
        if self.waiting is None:
            return None
        if self.waiting.request != request:
            self.waiting = None
        elif t_ns >= self.waiting.until_ns:
            late, self.waiting = self.waiting, None
            text = f"nobody decided on chunk {late.chunk.id} within {self.patience:g} s"
            return RejectObservation(late.request, text)
        return None

    def _decide(self, chunk: int) -> Proposal:
        found = self.waiting
        if found is None or found.chunk.id != chunk:
            waits = "no chunk does" if found is None else f"chunk {found.chunk.id} does"
            raise DecisionError(f"chunk {chunk} does not wait for a decision; {waits}")
        self.waiting = None
        return found
