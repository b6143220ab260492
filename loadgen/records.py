"""Messages and row schema of the pipe between the engine and a load worker.

The engine writes commands; the worker replies with reports and record batches. Each frame is a 4-byte little-endian
length, one kind byte, and the body: `M` for a msgpack message of this module, `RowType` for a serialized Arrow record
batch of `REQUEST_SCHEMA` (at most 500 rows). Several workers are gathered by a master, which represents them on that
pipe; master and workers communicate over Locust, in messages of type `command`, `report` and `rows` whose data is such
a body. All times are CLOCK_MONOTONIC nanoseconds (`time.perf_counter_ns`).
"""

from __future__ import annotations

from typing import Literal

import msgspec
import pyarrow as pa

from loadgen.workloads import Workload

ERROR_CLASSES = (
    "dns", "connect", "tls", "send", "http-4xx", "http-5xx", "timeout", "truncated", "bad-payload", "bad-output",
    "local-limit",
)  # fmt: skip
"""Classes of failed requests.

`send`: the connection was lost before any byte of a response; `truncated`: it was lost after some; `bad-payload`: the
response violates the protocol; `bad-output`: the response is well formed but wrong; `local-limit`: the load generator's
machine ran out of file descriptors, local ports, buffers or memory.
"""

NOT_STARTED = "not-started"
"""Used in place of an error class when an arrival that was never sent is reported."""

MAX_SAMPLE_CHARS = 300

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
        ("target", pa.int16()),
        ("name", pa.utf8()),
        ("first_token_ns", pa.int64()),
        ("first_output_ns", pa.int64()),
        ("last_token_ns", pa.int64()),
        ("tokens_in", pa.int32()),
        ("tokens_out", pa.int32()),
        ("tokens_from", pa.utf8()),
        ("chunk_ns", pa.list_(pa.int64())),
        ("chunk_tokens", pa.list_(pa.int32())),
        ("worker", pa.int16()),
        ("first_event_ns", pa.int64()),
        ("tokens_asked", pa.int32()),
    ],
    metadata={"sizewise.requests": "3"},
)
"""Schema of the request rows, one row per arrival that came due; a stage stopped early has no rows for the rest.

An arrival that was never started has no `sent_ns`; one whose connection failed has the time at which the connection was
requested. A successful request has no `error`. A request cut off by the end of its stage's drain, started or not, is a
`timeout`, and so is one that waited too long for a free connection. `index` counts the stage's requests in the order
they came due, from 0; the k-th of n workers counts k, k + n, k + 2n…, which is the global order of a schedule, but only
each worker's own order where responses determine the next arrival. `right`: number of rows of the request whose arg max
is their label, null when they were not checked. `target`: index of the endpoint's URL, from 0. `name`: the name that a
Locust test gives the request.

For streamed responses, `first_token_ns` is the time of the first delta that is not empty, `first_output_ns` of the
first that is not reasoning, and `last_token_ns` of the last that is not empty; `chunk_ns` has the times of all deltas
that are not empty, where deltas read together share one time; `chunk_tokens` has the number of tokens in each, null
where the server does not report it. `tokens_from` is the source of `tokens_out`: "server" (its usage), "tokenizer"
(counted here with the user's tokenizer) or "chunks" (each chunk counted as one token). `intended_ns` and
`first_byte_ns` are null where they are unknown: for a user's Locust test and for gRPC.

`worker`: index of the load worker that sent the request, from 0; the times are on the engine's clock for every worker.
`first_event_ns`: time of the first event of the stream that belongs to the API, including an empty delta or one with
only a role. `tokens_asked`: maximum number of output tokens that the request allowed.

History: 2 added `target` and all after it, and allows `intended_ns` to be null; 3 added `worker` and all after it.
"""

BATCH_ROWS = 500

WIRE_VERSION = 3
"""Version of the messages between master and workers, which must be the same on both sides. 2 added ExtendStage, 3
`local-limit`."""

EXIT_NO_MASTER, EXIT_MASTER_LOST, EXIT_SENT_AWAY = 3, 4, 5
"""Exit codes of a worker that serves a master: when it found none, when it lost it, and when the master dismissed it.
The reason is then the last line of its standard error."""


