"""What the monitor's pages show of the recorder: a card with its state, and a table of its streams. Knows no ROS."""

import html
from dataclasses import dataclass
from pathlib import PurePath

from kinema.apps.monitor_parts import WORST, card
from kinema.episodes.quality import LIMITS
from kinema.episodes.session import CONFIDENT, Phase, trouble

_IDLE, _MISSING, _RECORDING, _SAVING = "#1c6fb5", "#b36b00", "#c92a2a", "#5c6370"
_TAGS, _CONFIDENCE = 2, 3  # the most there are
_LITTLE_DISK = 5e9  # [bytes] below which the number turns red


@dataclass(frozen=True, slots=True)
class StreamRate:
    """A topic's rate and nominal rate [Hz], and how many of its messages were not written."""

    topic: str
    rate: float
    nominal: float
    dropped: int


@dataclass(frozen=True, slots=True)
class Recorder:
    """What the recorder says of itself; SI units, as in kinema_interfaces/RecorderState."""

    phase: Phase
    task: str
    operator: str
    episode: str
    duration: float
    saved: int
    rejected: int
    message: str
    problems: tuple[str, ...]
    streams: tuple[StreamRate, ...]
    skew: float
    tags: int
    confidence: int
    tare_drift: float
    disk_free: float

    @property
    def line(self) -> str:
        """State, time and episode in a line."""
        if self.phase is Phase.RECORDING:
            return f"recording for {self.duration:.0f} s: {PurePath(self.episode).name}"
        return f"{self.phase.name.lower()}, {self.saved} saved, {self.rejected} of them rejected"


def _headline(r: Recorder) -> tuple[str, str, str]:
    """Colour, headline and explanation."""
    if r.phase is Phase.RECORDING:
        return (
            _RECORDING,
            f"● REC  {int(r.duration) // 60}:{r.duration % 60:04.1f}",
            "press Stop, or squeeze the jaw twice quickly",
        )
    if r.phase is Phase.SAVING:
        return _SAVING, "SAVING", "the episode is written and judged"
    if r.problems:
        return _MISSING, "NOT READY", "; ".join(r.problems)
    return _IDLE, "READY", "press Start, or squeeze the jaw twice quickly"


def status(r: Recorder | None, outcome: str, stale: tuple[str, ...]) -> str:
    """The card at the top of the page; `outcome`: what the scenario says, '' outside of the virtual cell."""
    rows = (
        {}
        if r is None
        else {
            "Task": r.task or "-",
            "Operator": r.operator or "-",
            "Episode": str(PurePath(*PurePath(r.episode).parts[-2:])) if r.episode else "-",
            "Saved": f"{r.saved}, {r.rejected} of them rejected",
        }
    )
    if r is not None and r.message:
        rows["Last"] = r.message
    if outcome:
        rows["Outcome"] = outcome
    if stale:
        rows["Silent"] = ", ".join(stale)
    if r is None:
        return card(_SAVING, "NO CONTACT", "the recorder is silent", rows, ("Silent",))
    alarming = ("Silent", "Last") if trouble(r.message) else ("Silent",)
    return card(*_headline(r), rows, alarming)


def _cell(text: str, bad: bool, align: str = "right") -> str:
    looks = f"color:{WORST};font-weight:700" if bad else "color:inherit"
    return f'<td style="padding:1px 6px 1px 0;text-align:{align};{looks}">{html.escape(text)}</td>'


def quality(r: Recorder | None) -> str:
    """Rates of every stream, and what decides whether an episode can be used."""
    if r is None:
        return ""
    rows = [
        "<tr>"
        + _cell(s.topic, False, "left")
        + _cell(
            f"{s.rate:.0f} of {s.nominal:.0f} Hz" if s.nominal else f"{s.rate:.1f} Hz", s.rate < LIMITS.rate * s.nominal
        )
        + _cell(f"{s.dropped} lost" if s.dropped else "", s.dropped > 0)
        + "</tr>"
        for s in r.streams
    ]
    numbers = (
        ("camera skew", f"{1e3 * r.skew:.1f} ms", r.skew > LIMITS.skew),
        ("tags in view", f"{r.tags} of {_TAGS}", r.tags == 0),
        ("tracker's confidence", f"{r.confidence} of {_CONFIDENCE}", r.confidence < CONFIDENT),
        ("unloaded load cell", f"{r.tare_drift:+.2f} N", abs(r.tare_drift) > LIMITS.tare),
        ("disk left", f"{r.disk_free / 1e9:.1f} GB", r.disk_free < _LITTLE_DISK),
    )
    rows += [f"<tr>{_cell(name, False, 'left')}{_cell(text, bad)}<td></td></tr>" for name, text, bad in numbers]
    return (
        '<div style="padding:2px 10px 6px;font-size:12px;line-height:1.35"><table style="width:100%;'
        f'border-collapse:collapse;font-variant-numeric:tabular-nums">{"".join(rows)}</table></div>'
    )
