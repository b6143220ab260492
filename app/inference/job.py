"""Messages between the engine and the child that runs one variant: length-prefixed MessagePack in both directions."""

from __future__ import annotations

import struct
from typing import IO

import msgspec

from app.inference.tensor_spec import TensorSpec
from app.records.local import Fidelity, Placement, Scenario

_HEAD = struct.Struct("<I")
_MAX_MESSAGE_BYTES = 2**30


class SessionSettings(msgspec.Struct, frozen=True):
    """Configuration of ONNX Runtime.

    `axes` maps symbolic axes to lengths; `devices` are ordinals of GPUs as the child sees them, with one session each.
    `cached_model_path` is where the optimized model is read from, or written to if it does not exist; `engine_folder`
    is where TensorRT caches its engines.
    """

    threads: int = 1
    spinning: bool = False
    arena: bool = True
    io_binding: bool = False
    cuda_graph: bool = False
    axes: dict[str, int] = {}
    devices: tuple[int, ...] = (0,)
    cached_model_path: str | None = None
    engine_folder: str | None = None


class VariantJob(msgspec.Struct, frozen=True, kw_only=True):
    """A variant to open. `reference` is an .npz file with the `outputs` of the fp32 reference for the first rows."""

    model: str
    provider: str
    batch: int
    settings: SessionSettings = SessionSettings()
    rows: str | None = None
    label: str | None = None
    output: str | None = None
    """Output that labels are compared with; `None` if there is only one candidate."""
    unscored_rows: int = 0
    """Number of labeled rows, spread over the set, that calibrated a variant; they are excluded from every score."""
    reference: str | None = None
    memory_limit_bytes: int | None = None


class Measure(msgspec.Struct, frozen=True, kw_only=True, tag="measure"):
    """Command to run one scenario.

    The warm-up lasts until three windows agree, at most `max_warmup_s`. The measurement then lasts at least
    `min_duration_s`, until the interval's half-width is at most `half_width` and there are `min_calls` calls, at most
    `max_duration_s`. The server scenario always lasts `max_duration_s`, at `rate_per_s`.
    """

    scenario: Scenario
    batch: int
    streams: int
    min_duration_s: float
    max_duration_s: float
    half_width: float
    min_calls: int
    max_warmup_s: float
    rate_per_s: float | None = None
    seed: int = 7


class ComputeOutputs(msgspec.Struct, frozen=True, kw_only=True, tag="outputs"):
    """Command to return the first output for the first `rows` rows, as a reference for other variants."""

    rows: int


class Score(msgspec.Struct, frozen=True, kw_only=True, tag="score"):
    """Command to return the score of every labeled row."""


Command = Measure | ComputeOutputs | Score


class Opened(msgspec.Struct, frozen=True, kw_only=True, tag="opened"):
    """Report of an opened variant.

    `start_ns` is the time of the program's first line; `first_inference_ms` is measured at the variant's batch size.
    """

    start_ns: int
    library_load_ms: float
    session_build_ms: float
    first_inference_ms: float
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    runtime_version: str
    provider_used: str
    provider_reason: str | None
    placements: tuple[Placement, ...]
    notes: tuple[str, ...] = ()


class MeasurementStarted(msgspec.Struct, frozen=True, kw_only=True, tag="measurement_started"):
    """Report that the warm-up is over: calls that begin at or after `start_ns` count."""

    start_ns: int
    warmup_windows: int
    is_stationary: bool


class CallRows(msgspec.Struct, frozen=True, tag="calls"):
    """Report of calls: rows in the packed form of `app.records.calls`."""

    packed: bytes


class VariantMeasured(msgspec.Struct, frozen=True, kw_only=True, tag="measured"):
    """Report that a scenario has ended."""

    end_ns: int
    half_width: float | None
    peak_memory_bytes: int | None
    fidelity: Fidelity | None
    """Agreement with the reference outputs; `None` without a reference or comparable outputs."""


class Outputs(msgspec.Struct, frozen=True, kw_only=True, tag="given"):
    """Report with the requested outputs."""

    dtype: str
    shape: tuple[int, ...]
    content: bytes


class Scored(msgspec.Struct, frozen=True, kw_only=True, tag="scored"):
    """Report with the scores of all labeled rows, as 64-bit floats."""

    metric: str
    scores: bytes
    chance_accuracy: float | None = None
    """Accuracy of always predicting the most frequent class; `None` for amounts, or if there is only one class."""


class VariantFailed(msgspec.Struct, frozen=True, kw_only=True, tag="failed"):
    """Report of the error that ended the variant, with the exit code that a user would see."""

    message: str
    hint: str | None
    exit_code: int


Report = Opened | MeasurementStarted | CallRows | VariantMeasured | Outputs | Scored | VariantFailed

_encode = msgspec.msgpack.Encoder().encode
_commands: msgspec.msgpack.Decoder[Command] = msgspec.msgpack.Decoder(Command)
_reports: msgspec.msgpack.Decoder[Report] = msgspec.msgpack.Decoder(Report)


def write_message(stream: IO[bytes], message: Command | Report) -> None:
    body = _encode(message)
    stream.write(_HEAD.pack(len(body)) + body)
    stream.flush()


def read_command(stream: IO[bytes]) -> Command | None:
    """Return the next command; `None` if the other side has closed the stream."""
    body = _read_body(stream)
    return None if body is None else _commands.decode(body)


def read_report(stream: IO[bytes]) -> Report | None:
    """Return the next report; `None` if the child has exited, even within a message. Raises msgspec.DecodeError if
    invalid.
    """
    body = _read_body(stream)
    return None if body is None else _reports.decode(body)


def _read_body(stream: IO[bytes]) -> bytes | None:
    head = stream.read(_HEAD.size)
    if len(head) < _HEAD.size:
        return None
    (size,) = _HEAD.unpack(head)
    if size > _MAX_MESSAGE_BYTES:
        raise msgspec.DecodeError(f"a message of {size} bytes")
    body = stream.read(size)
    return body if len(body) == size else None
