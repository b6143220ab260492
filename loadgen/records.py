"""What crosses the pipe between the engine and a load worker.

The engine writes commands, the worker answers with reports and record batches. Each frame is a 4-byte little-endian
length, one kind byte, and the body: `M` for a msgpack message of this module, `R` for a serialised Arrow record batch
of `REQUEST_SCHEMA` (at most 500 rows). Several workers are gathered by a master, which speaks for them on that pipe; to
them it speaks over Locust, in messages of type `command`, `report` and `rows` whose data is such a body. All times are
CLOCK_MONOTONIC nanoseconds (`time.perf_counter_ns`).
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
"""`send`: the connection was lost before any byte of an answer; `truncated`: after some; `bad-payload`: the answer is
not what the protocol promises; `bad-output`: it is well formed and wrong. `local-limit`: the load generator's own
machine had no file descriptor, local port, buffer or memory left."""

NOT_STARTED = "not-started"
"""What stands for the error of an arrival that was never sent, where it is told of."""

MOST_OF_A_SAMPLE = 300

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
"""One row an arrival that came due; a stage stopped early has none for the rest. An arrival never started has no
`sent_ns`; one whose connection failed has the time the connection was asked for. A success has no `error`; a request
cut off, started or not, by the end of its stage's drain is a `timeout`, and so is one that waited too long for a free
connection. `index` counts the stage's requests in the order they came due, from 0; of n workers the k-th counts k,
k + n, k + 2n…, which is the one order of a schedule, and only each worker's own where answers decide. `right`: rows of
the request whose arg max is their label, null when they were not judged. `target`: which of the endpoint's URLs, from
0. `name`: what a Locust test calls the request.

Of streamed answers: `first_token_ns` is the first delta that is not empty, `first_output_ns` the first that is not
reasoning, `last_token_ns` the last that is not empty; `chunk_ns` the times of all deltas that are not empty, those read
together sharing one; `chunk_tokens` how many tokens were in each, null where the server does not say. `tokens_from` is
where `tokens_out` comes from: "server" (its usage), "tokenizer" (counted here with the user's), "chunks" (each counted
as one). `intended_ns` and `first_byte_ns` are null where they cannot be known: a user's Locust test, gRPC.

`worker`: which of the load workers sent it, from 0; the times are on the engine's clock whoever it was.
`first_event_ns`: the first event of the stream that is the API's own, empty delta or role alone included.
`tokens_asked`: how many output tokens the request asked for at most.

History: 2 added `target` and all after it, and lets `intended_ns` be null; 3 added `worker` and all after it.
"""

BATCH_ROWS = 500

WIRE = 3
"""Of what master and workers tell each other: both must have the same. 2 added ExtendStage, 3 `local-limit`."""

EXIT_NO_MASTER, EXIT_MASTER_LOST, EXIT_SENT_AWAY = 3, 4, 5
"""What a worker that was to serve a master leaves with when it found none, when that one has gone, and when that one
does without it; why is then the last line of its standard error."""


class Timeouts(msgspec.Struct, frozen=True):
    """`idle_s`: no byte of an answer for so long; `total_s`: from the send to the end of the answer, and as long may a
    request wait for a free connection."""

    connect_s: float = 5.0
    idle_s: float = 30.0
    total_s: float = 60.0


class Tls(msgspec.Struct, frozen=True):
    """`cert_file` and `key_file` are the client's own, in PEM; the key may be in the certificate's file."""

    verify: bool = True
    ca_file: str | None = None
    cert_file: str | None = None
    key_file: str | None = None


class KeyFile(msgspec.Struct, frozen=True):
    """A header whose value is `prefix` and the one line of a file, read again when the endpoint answers 401."""

    header: str
    path: str
    prefix: str = ""


Balance = Literal["round-robin", "least-outstanding", "power-of-two"]


class Endpoint(msgspec.Struct, frozen=True):
    """Where to send. Headers and proxy hold resolved secrets, so this record is never written to a file or a log.

    Several `urls` are replicas that share the requests as `balance` says; all have the same path. With `unix_socket`
    the one URL is only spoken, and the socket is what is connected to. `proxy` is a URL, with credentials if need be.
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
    """False for a target that closes a connection after each answer without having said so."""


# when it is sent


class OpenArrivals(msgspec.Struct, frozen=True, tag="open"):
    """Arrivals that do not wait for answers: a process in time, sped up and slowed down along a rate curve.

    `rates` are points (seconds from the stage's start, requests a second) joined by straight lines; two points at one
    time are a jump. Gaps of `gamma` have `cv` as their coefficient of variation: 1 is Poisson, more is burstier.
    """

    process: Literal["constant", "poisson", "gamma"]
    rates: tuple[tuple[float, float], ...]
    cv: float = 1.0


class TraceArrivals(msgspec.Struct, frozen=True, tag="trace"):
    """Recorded starts, as little-endian int64 nanoseconds from the stage's start, ascending."""

    offsets_ns: bytes