class Timeouts(msgspec.Struct, frozen=True):
    """Timeouts of a request, in seconds.

    `idle_s`: longest time without any byte of the response; `total_s`: from the send to the end of the response, and
    also the longest time that a request may wait for a free connection.
    """

    connect_s: float = 5.0
    idle_s: float = 30.0
    total_s: float = 60.0


class Tls(msgspec.Struct, frozen=True):
    """TLS settings. `cert_file` and `key_file` are the client's own, in PEM; the key may be in the certificate's
    file."""

    verify: bool = True
    ca_file: str | None = None
    cert_file: str | None = None
    key_file: str | None = None


class KeyFile(msgspec.Struct, frozen=True):
    """A header whose value is `prefix` and the single line of a file, which is read again when the endpoint responds
    with 401."""

    header: str
    path: str
    prefix: str = ""


Balance = Literal["round-robin", "least-outstanding", "power-of-two"]


class Endpoint(msgspec.Struct, frozen=True):
    """Target of the requests. Headers and proxy contain resolved secrets, so this record is never written to a file or
    a log.

    Several `urls` are replicas that share the requests according to `balance`; all have the same path. With
    `unix_socket` the one URL is used only in the requests, and the connection goes to the socket. `proxy` is a URL,
    with credentials if required.
    """

    urls: tuple[str, ...]
    headers: tuple[tuple[str, str], ...] = ()
    key_files: tuple[KeyFile, ...] = ()
    tls: Tls = Tls()
    timeouts: Timeouts = Timeouts()
    max_connections: int = 2048
    balance: Balance = "round-robin"
    unix_socket: str | None = None
    proxy: str | None = None
    reuses_connections: bool = True
    """False for a target that closes a connection after each response without having announced it."""


# Arrivals: when requests are sent


class OpenArrivals(msgspec.Struct, frozen=True, tag="open"):
    """Open-loop arrivals, which do not wait for responses: an arrival process whose rate follows a rate curve.

    `rates` are points (seconds from the stage's start, requests per second) joined by straight lines; two points at the
    same time are a jump. `cv` is the coefficient of variation of the gaps of `gamma`: 1 is Poisson, more is burstier.
    """

    process: Literal["constant", "poisson", "gamma"]
    rates: tuple[tuple[float, float], ...]
    cv: float = 1.0


class TraceArrivals(msgspec.Struct, frozen=True, tag="trace"):
    """Recorded start times, as little-endian int64 nanoseconds from the stage's start, in ascending order."""

    offsets_ns: bytes


class ClosedArrivals(msgspec.Struct, frozen=True, tag="closed"):
    """Closed-loop arrivals: `concurrency` clients that each send the next request `think_s` after the last response.

    `think_s` is the mean of an exponential distribution.
    """

    concurrency: int
    think_s: float = 0.0


Arrivals = OpenArrivals | TraceArrivals | ClosedArrivals


class StagePlan(msgspec.Struct, frozen=True):
    """Plan of one stage: arrivals for `lead_in_s` and then `duration_s`, without a break in between.

    The lead-in warms up the target; requests in flight at its end continue into the measured part. Its rows are those
    with an intended time before StageStarted.start_ns.

    After the last arrival the stage drains: it waits until nothing is in flight, for at most `drain_s`. Times of
    `arrivals` count from the start of the measured part; the first rate applies to the lead-in. The next request of a
    session or a client is started only before the end of the arrivals, not during the drain.
    """

    index: int
    name: str
    arrivals: Arrivals
    duration_s: float
    seed: int
    lead_in_s: float = 0.0
    drain_s: float = 5.0
    max_requests: int | None = None


class Share(msgspec.Struct, frozen=True):
    """Share of one of `of` workers in a stage.

    The worker sends arrivals `index`, `index` + `of`, … of the common schedule, and runs the corresponding clients of a
    closed loop.
    """

    index: int = 0
    of: int = 1


# Commands: engine → worker


class Join(msgspec.Struct, frozen=True, tag="join"):
    """First command to a worker that serves a master instead of its pipe, and the last command that it reads from the
    pipe.

    `token` is the secret that master and workers share. The ceilings are this worker's share of the calibrated capacity
    of its machine, in requests per second and in streamed chunks per second; None if unknown.
    """

    host: str
    port: int
    token: str
    wait_s: float = 60.0
    """Time limit in seconds for reaching the master."""
    capacity_per_s: float | None = None
    chunk_capacity_per_s: float | None = None


