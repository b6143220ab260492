"""Messages and row schema of the pipe between the engine and a load worker.

The engine writes commands; the worker replies with reports and record batches. Each frame is a
4-byte little-endian length, one kind byte, and the body. The kind is `M` for a msgpack message of
this module, and `R` for a serialized Arrow record batch of `REQUEST_SCHEMA` (at most 500 rows). If
there are several workers, a master represents them on that pipe. The master and its workers
communicate over Locust: the data of messages of type `command`, `report` and `rows` is the body of
a frame. All times are in CLOCK_MONOTONIC nanoseconds (`time.perf_counter_ns`).
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

`send`: the connection was lost before the first byte of the response; `truncated`: the connection
was lost within the response; `bad-payload`: the response violates the protocol; `bad-output`: the
response is well formed but wrong; `local-limit`: the load generator's machine ran out of file
descriptors, local ports, buffers or memory.
"""

NOT_STARTED = "not-started"
"""Value reported instead of an error class for an arrival that was never sent."""

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
"""Schema of the request rows: one row per arrival that became due. Arrivals after an early stop of
the stage have no row.

`sent_ns` is null for an arrival that was never started; if the connection failed, it is the time at
which the connection was requested. A successful request has no `error`. Requests that the end of
the stage's drain interrupts, started or not, and requests that wait too long for a free connection
have the error `timeout`. `index` numbers the stage's requests in the order in which they became
due, from 0; the k-th of n workers uses k, k + n, k + 2n…, which is the global order of a schedule,
but only the order within each worker if responses determine the next arrival. `right`: number of
input rows of the request whose predicted class equals their label, null without labels. `target`:
index of the endpoint's URL, from 0. `name`: name of the request in a Locust test.

For streamed responses, `first_token_ns` is the time of the first non-empty delta, `first_output_ns`
of the first delta that is not reasoning, and `last_token_ns` of the last non-empty delta.
`chunk_ns` has the times of all non-empty deltas; deltas that were read together have the same time.
`chunk_tokens` has the number of tokens in each delta, null if the server does not report it.
`tokens_from` is the source of `tokens_out`: "server" (usage reported by the server), "tokenizer"
(counted by the load generator with the user's tokenizer) or "chunks" (each chunk counted as one
token). `intended_ns` and `first_byte_ns` are null for a user's Locust test and for gRPC, which do
not report them.

`worker`: index of the load worker that sent the request, from 0; the times of all workers are on
the engine's clock. `first_event_ns`: time of the first event of the stream that belongs to the API,
including a delta that is empty or contains only a role. `tokens_asked`: maximum number of output
tokens that the request allowed.

History: version 2 added `target` and the following columns, and allows `intended_ns` to be null;
version 3 added `worker` and the following columns.
"""

BATCH_ROWS = 500

WIRE_VERSION = 3
"""Version of the messages between master and workers, which must be the same on both sides. Version
2 added ExtendStage, version 3 the error class `local-limit`."""

EXIT_NO_MASTER, EXIT_MASTER_LOST, EXIT_DISMISSED = 3, 4, 5
"""Exit codes of a worker that serves a master, in this order: no master was found, the connection
to the master was lost, and the master dismissed the worker. The last line of the worker's standard
error states the reason."""


class Timeouts(msgspec.Struct, frozen=True):
    """Timeouts of a request, in seconds.

    `idle_s` is the maximum time without receiving a byte of the response. `total_s` is the maximum
    time from the send to the end of the response, and also the maximum time that a request waits
    for a free connection.
    """

    connect_s: float = 5.0
    idle_s: float = 30.0
    total_s: float = 60.0


class Tls(msgspec.Struct, frozen=True):
    """TLS settings. `cert_file` and `key_file` are the client certificate and its key, in PEM;
    `cert_file` may contain both."""

    verify: bool = True
    ca_file: str | None = None
    cert_file: str | None = None
    key_file: str | None = None


class KeyFile(msgspec.Struct, frozen=True):
    """A header whose value is `prefix` followed by the single line of a file. The file is read
    again when the endpoint responds with 401."""

    header: str
    path: str
    prefix: str = ""