class ClosedArrivals(msgspec.Struct, frozen=True, tag="closed"):
    """`concurrency` clients, each sending its next request `think_s` (exponential, that mean) after its last answer."""

    concurrency: int
    think_s: float = 0.0


Arrivals = OpenArrivals | TraceArrivals | ClosedArrivals


class StagePlan(msgspec.Struct, frozen=True):
    """Arrivals for `lead_in_s` and `duration_s`, without a break between. The lead-in warms up, and what is in flight
    at its end goes over into the measured part; its rows are those intended before StageStarted.start_ns.

    After the last arrival the stage drains: until nothing is in flight, at most `drain_s`. Times of `arrivals` count
    from the start of the measured part; in the lead-in the first rate holds. A session's or a client's next request is
    started while arrivals last, not in the drain.
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
    """The `index`-th of `of` workers: it sends arrivals `index`, `index` + `of`, … of the one schedule, and has those
    clients of a closed loop."""

    index: int = 0
    of: int = 1


# commands, engine → worker


class Join(msgspec.Struct, frozen=True, tag="join"):
    """The first command of a worker that serves a master instead of its pipe, and the last that it reads there.

    `token` is the secret that master and workers share. The ceilings are this one worker's part of what its machine
    was calibrated to send: requests a second, and chunks of streams a second; None where that is not known.
    """

    host: str
    port: int
    token: str
    wait_s: float = 60.0
    """How long the master is looked for."""
    ceiling_per_s: float | None = None
    chunk_ceiling_per_s: float | None = None


class Gather(msgspec.Struct, frozen=True, tag="gather"):
    """The first command of a master: start `local` workers, and wait for `remote` more at `host` and `port` (0: any
    free one)."""

    local: int
    remote: int = 0
    host: str = "127.0.0.1"
    port: int = 0
    token: str = ""
    """Shared with the remote workers; without any, one is made up for this run."""
    wait_s: float = 300.0


class Configure(msgspec.Struct, frozen=True, tag="configure"):
    endpoint: Endpoint
    workload: Workload


class Preflight(msgspec.Struct, frozen=True, tag="preflight"):
    """Send one request of the workload and tell how it went."""


class RunStage(msgspec.Struct, frozen=True, tag="run_stage"):
    """Make the stage ready, and tell `StagePrepared`; it starts when `StartStage` says."""

    plan: StagePlan
    share: Share = Share()


class StartStage(msgspec.Struct, frozen=True, tag="start_stage"):
    """`start_ns`, of the measured part, is on the clock of who is told; it leaves time for the lead-in."""

    index: int
    start_ns: int


class StopStage(msgspec.Struct, frozen=True, tag="stop_stage"):
    """Start no more arrivals; drain (`drain` true) or cut what is in flight, and end the stage."""

    drain: bool


class ChangeRate(msgspec.Struct, frozen=True, tag="change_rate"):
    """From `at_ns` on, the running stage's open arrivals come at this rate, to its end."""

    rate_per_s: float
    at_ns: int


class ExtendStage(msgspec.Struct, frozen=True, tag="extend_stage"):
    """The running stage's measured part lasts so long, counted from its start: open arrivals go on at the rate they
    have, and so do clients. Of no effect on one that has come to its end, lasts longer, or plays a trace."""

    duration_s: float


class Quit(msgspec.Struct, frozen=True, tag="quit"):
    """End the worker; so does the end of its standard input. `why` is told by a master to one that it does without."""

    why: str | None = None


class Ping(msgspec.Struct, frozen=True, tag="ping"):
    """From a master: answered at once, by what shows that the worker lives and what its clock says."""

    sent_ns: int


Command = (
    Join | Gather | Configure | Preflight | RunStage | StartStage | StopStage | ChangeRate | ExtendStage | Ping | Quit
)


# reports, worker → engine


class Hello(msgspec.Struct, frozen=True, tag="hello"):
    """A worker's first word to its master. `clock` names the clock it reads: workers of the same one need no offset."""

    wire: int
    host: str
    pid: int
    clock: str
    pacing: str
    event_loop: str
    ceiling_per_s: float | None = None
    chunk_ceiling_per_s: float | None = None


class Pong(msgspec.Struct, frozen=True, tag="pong"):
    """`sent_ns` is the ping's, `at_ns` when it was read, on the worker's clock."""

    sent_ns: int
    at_ns: int


class Joining(msgspec.Struct, frozen=True, tag="joining"):
    """A master is still waiting for workers; told when it begins to, and with each that joins."""

    address: str
    joined: int
    expected: int


class LoadWorker(msgspec.Struct, frozen=True):
    """One of a master's workers. `is_local`: it was started by its master."""

    index: int
    host: str
    pid: int
    is_local: bool
    ceiling_per_s: float | None = None
    chunk_ceiling_per_s: float | None = None