class Gather(msgspec.Struct, frozen=True, tag="gather"):
    """First command to a master: start `local` workers, and wait for `remote` more at `host` and `port` (0: any free
    port)."""

    local: int
    remote: int = 0
    host: str = "127.0.0.1"
    port: int = 0
    token: str = ""
    """Secret shared with the remote workers; if empty, one is generated for this run."""
    wait_s: float = 300.0


class Configure(msgspec.Struct, frozen=True, tag="configure"):
    endpoint: Endpoint
    workload: Workload


class Preflight(msgspec.Struct, frozen=True, tag="preflight"):
    """Command to send one request of the workload and report the result."""


class RunStage(msgspec.Struct, frozen=True, tag="run_stage"):
    """Command to prepare the stage and report `StagePrepared`; the stage starts at the time that `StartStage` gives."""

    plan: StagePlan
    share: Share = Share()


class StartStage(msgspec.Struct, frozen=True, tag="start_stage"):
    """Command to start the prepared stage.

    `start_ns` is the start of the measured part on the receiver's clock; it is late enough for the lead-in.
    """

    index: int
    start_ns: int


class StopStage(msgspec.Struct, frozen=True, tag="stop_stage"):
    """Command to start no more arrivals, drain requests in flight (or cut them if `drain` is false), and end the
    stage."""

    drain: bool


class ChangeRate(msgspec.Struct, frozen=True, tag="change_rate"):
    """Command to change the rate of the running stage's open arrivals from `at_ns` to its end."""

    rate_per_s: float
    at_ns: int


class ExtendStage(msgspec.Struct, frozen=True, tag="extend_stage"):
    """Command to set the duration of the running stage's measured part, from its start.

    Open arrivals continue at their current rate, and so do clients. It has no effect on a stage that has ended, already
    lasts longer, or replays a trace.
    """

    duration_s: float


class Quit(msgspec.Struct, frozen=True, tag="quit"):
    """Command to end the worker; the end of its standard input has the same effect. `why` is the reason for which a
    master dismisses a worker."""

    reason: str | None = None


class Ping(msgspec.Struct, frozen=True, tag="ping"):
    """Message of a master that is answered immediately; it shows that the worker is alive and what its clock reads."""

    sent_ns: int


Command = (
    Join | Gather | Configure | Preflight | RunStage | StartStage | StopStage | ChangeRate | ExtendStage | Ping | Quit
)


# Reports: worker → engine


class Hello(msgspec.Struct, frozen=True, tag="hello"):
    """First message of a worker to its master. `clock` identifies the clock it reads: workers with the same clock need
    no offset."""

    protocol_version: int
    host: str
    pid: int
    clock: str
    pacing: str
    event_loop: str
    capacity_per_s: float | None = None
    chunk_capacity_per_s: float | None = None


class Pong(msgspec.Struct, frozen=True, tag="pong"):
    """Reply to a ping. `sent_ns` is copied from the ping; `at_ns` is the time on the worker's clock at which the ping
    was read."""

    sent_ns: int
    at_ns: int


class Joining(msgspec.Struct, frozen=True, tag="joining"):
    """Report of a master that is still waiting for workers; sent when it starts waiting and for each worker that
    joins."""

    address: str
    joined: int
    expected: int


class LoadWorker(msgspec.Struct, frozen=True):
    """One of a master's workers. `is_local` is true if it was started by its master."""

    index: int
    host: str
    pid: int
    is_local: bool
    capacity_per_s: float | None = None
    chunk_capacity_per_s: float | None = None


class Ready(msgspec.Struct, frozen=True, tag="ready"):
    """Report that the worker or the master can accept work. `workers` is empty for a single worker without a master."""

    pid: int
    pacing: str
    """Mechanism that times the schedule: "timerfd", "sleep" or, for a user's own test, "locust"."""
    event_loop: str
    workers: tuple[LoadWorker, ...] = ()