Balance = Literal["round-robin", "least-outstanding", "power-of-two"]


class Endpoint(msgspec.Struct, frozen=True):
    """Target of the requests. Headers and proxy contain resolved secrets, so an endpoint is never
    written to a file or a log.

    Several `urls` are replicas with the same path; `balance` determines how requests are
    distributed among them. With `unix_socket`, connections go to the socket and the single URL is
    used only in the requests. `proxy` is a URL, with credentials if required.
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
    """False if the target closes the connection after each response without announcing it."""


# Arrivals: when requests are sent


class OpenArrivals(msgspec.Struct, frozen=True, tag="open"):
    """Open-loop arrivals, which do not wait for responses: an arrival process whose rate follows a
    rate curve.

    `rates` are points (seconds from the start of the stage, requests per second) with linear
    interpolation; two points at the same time are a jump. `cv` is the coefficient of variation of
    the interarrival times of `gamma`: 1 is Poisson, higher values are burstier.
    """

    process: Literal["constant", "poisson", "gamma"]
    rates: tuple[tuple[float, float], ...]
    cv: float = 1.0


class TraceArrivals(msgspec.Struct, frozen=True, tag="trace"):
    """Arrivals at recorded start times: little-endian int64 nanoseconds from the start of the
    stage, in ascending order."""

    offsets_ns: bytes


class ClosedArrivals(msgspec.Struct, frozen=True, tag="closed"):
    """Closed-loop arrivals: each of `concurrency` clients sends the next request after the previous
    response and a think time, which is exponentially distributed with mean `think_s`."""

    concurrency: int
    think_s: float = 0.0


Arrivals = OpenArrivals | TraceArrivals | ClosedArrivals


class StagePlan(msgspec.Struct, frozen=True):
    """Plan of one stage: arrivals for `lead_in_s` seconds and then for `duration_s` seconds,
    without a break.

    The lead-in warms up the target; requests in flight at the end of the lead-in continue into the
    measured part. Rows with an intended time before StageStarted.start_ns belong to the lead-in.

    After the last arrival the stage drains: it waits at most `drain_s` until no request is in
    flight. Times in `arrivals` are relative to the start of the measured part; the first rate
    applies to the lead-in. The next request of a session or a client is started only before the end
    of the arrivals, not during the drain.
    """

    index: int
    name: str
    arrivals: Arrivals
    duration_s: float
    seed: int
    lead_in_s: float = 0.0
    drain_s: float = 5.0
    max_requests: int | None = None


class WorkerShare(msgspec.Struct, frozen=True):
    """Part of a stage that one of `worker_count` workers runs.

    The worker sends arrivals `index`, `index` + `worker_count`, … of the common schedule, and runs
    the corresponding clients of a closed loop.
    """

    index: int = 0
    worker_count: int = 1


# Commands: engine → worker


class Rendezvous(msgspec.Struct, frozen=True):
    """Address at which a master and its workers connect, and the secret `token` that they share.

    A master with `port` 0 listens on any free port, and without a token it generates one for this
    run.
    """

    host: str = "127.0.0.1"
    port: int = 0
    token: str = ""
    wait_s: float = 60.0
    """Time limit in seconds for the connection to the other side."""


class Join(Rendezvous, frozen=True, tag="join"):
    """Command that connects a worker to a master. It is the only command that such a worker reads
    from its pipe.

    The two capacities are the worker's share of the calibrated capacity of its machine, in requests
    per second and in streamed chunks per second; None if unknown.
    """

    capacity_per_s: float | None = None
    chunk_capacity_per_s: float | None = None


class Gather(Rendezvous, frozen=True, kw_only=True, tag="gather"):
    """First command to a master: start `local` workers on this machine, and wait for `remote`
    workers on other machines to connect."""

    local: int
    remote: int = 0
    wait_s: float = 300.0


class Configure(msgspec.Struct, frozen=True, tag="configure"):
    endpoint: Endpoint
    workload: Workload


class Preflight(msgspec.Struct, frozen=True, tag="preflight"):
    """Command to send one request of the workload and report the result."""


class RunStage(msgspec.Struct, frozen=True, tag="run_stage"):
    """Command to prepare the stage and report `StagePrepared`. `StartStage` then sets the start
    time."""

    plan: StagePlan
    share: WorkerShare = WorkerShare()


class StartStage(msgspec.Struct, frozen=True, tag="start_stage"):
    """Command to start the prepared stage.

    `start_ns` is the start of the measured part on the receiver's clock, late enough for the
    lead-in to come before it.
    """

    index: int
    start_ns: int


class StopStage(msgspec.Struct, frozen=True, tag="stop_stage"):
    """Command to start no more arrivals, drain the requests in flight (or interrupt them if `drain`
    is false), and end the stage."""

    drain: bool


class ChangeRate(msgspec.Struct, frozen=True, tag="change_rate"):
    """Command to change the rate of the running stage's open arrivals, from `at_ns` to the end of
    the stage."""

    rate_per_s: float
    at_ns: int


class ExtendStage(msgspec.Struct, frozen=True, tag="extend_stage"):
    """Command to set the duration of the running stage's measured part, in seconds from the start
    of that part.

    Open arrivals continue at their current rate, and clients continue to send. The command has no
    effect on a stage that has ended, already has a longer duration, or replays a trace.
    """

    duration_s: float


class Quit(msgspec.Struct, frozen=True, tag="quit"):
    """Command to end the worker; closing the worker's standard input has the same effect. `reason`
    is set if a master dismisses a worker."""

    reason: str | None = None


class Ping(msgspec.Struct, frozen=True, tag="ping"):
    """Message of a master to which a worker replies immediately with a Pong. The reply shows that
    the worker is alive, and contains the time on the worker's clock."""

    sent_ns: int