class Ready(msgspec.Struct, frozen=True, tag="ready"):
    """`workers` is empty where the one worker speaks for itself."""

    pid: int
    pacing: str
    """How the schedule is kept: "timerfd", "sleep" or, by a user's own test, "locust"."""
    event_loop: str
    workers: tuple[LoadWorker, ...] = ()


class PreflightDone(msgspec.Struct, frozen=True, tag="preflight_done"):
    """`error` is one of ERROR_CLASSES or None; `detail` is a sentence for the user, never holding a header's value.

    `notes` are sentences that belong into the result: what was found out about the target, what is approximate.
    """

    error: str | None
    status: int | None
    detail: str
    service_ms: float | None
    end_ns: int | None = None
    """When the answer was whole."""
    notes: tuple[str, ...] = ()
    hosts: tuple[str, ...] = ()
    """What a user's Locust test asks when no URL is given: hosts or URLs, as it names them."""
    keeps_connection: bool = True
    """False when the target closed the connection soon after its answer, having promised to keep it."""
    prepared: int | None = None
    distinct: int | None = None
    """Of a language model's workload: how many requests were prepared, and how many different prompts are in them."""
    first_byte_ms: float | None = None
    """From the send, like what follows."""
    first_token_ms: float | None = None
    """None where the answer did not come as a stream of tokens."""
    tokens_out: int | None = None
    bytes_received: int | None = None
    headers: tuple[tuple[str, str], ...] = ()
    """Of the answer; the values of those that could hold a secret are left out, as `<redacted>`."""
    can_send: bool = True
    """False when the target did not return the metadata that requests are built from."""


class StagePrepared(msgspec.Struct, frozen=True, tag="stage_prepared"):
    index: int


class StageStarted(msgspec.Struct, frozen=True, tag="stage_started"):
    """`start_ns` is where the measured part begins, after the lead-in. `scheduled` is None where answers decide it."""

    index: int
    start_ns: int
    scheduled: int | None


class FirstError(msgspec.Struct, frozen=True):
    """What was seen of the first failure of a class in a stage: `text` has at most MOST_OF_A_SAMPLE characters, one
    line, made of facts that hold no secret, so neither of headers nor of a body. `error` is one of ERROR_CLASSES or
    NOT_STARTED."""

    error: str
    at_ns: int
    text: str


class Progress(msgspec.Struct, frozen=True, tag="progress"):
    """Counts of the running stage, at most four a second; `intended` counts arrivals due so far. `in_flight` is None
    where it cannot be known: a user's Locust test tells of requests when they are over."""

    index: int
    at_ns: int
    intended: int
    sent: int
    completed: int
    failed: int
    in_flight: int | None
    max_lag_ms: float
    first_errors: tuple[FirstError, ...] = ()
    """Of the stage so far, one a class."""


class WorkerPart(msgspec.Struct, frozen=True):
    """What one of several workers did in a stage. `lost_ns`: since when nothing was heard of it; its rows may lack some
    that it sent before, and all that it should have sent after.

    `clock_residual_ms`: how far its clock was seen from the line that its times were moved by, at most, half a round
    trip included; None where it reads the master's own clock.
    """

    worker: int
    host: str
    pid: int
    cpu_s: float
    sent: int
    max_lag_ms: float
    clock_residual_ms: float | None = None
    lost_ns: int | None = None
    waited_s: float | None = None
    """As of StageEnded."""


class StageEnded(msgspec.Struct, frozen=True, tag="stage_ended"):
    """Sent after the stage's last row. `never_started` arrivals have rows without `sent_ns`."""

    index: int
    start_ns: int
    end_ns: int
    scheduled: int | None
    never_started: int
    cpu_s: float
    """CPU the worker used between start and end, or all together."""
    connections_opened: int
    stopped_early: bool
    rates: tuple[tuple[float, float], ...] = ()
    """The rate curve of open arrivals as it was played, changes included."""
    workers: tuple[WorkerPart, ...] = ()
    """Where there are several, those of the stage, also those lost since the one before; the other fields add them
    up."""
    waited_s: float | None = None
    """Between start and end: that the thread which sends was ready to run and had no core, of the worker that waited
    longest; None where the system does not tell."""
    first_errors: tuple[FirstError, ...] = ()
    """As of Progress."""
    duration_s: float | None = None
    """Of the measured part, extensions included; of several workers the shortest."""


class Failed(msgspec.Struct, frozen=True, tag="failed"):
    """The worker cannot go on. The target is at fault when `error`, one of ERROR_CLASSES, says so; what it was told to
    send, or where, when `is_workload_wrong`; else the worker itself."""

    message: str
    hint: str | None = None
    error: str | None = None
    is_workload_wrong: bool = False


Report = Hello | Pong | Joining | Ready | PreflightDone | StagePrepared | StageStarted | Progress | StageEnded | Failed