class PreflightDone(msgspec.Struct, frozen=True, tag="preflight_done"):
    """Result of the preflight request.

    `error` is one of ERROR_CLASSES or None; `detail` is a sentence for the user and never contains a header's value.
    `notes` are sentences that belong in the result: what was detected about the target, and what is approximate.
    """

    error: str | None
    status: int | None
    detail: str
    service_ms: float | None
    end_ns: int | None = None
    """Time at which the response was complete, in ns."""
    notes: tuple[str, ...] = ()
    hosts: tuple[str, ...] = ()
    """Targets of a user's Locust test when no URL is given: hosts or URLs, as the test names them."""
    keeps_connection: bool = True
    """False if the target closed the connection soon after its response although it had promised to keep it alive."""
    prepared: int | None = None
    distinct: int | None = None
    """Number of distinct prompts among the `prepared` requests of a language model's workload."""
    first_byte_ms: float | None = None
    """Time from the send to the first byte of the response; the following times count from the send too."""
    first_token_ms: float | None = None
    """Time to the first token; None if the response was not a stream of tokens."""
    tokens_out: int | None = None
    bytes_received: int | None = None
    headers: tuple[tuple[str, str], ...] = ()
    """Headers of the response; values that could contain a secret are replaced by `<redacted>`."""
    can_send: bool = True
    """False if the target did not return the metadata from which requests are built."""


class StagePrepared(msgspec.Struct, frozen=True, tag="stage_prepared"):
    index: int


class StageStarted(msgspec.Struct, frozen=True, tag="stage_started"):
    """Report that a stage has started.

    `start_ns` is the start of the measured part, after the lead-in. `scheduled` is the number of scheduled arrivals;
    None where responses determine it.
    """

    index: int
    start_ns: int
    scheduled: int | None


class FirstError(msgspec.Struct, frozen=True):
    """First failure of an error class in a stage.

    `text` is one line of at most MOST_OF_A_SAMPLE characters, built from facts that contain no secret, so neither from
    headers nor from a body. `error` is one of ERROR_CLASSES or NOT_STARTED.
    """

    error: str
    at_ns: int
    text: str


class Progress(msgspec.Struct, frozen=True, tag="progress"):
    """Counts of the running stage, sent at most four times per second.

    `intended` counts the arrivals due so far. `in_flight` is None where it is unknown: a user's Locust test reports
    requests only when they have ended.
    """

    index: int
    at_ns: int
    intended: int
    sent: int
    completed: int
    failed: int
    in_flight: int | None
    max_lag_ms: float
    first_errors: tuple[FirstError, ...] = ()
    """First error of each class in the stage so far."""


class WorkerStageResult(msgspec.Struct, frozen=True):
    """Part of one of several workers in a stage.

    `lost_ns`: time since which nothing was received from it. Its rows may lack some requests that it sent before, and
    lack all that it should have sent after.

    `clock_residual_ms`: largest observed distance of its clock from the line by which its times were converted,
    including half a round trip; None if it reads the master's own clock.
    """

    worker: int
    host: str
    pid: int
    cpu_s: float
    sent: int
    max_lag_ms: float
    clock_residual_ms: float | None = None
    lost_ns: int | None = None
    cpu_wait_s: float | None = None
    """Same as `cpu_wait_s` of StageEnded."""


class StageEnded(msgspec.Struct, frozen=True, tag="stage_ended"):
    """Report that a stage has ended, sent after its last row. The `never_started` arrivals have rows without
    `sent_ns`."""

    index: int
    start_ns: int
    end_ns: int
    scheduled: int | None
    never_started: int
    cpu_s: float
    """CPU time in seconds that the worker, or all workers together, used between start and end."""
    connections_opened: int
    stopped_early: bool
    rates: tuple[tuple[float, float], ...] = ()
    """Rate curve of open arrivals as it was executed, including changes."""
    workers: tuple[WorkerStageResult, ...] = ()
    """Workers of the stage if there are several, including those lost since the previous stage; the other fields are
    their totals."""
    cpu_wait_s: float | None = None
    """Seconds between start and end in which the sending thread was ready to run but had no CPU core, for the worker
    that waited longest; None where the system does not report it."""
    first_errors: tuple[FirstError, ...] = ()
    """First error of each class in the stage."""
    duration_s: float | None = None
    """Duration of the measured part in seconds, including extensions; the shortest of several workers."""


class Failed(msgspec.Struct, frozen=True, tag="failed"):
    """Report that the worker cannot continue.

    The target is at fault if `error` is one of ERROR_CLASSES; the settings of the workload or the endpoint are at fault
    if `is_workload_wrong`; otherwise the worker itself failed.
    """

    message: str
    hint: str | None = None
    error: str | None = None
    is_workload_wrong: bool = False


Report = Hello | Pong | Joining | Ready | PreflightDone | StagePrepared | StageStarted | Progress | StageEnded | Failed
