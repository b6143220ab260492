"""Messages between the parent process and the child process that runs one variant. Each message is
length-prefixed MessagePack."""

from __future__ import annotations

import struct
from typing import IO

import msgspec

from app.inference.tensor_spec import TensorSpec
from app.records.generation import BatchConsistency
from app.records.local import Fidelity, GenerationTest, Placement, Scenario

_HEADER = struct.Struct("<I")
_MAX_MESSAGE_BYTES = 2**30
MAX_REPETITION_S = 1800.0
"""Time in s after which the first repetition of a test of a language model is considered hung."""


class SessionSettings(msgspec.Struct, frozen=True):
    """Configuration of the ONNX Runtime sessions of a variant.

    `axes` maps names of dynamic axes to lengths. `devices` are GPU ordinals as visible to the child
    process, with one session per device. `cached_model_path` is the path of the optimized model,
    which is read if it exists and written otherwise. `engine_folder` is the folder in which
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
    """Description of a variant that a child process opens. `reference` is the path of an .npz file
    whose array `outputs` contains the outputs of the fp32 reference for the first rows."""

    model: str
    """Path of the model file, or of the folder of a language model."""
    provider: str
    batch: int
    settings: SessionSettings = SessionSettings()
    is_language_model: bool = False
    rows: str | None = None
    label: str | None = None
    output: str | None = None
    """Name of the model output that is compared with the labels; `None` if there is only one
    candidate."""
    unscored_rows: int = 0
    """Number of labeled rows that were used for calibration and are excluded from scoring. They are
    evenly spaced within the labeled rows."""
    reference: str | None = None
    memory_limit_bytes: int | None = None


class Measure(msgspec.Struct, frozen=True, kw_only=True, tag="measure"):
    """Command to run one scenario.

    The warm-up ends when the medians of three windows agree, at the latest after `max_warmup_s`.
    The measurement then takes between `min_duration_s` and `max_duration_s`. In between, it ends as
    soon as there are at least `min_calls` calls, and the 95 % confidence interval of the mean
    service time has a relative half-width of at most `half_width`. The server scenario instead
    generates arrivals at `rate_per_s` for `max_duration_s`."""

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
    test: GenerationTest | None = None
    """Test of the generation scenario. `min_calls` is then the minimum number of repetitions, and
    the other limits apply to the time of a repetition."""
    max_repetition_s: float = MAX_REPETITION_S


class ComputeOutputs(msgspec.Struct, frozen=True, kw_only=True, tag="outputs"):
    """Command to return the model's first output for the first `rows` rows, as a reference for
    other variants."""

    rows: int


class ScoreText(msgspec.Struct, frozen=True, kw_only=True, tag="text"):
    """Command to predict the first `max_tokens` tokens of a text file, in windows of
    `window_tokens` tokens, and to compare the greedy tokens at `batch` with those of each prompt
    alone."""

    path: str
    max_tokens: int
    window_tokens: int
    batch: int


class Score(msgspec.Struct, frozen=True, kw_only=True, tag="score"):
    """Command to return one score per labeled row."""


Command = Measure | ComputeOutputs | Score | ScoreText


class VariantOpened(msgspec.Struct, frozen=True, kw_only=True, tag="opened"):
    """Report that a variant has been opened.

    `start_ns` is the time at which the first line of the child process's program ran.
    `first_inference_ms` is measured at the batch size of the variant."""

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
    memory_bytes: int | None = None
    """Resident memory of the process after opening the model; `None` if not reported by this OS."""
    notes: tuple[str, ...] = ()


class MeasurementStarted(msgspec.Struct, frozen=True, kw_only=True, tag="measurement_started"):
    """Report that the warm-up has finished. The measurement includes all calls that begin at or
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
    """Agreement of the outputs with the reference outputs; `None` without a reference or without
    comparable outputs."""


class Outputs(msgspec.Struct, frozen=True, kw_only=True, tag="given"):
    """Report that contains the requested outputs of a model."""

    dtype: str
    shape: tuple[int, ...]
    content: bytes


class VariantScored(msgspec.Struct, frozen=True, kw_only=True, tag="scored"):
    """Report with one score per labeled row, as packed 64-bit floats."""

    metric: str
    scores: bytes
    chance_accuracy: float | None = None
    """Accuracy of always predicting the most frequent class; `None` for continuous values, or if
    there is only one class."""


class TextScored(msgspec.Struct, frozen=True, kw_only=True, tag="text_scored"):
    """Report with the predictions on a text, encoded as in
    `app.inference.generation.evaluation_files`. `consistency` is `None` at a batch of 1, and if
    the text is too short for different prompts."""

    scores: bytes
    consistency: BatchConsistency | None


class VariantFailed(msgspec.Struct, frozen=True, kw_only=True, tag="failed"):
    """Report of the error that ended the variant, with the exit code of Sizewise for this error."""

    message: str
    hint: str | None
    exit_code: int


Report = (
    VariantOpened
    | MeasurementStarted
    | CallRows
    | VariantMeasured
    | Outputs
    | VariantScored
    | TextScored
    | VariantFailed
)

_encode = msgspec.msgpack.Encoder().encode
_command_decoder: msgspec.msgpack.Decoder[Command] = msgspec.msgpack.Decoder(Command)
_report_decoder: msgspec.msgpack.Decoder[Report] = msgspec.msgpack.Decoder(Report)


def write_message(stream: IO[bytes], message: Command | Report) -> None:
    body = _encode(message)
    stream.write(_HEADER.pack(len(body)) + body)
    stream.flush()


def read_command(stream: IO[bytes]) -> Command | None:
    """Read the next command from the parent process. Return `None` if the parent has closed the
    stream."""
    body = _read_body(stream)
    return None if body is None else _command_decoder.decode(body)


def read_report(stream: IO[bytes]) -> Report | None:
    """Read the next report from the child process. Return `None` if the child has exited, even in
    the middle of a report. Raises msgspec.DecodeError if the report is invalid."""
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