Command = (
    Join | Gather | Configure | Preflight | RunStage | StartStage | StopStage | ChangeRate | ExtendStage | Ping | Quit
)


# Reports: worker → engine


class Hello(msgspec.Struct, frozen=True, tag="hello"):
    """First message of a worker to its master. `clock` identifies the worker's clock: a worker that
    shares the master's clock needs no clock offset."""

    protocol_version: int
    host: str
    pid: int
    clock: str
    pacing: str
    event_loop: str
    capacity_per_s: float | None = None
    chunk_capacity_per_s: float | None = None


class Pong(msgspec.Struct, frozen=True, tag="pong"):
    """Reply to a ping. `sent_ns` is copied from the ping; `at_ns` is the time on the worker's clock
    at which the ping was read."""

    sent_ns: int
    at_ns: int


class Joining(msgspec.Struct, frozen=True, tag="joining"):
    """Report of a master that is waiting for workers; sent when the wait starts and whenever a
    worker joins."""

    address: str
    joined: int
    expected: int


class LoadWorker(msgspec.Struct, frozen=True):
    """One of a master's workers. `is_local` is true if the master started the worker on its own
    machine."""

    index: int
    host: str
    pid: int
    is_local: bool
    capacity_per_s: float | None = None
    chunk_capacity_per_s: float | None = None


class Ready(msgspec.Struct, frozen=True, tag="ready"):
    """Report that the worker or the master can accept work. `workers` is empty for a single worker
    without a master."""

    pid: int
    pacing: str
    """Mechanism that times the schedule: "timerfd", "sleep", or "locust" for a user's Locust
    test."""
    event_loop: str
    workers: tuple[LoadWorker, ...] = ()


