"""Messages between the parent process and the child process that runs one variant: length-prefixed
MessagePack in both directions."""

from __future__ import annotations

import struct
from typing import IO

import msgspec

from app.inference.tensor_spec import TensorSpec
from app.records.local import Fidelity, Placement, Scenario

_HEADER = struct.Struct("<I")
_MAX_MESSAGE_BYTES = 2**30


class SessionSettings(msgspec.Struct, frozen=True):
    """Configuration of ONNX Runtime.

    `axes` maps symbolic axes to lengths; `devices` are GPU ordinals as visible to the child
    process, with one session per device. `cached_model_path` is the path of the optimized model,
    which is read if it exists and written otherwise; `engine_folder` is the folder in which
    TensorRT caches its engines."""

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
    """A variant to open. `reference` is the path of an .npz file whose array `outputs` contains the
    outputs of the fp32 reference for the first rows."""

    model: str
    provider: str
    batch: int
    settings: SessionSettings = SessionSettings()
    rows: str | None = None
    label: str | None = None
    output: str | None = None
    """Name of the output that is compared with the labels; `None` if there is only one
    candidate."""
    unscored_rows: int = 0
    """Number of labeled rows, spread over the set, that were used for calibration and are excluded
    from all scores."""
    reference: str | None = None
    memory_limit_bytes: int | None = None


class Measure(msgspec.Struct, frozen=True, kw_only=True, tag="measure"):
    """Command to run one scenario.

    The warm-up ends when the medians of three windows agree, at the latest after `max_warmup_s`.
    The measurement then takes at least `min_duration_s`, until there are `min_calls` calls and the
    95 % confidence interval of the mean has a relative half-width of at most `half_width`, but at
    most `max_duration_s`. The server scenario always takes `max_duration_s`, at `rate_per_s`."""

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
    """Command to return the first output for the first `rows` rows, as a reference for other
    variants."""

    rows: int


class Score(msgspec.Struct, frozen=True, kw_only=True, tag="score"):
    """Command to return the score of each labeled row."""


Command = Measure | ComputeOutputs | Score


class VariantOpened(msgspec.Struct, frozen=True, kw_only=True, tag="opened"):
    """Report of an opened variant.

    `start_ns` is the time at which the first line of the child's program ran; `first_inference_ms`
    is measured at the batch size of the variant."""

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
    """Report that the warm-up has finished. The measurement includes the calls that begin at or
    after `start_ns`."""

    start_ns: int
    warmup_windows: int
    is_stationary: bool


class CallRows(msgspec.Struct, frozen=True, tag="calls"):
    """Report of new calls, as rows in the packed format of `app.records.calls`."""

    packed: bytes


class VariantMeasured(msgspec.Struct, frozen=True, kw_only=True, tag="measured"):
    """Report that a scenario has ended.

    `half_width` is the relative half-width of the 95 % confidence interval of the mean service
    time; `None` if there were too few calls to estimate it."""

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


class VariantScored(msgspec.Struct, frozen=True, kw_only=True, tag="scored"):
    """Report with the scores of all labeled rows, as 64-bit floats."""

    metric: str
    scores: bytes
    chance_accuracy: float | None = None
    """Accuracy of always predicting the most frequent class; `None` for continuous values, or if
    there is only one class."""


class VariantFailed(msgspec.Struct, frozen=True, kw_only=True, tag="failed"):
    """Report of the error that ended the variant, with the exit code of Sizewise for this error."""

    message: str
    hint: str | None
    exit_code: int


Report = VariantOpened | MeasurementStarted | CallRows | VariantMeasured | Outputs | VariantScored | VariantFailed

_encode = msgspec.msgpack.Encoder().encode
_command_decoder: msgspec.msgpack.Decoder[Command] = msgspec.msgpack.Decoder(Command)
_report_decoder: msgspec.msgpack.Decoder[Report] = msgspec.msgpack.Decoder(Report)


def write_message(stream: IO[bytes], message: Command | Report) -> None:
    body = _encode(message)
    stream.write(_HEADER.pack(len(body)) + body)
    stream.flush()


def read_command(stream: IO[bytes]) -> Command | None:
    """Return the next command; `None` if the parent has closed the stream."""
    body = _read_body(stream)
    return None if body is None else _command_decoder.decode(body)


def read_report(stream: IO[bytes]) -> Report | None:
    """Return the next report; `None` if the child has exited, even within a message. Raises
    msgspec.DecodeError if the report is invalid."""
    body = _read_body(stream)
    return None if body is None else _report_decoder.decode(body)


def _read_body(stream: IO[bytes]) -> bytes | None:
    header = stream.read(_HEADER.size)
    if len(header) < _HEADER.size:
        return None
    (size,) = _HEADER.unpack(header)
    if size > _MAX_MESSAGE_BYTES:
        raise msgspec.DecodeError(f"a message has {size} bytes, above the maximum of {_MAX_MESSAGE_BYTES}")
    body = stream.read(size)
    return body if len(body) == size else None
