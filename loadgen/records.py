"""What crosses the pipe between the engine and a load worker.

The engine writes commands, the worker answers with reports and record batches. Each frame is a 4-byte little-endian
length, one kind byte, and the body: `M` for a msgpack message of this module, `R` for a serialised Arrow record batch
of `REQUEST_SCHEMA` (at most 500 rows). All times are CLOCK_MONOTONIC nanoseconds (`time.perf_counter_ns`).
"""

from __future__ import annotations

from typing import Literal

import msgspec
import pyarrow as pa

ERROR_CLASSES = (
    "dns", "connect", "tls", "send", "http-4xx", "http-5xx", "timeout", "truncated", "bad-payload", "bad-output",
)  # fmt: skip
"""`send`: the connection was lost before any byte of an answer; `truncated`: after some; `bad-payload`: the answer is
not what the protocol promises; `bad-output`: it is well formed and wrong."""

REQUEST_SCHEMA = pa.schema(
    [
        ("stage", pa.int32()),
        ("index", pa.int64()),
        ("intended_ns", pa.int64()),
        ("sent_ns", pa.int64()),
        ("first_byte_ns", pa.int64()),
        ("end_ns", pa.int64()),
        ("status", pa.int16()),
        ("error", pa.utf8()),
        ("bytes_received", pa.int32()),
        ("reused", pa.bool_()),
        ("right", pa.int32()),
    ],
    metadata={"sizewise.requests": "1"},
)
"""One row an arrival that came due; a stage stopped early has none for the rest. An arrival never started has no
`sent_ns`; one whose connection failed has the time the connection was asked for. A success has no `error`; a request
cut off, started or not, by the end of its stage's drain is a `timeout`. `index` counts the stage's arrivals in their
intended order, from 0. `right`: rows of the request whose arg max is their label, null when they were not judged."""

BATCH_ROWS = 500


class Timeouts(msgspec.Struct, frozen=True):
    """`idle_s`: no byte of an answer for so long; `total_s`: from the send to the end of the answer."""

    connect_s: float = 5.0
    idle_s: float = 30.0
    total_s: float = 60.0


class Tls(msgspec.Struct, frozen=True):
    verify: bool = True
    ca_file: str | None = None


class HttpWorkload(msgspec.Struct, frozen=True, tag="http"):
    """Plain HTTP: each body in turn is one request; no bodies means one request without a body."""

    method: str = "GET"
    path: str | None = None
    """Replaces the path of the target's URL when given."""
    bodies: tuple[bytes, ...] = ()
    content_type: str | None = None


class OipWorkload(msgspec.Struct, frozen=True, tag="oip"):
    """Open Inference Protocol v2 over HTTP. Inputs come from an .npz of arrays named like the model's inputs, whose
    first axis is the row; without one they are made from the shapes in the model's metadata, seeded."""

    model: str
    tensors: str | None = None
    labels: str | None = None
    """Name of the .npz array with the right class of each row; the answer's arg max is held against it."""
    rows_per_request: int = 1
    binary: bool = True
    seed: int = 0


Workload = HttpWorkload | OipWorkload


class Endpoint(msgspec.Struct, frozen=True):
    """Where to send. Headers hold resolved secrets, so this record is never written to a file or a log."""

    url: str
    headers: tuple[tuple[str, str], ...] = ()
    tls: Tls = Tls()
    timeouts: Timeouts = Timeouts()
    max_connections: int = 2048


class StagePlan(msgspec.Struct, frozen=True):
    """Arrivals at one rate. After the last one the stage drains: until nothing is in flight, at most `drain_s`."""

    index: int
    name: str
    arrivals: Literal["poisson", "constant"]
    rate_per_s: float
    duration_s: float
    seed: int
    drain_s: float = 5.0
    max_requests: int | None = None


# commands, engine → worker


class Configure(msgspec.Struct, frozen=True, tag="configure"):
    endpoint: Endpoint
    workload: Workload


class Preflight(msgspec.Struct, frozen=True, tag="preflight"):
    """Send one request of the workload and tell how it went."""


class RunStage(msgspec.Struct, frozen=True, tag="run_stage"):
    plan: StagePlan


class StopStage(msgspec.Struct, frozen=True, tag="stop_stage"):
    """Start no more arrivals; drain (`drain` true) or cut what is in flight, and end the stage."""

    drain: bool


class Quit(msgspec.Struct, frozen=True, tag="quit"):
    """End the worker; so does the end of its standard input."""


Command = Configure | Preflight | RunStage | StopStage | Quit


# reports, worker → engine


class Ready(msgspec.Struct, frozen=True, tag="ready"):
    pid: int
    pacing: str
    """How the schedule is kept: "timerfd" or "sleep"."""
    event_loop: str


class PreflightDone(msgspec.Struct, frozen=True, tag="preflight_done"):
    """`error` is one of ERROR_CLASSES or None; `detail` is a sentence for the user, never holding a header's value."""

    error: str | None
    status: int | None
    detail: str
    service_ms: float | None


class StageStarted(msgspec.Struct, frozen=True, tag="stage_started"):
    index: int
    start_ns: int
    scheduled: int


class Progress(msgspec.Struct, frozen=True, tag="progress"):
    """Counts of the running stage, at most four a second; `intended` counts arrivals due so far."""

    index: int
    at_ns: int
    intended: int
    sent: int
    completed: int
    failed: int
    in_flight: int
    max_lag_ms: float


class StageEnded(msgspec.Struct, frozen=True, tag="stage_ended"):
    """Sent after the stage's last row. `never_started` arrivals have rows without `sent_ns`."""

    index: int
    start_ns: int
    end_ns: int
    scheduled: int
    never_started: int
    cpu_s: float
    """CPU the worker used between start and end."""
    connections_opened: int
    stopped_early: bool


class Failed(msgspec.Struct, frozen=True, tag="failed"):
    """The worker cannot go on. The target is at fault when `error`, one of ERROR_CLASSES, says so; what it was told to
    send, or where, when `is_workload_wrong`; else the worker itself."""

    message: str
    hint: str | None = None
    error: str | None = None
    is_workload_wrong: bool = False


Report = Ready | PreflightDone | StageStarted | Progress | StageEnded | Failed
