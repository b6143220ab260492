"""What is said between the engine and the child that runs one variant: length-prefixed MessagePack, both ways."""

from __future__ import annotations

import struct
from typing import IO

import msgspec

from app.inference.tensor_spec import TensorSpec
from app.records.local import Fidelity, Placement, Scenario

_HEAD = struct.Struct("<I")
_MOST_BYTES = 2**30


class SessionSettings(msgspec.Struct, frozen=True):
    """How ONNX Runtime is set up. `axes` gives lengths to symbolic axes; `devices` are ordinals of GPUs as the child
    sees them, one session each.

    `kept_model` is where the optimised model is written, or read where it is there already; `engine_folder` is where
    TensorRT keeps its engines.
    """

    threads: int = 1
    spinning: bool = False
    arena: bool = True
    io_binding: bool = False
    cuda_graph: bool = False
    axes: dict[str, int] = {}
    devices: tuple[int, ...] = (0,)
    kept_model: str | None = None
    engine_folder: str | None = None


class VariantJob(msgspec.Struct, frozen=True, kw_only=True):
    """One variant to be opened. `reference` is an .npz of `outputs` that the fp32 reference gave for the first rows."""

    model: str
    provider: str
    batch: int
    settings: SessionSettings = SessionSettings()
    rows: str | None = None
    label: str | None = None
    output: str | None = None
    """The output that labels are compared with; None where it is clear which."""
    unscored_rows: int = 0
    """So many labelled rows, spread over the set, calibrated a variant: none is scored by them."""
    reference: str | None = None
    memory_limit_bytes: int | None = None


class Measure(msgspec.Struct, frozen=True, kw_only=True, tag="measure"):
    """Run one scenario: warm up until three windows agree, `warmup_most_s` at most; then at least `least_s`, until the
    interval's half-width is at most `half_width` and there are `least_calls`, `most_s` at most. The server scenario
    takes `most_s` whole, at `rate_per_s`."""

    scenario: Scenario
    batch: int
    streams: int
    least_s: float
    most_s: float
    half_width: float
    least_calls: int
    warmup_most_s: float
    rate_per_s: float | None = None
    seed: int = 7


class GiveOutputs(msgspec.Struct, frozen=True, kw_only=True, tag="outputs"):
    """The first output of the first `rows` rows, for others to be held against."""

    rows: int


class Score(msgspec.Struct, frozen=True, kw_only=True, tag="score"):
    """Every labelled row's score."""


Command = Measure | GiveOutputs | Score


class Opened(msgspec.Struct, frozen=True, kw_only=True, tag="opened"):
    """`begun_ns` is when the program's first line ran; `first_inference_ms` is of the variant's own batch."""

    begun_ns: int
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


class Began(msgspec.Struct, frozen=True, kw_only=True, tag="began"):
    """The warm-up is over: calls begun from `start_ns` on count."""

    start_ns: int
    warmup_windows: int
    has_settled: bool


class Calls(msgspec.Struct, frozen=True, tag="calls"):
    """Rows in the packed form of `app.records.calls`."""

    packed: bytes


class VariantMeasured(msgspec.Struct, frozen=True, kw_only=True, tag="measured"):
    end_ns: int
    half_width: float | None
    peak_memory_bytes: int | None
    fidelity: Fidelity | None
    """None without a reference, or where no output could be held against it."""


class Outputs(msgspec.Struct, frozen=True, kw_only=True, tag="given"):
    dtype: str
    shape: tuple[int, ...]
    content: bytes


class Scored(msgspec.Struct, frozen=True, kw_only=True, tag="scored"):
    """`scores` are 64-bit floats, one a labelled row."""

    metric: str
    scores: bytes
    chance: float | None = None
    """The share that the most frequent class alone would score; None of amounts, or where there is but one class."""


class VariantFailed(msgspec.Struct, frozen=True, kw_only=True, tag="failed"):
    """Why it goes on no further, with the exit code that a user would see."""

    message: str
    hint: str | None
    exit_code: int


Report = Opened | Began | Calls | VariantMeasured | Outputs | Scored | VariantFailed

_encode = msgspec.msgpack.Encoder().encode
_commands: msgspec.msgpack.Decoder[Command] = msgspec.msgpack.Decoder(Command)
_reports: msgspec.msgpack.Decoder[Report] = msgspec.msgpack.Decoder(Report)


def write_message(stream: IO[bytes], message: Command | Report) -> None:
    body = _encode(message)
    stream.write(_HEAD.pack(len(body)) + body)
    stream.flush()


def read_command(stream: IO[bytes]) -> Command | None:
    """The next one; None when the other side has gone."""
    body = _body(stream)
    return None if body is None else _commands.decode(body)


def read_report(stream: IO[bytes]) -> Report | None:
    """The next one; None when the child has gone, be it amid a message. Raises msgspec.DecodeError for nonsense."""
    body = _body(stream)
    return None if body is None else _reports.decode(body)


def _body(stream: IO[bytes]) -> bytes | None:
    head = stream.read(_HEAD.size)
    if len(head) < _HEAD.size:
        return None
    (size,) = _HEAD.unpack(head)
    if size > _MOST_BYTES:
        raise msgspec.DecodeError(f"a message of {size} bytes")
    body = stream.read(size)
    return body if len(body) == size else None