class PreflightDone(msgspec.Struct, frozen=True, tag="preflight_done"):
    """Result of the preflight request.

    `error` is one of ERROR_CLASSES or None; `detail` is a sentence for the user and never contains
    the value of a header. `notes` are sentences for the result: properties of the target that were
    detected, and values that are approximate.
    """

    error: str | None
    status: int | None
    detail: str
    service_ms: float | None
    end_ns: int | None = None
    """Time at which the response was complete, in ns."""
    notes: tuple[str, ...] = ()
    hosts: tuple[str, ...] = ()
    """Targets of a user's Locust test if no URL is specified: hosts or URLs, as written in the
    test."""
    keeps_connection: bool = True
    """False if the target closed the connection soon after the response although it had announced
    keep-alive."""
    prepared: int | None = None
    distinct: int | None = None
    """Number of distinct prompts among the `prepared` requests of a language model's workload."""
    first_byte_ms: float | None = None
    """Time from the send to the first byte of the response, in ms."""
    first_token_ms: float | None = None
    """Time from the send to the first token, in ms; None if the response was not a stream of
    tokens."""
    tokens_out: int | None = None
    bytes_received: int | None = None
    headers: tuple[tuple[str, str], ...] = ()
    """Headers of the response; values that could contain a secret are replaced by `<redacted>`."""
    can_send: bool = True
    """False if requests cannot be built because the target did not return the metadata that they
    require."""


class StagePrepared(msgspec.Struct, frozen=True, tag="stage_prepared"):
    index: int


class StageStarted(msgspec.Struct, frozen=True, tag="stage_started"):
    """Report that a stage has started.

    `start_ns` is the start of the measured part, after the lead-in. `scheduled` is the number of
    scheduled arrivals; None if responses determine the arrivals.
    """

    index: int
    start_ns: int
    scheduled: int | None


class FirstError(msgspec.Struct, frozen=True):
    """First failure of an error class in a stage.

    `text` is one line of at most MAX_SAMPLE_CHARS characters; it never contains a header or a body,
    which could hold a secret. `error` is one of ERROR_CLASSES or NOT_STARTED.
    """

    error: str
    at_ns: int
    text: str


class Progress(msgspec.Struct, frozen=True, tag="progress"):
    """Counts of the running stage, sent at most four times per second.

    `intended` counts the arrivals due so far. `in_flight` is None for a user's Locust test, which
    reports requests only when they have ended.
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
    """Result of one of several workers in a stage.

    `lost_ns`: time of the last message of a worker that was lost, otherwise None. Some requests
    that it sent before that time may have no row, and requests that it should have sent later have
    none.

    `clock_residual_ms`: largest observed deviation of the worker's clock from the linear fit that
    converts its times, including half a round trip; None if the worker shares the master's clock.
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
    """Seconds in which the worker's sending thread was ready to run but had no CPU core; None if
    not reported by the OS."""


class StageEnded(msgspec.Struct, frozen=True, tag="stage_ended"):
    """Report that a stage has ended, sent after the stage's last row. The `never_started` arrivals
    have rows without `sent_ns`."""

    index: int
    start_ns: int
    end_ns: int
    scheduled: int | None
    never_started: int
    cpu_s: float
    """CPU time in seconds that the worker (or all workers combined) used between start and end of
    the stage."""
    connections_opened: int
    stopped_early: bool
    rates: tuple[tuple[float, float], ...] = ()
    """Executed rate curve of open arrivals, including changes."""
    workers: tuple[WorkerStageResult, ...] = ()
    """Results of the stage's workers if there are several, including workers lost since the
    previous stage; the other fields are totals over these workers."""
    cpu_wait_s: float | None = None
    """Seconds between start and end in which the sending thread was ready to run but had no CPU
    core; the maximum of all workers. None if not reported by the OS."""
    first_errors: tuple[FirstError, ...] = ()
    """First error of each class in the stage."""
    duration_s: float | None = None
    """Duration of the measured part in seconds, including extensions; the minimum of all
    workers."""


class Failed(msgspec.Struct, frozen=True, tag="failed"):
    """Report that the worker cannot continue.

    The target is at fault if `error` is one of ERROR_CLASSES; the settings of the workload or the
    endpoint are at fault if `is_workload_invalid`; otherwise the worker itself failed.
    """

    message: str
    hint: str | None = None
    error: str | None = None
    is_workload_invalid: bool = False


Report = Hello | Pong | Joining | Ready | PreflightDone | StagePrepared | StageStarted | Progress | StageEnded | Failed
