"""The one exception family of Kinema. Every message says what was wrong, where, and what is allowed."""


class KinemaError(Exception):
    """Base of all errors that Kinema raises on purpose; `fault` is the id of the FAULTS row it belongs to, or ''."""

    fault = ""


class ChunkError(KinemaError):
    """An action chunk that may not be played: malformed (FAULTS F02) where `fault` says nothing else."""

    fault = "F02"


class NonFiniteChunkError(ChunkError):
    """A chunk that holds NaN or infinity somewhere (FAULTS F01)."""

    fault = "F01"


class ConfigError(KinemaError):
    """A configuration file that may not be used (FAULTS F22): names file, key and what is allowed."""

    fault = "F22"


class CalibrationError(KinemaError):
    """A calibration file that is missing, too old or for another device (FAULTS F23)."""

    fault = "F23"


class CheckpointError(KinemaError):
    """A checkpoint that can't be used, or can't be used here (FAULTS F07): names the folder and what is wrong."""

    fault = "F07"


class EngineError(KinemaError):
    """An engine that can't be built, can't be used, or doesn't compute what it should (FAULTS F07)."""

    fault = "F07"


class ForeignEngineError(EngineError):
    """An engine that was built for another GPU or another version of TensorRT (FAULTS F08): names both."""

    fault = "F08"


class ObservationError(KinemaError):
    """An observation that a policy can't act on: names what it holds and what the policy needs."""


class NoPlanError(ObservationError):
    """A policy has looked, and what it makes of what it sees is nothing that it could do: says why, and what to try."""


class DecisionError(KinemaError):
    """A decision on a chunk that does not wait for one: names what waits."""


class EpisodeError(KinemaError):
    """An episode that can't be written, read or repaired: names the folder and what is wrong with it."""


class DeviceError(KinemaError):
    """A device that is absent, silent, or owned by somebody else."""


class OwnershipError(DeviceError):
    """A second source of commands, or a second opener of a device (FAULTS F21): names the owner."""

    fault = "F21"


class SimulationError(KinemaError):
    """The physics left the numbers it can be trusted in (FAULTS F28)."""

    fault = "F28"


class RecordingError(KinemaError):
    """A recording that may not begin, or cannot go on (FAULTS F25): says what is missing and the remedy."""


class TrackingError(KinemaError):
    """A tracker that can't work on what it was given, or whose program fails: says what is wrong and what is needed."""


class PlanError(KinemaError):
    """A path that no arm can follow, or may: says when, why, and what is allowed."""


class TrainingError(KinemaError):
    """A training that may not begin, or can't go on: says what is wrong and what to give instead."""


class BenchmarkError(KinemaError):
    """A benchmark's own environment that is absent, of another version, or has ended: says which command makes it."""
