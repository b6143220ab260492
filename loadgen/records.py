"""Messages and row schema of the pipe between the engine and a load worker.

The engine writes commands, and the worker replies with reports and record batches. Each frame
consists of the length of its body (4 bytes, little-endian), one byte for the kind, and the body.
The kind is `M` for a msgpack message of this module, or `R` for a serialized Arrow record batch of
`REQUEST_SCHEMA` (at most 500 rows). All times are in nanoseconds of CLOCK_MONOTONIC
(`time.perf_counter_ns`).

If there are several workers, their master is at the other end of the pipe instead of a worker. The
master and its workers communicate over Locust. The data of a Locust message of type `command`,
`report` or `rows` is the body of a frame.
"""

from __future__ import annotations

from typing import Literal

import msgspec
import pyarrow as pa

from loadgen.workloads import BatchOutcome, Workload

ERROR_CLASSES = (
    "dns", "connect", "tls", "send", "http-4xx", "http-5xx", "timeout", "truncated", "bad-payload", "bad-output",
    "local-limit",
)  # fmt: skip
"""Error classes of failed requests.

`send`: the connection was lost before the first byte of the response. `truncated`: the connection
was lost within the response. `bad-payload`: the response violates the protocol. `bad-output`: the
response is well formed but wrong. `local-limit`: the load generator's machine ran out of file
descriptors, local ports, buffers or memory.
"""

NOT_STARTED = "not-started"
"""Value that is reported instead of an error class for an arrival whose request was never sent."""

MAX_SAMPLE_CHARS = 300

REQUEST_SCHEMA = pa.schema(
    [
        ("stage", pa.int32()),
        ("index", pa.int64()),
        ("scheduled_ns", pa.int64()),
        ("sent_ns", pa.int64()),
        ("first_byte_ns", pa.int64()),
        ("end_ns", pa.int64()),
        ("status", pa.int16()),
        ("error", pa.utf8()),
        ("bytes_received", pa.int32()),
        ("reused", pa.bool_()),
        ("correct_rows", pa.int32()),
        ("target", pa.int16()),
        ("name", pa.utf8()),
        ("first_token_ns", pa.int64()),
        ("first_output_ns", pa.int64()),
        ("last_token_ns", pa.int64()),
        ("tokens_in", pa.int32()),
        ("tokens_out", pa.int32()),
        ("token_source", pa.utf8()),
        ("chunk_ns", pa.list_(pa.int64())),
        ("chunk_tokens", pa.list_(pa.int32())),
        ("worker", pa.int16()),
        ("first_event_ns", pa.int64()),
        ("max_output_tokens", pa.int32()),
        ("tokens_cached", pa.int32()),
        ("tokens_reasoning", pa.int32()),
        ("tokens_accepted", pa.int32()),
        ("server_queue_ms", pa.float64()),
        ("server_prefill_ms", pa.float64()),
        ("server_decode_ms", pa.float64()),
        ("session", pa.int32()),
        ("turn", pa.int32()),
        ("class", pa.int16()),
        ("input_end_ns", pa.int64()),
        ("first_audio_ns", pa.int64()),
        ("audio_s", pa.float64()),
        ("images", pa.int32()),
        ("connection_wait_ms", pa.float32()),
    ],
    metadata={"sizewise.requests": "5"},
)
"""Schema of the request rows, one row per arrival that became due. Arrivals after an early stop of
the stage have no row.

Request: `index` numbers the stage's requests in the order in which they became due, from 0. Worker
k of n uses the numbers k, k + n, k + 2n… If responses determine the next arrival, the numbers are
in order only within each worker. In a user's Locust test, requests are numbered in the order in
which they ended. `scheduled_ns` is the scheduled start; it is null for a user's Locust test.
`sent_ns` is null if the request was never sent; if the connection failed, it is the time at which
the connection was requested. `target` is the index of the endpoint's URL, from 0.
`max_output_tokens` is the maximum number of output tokens that the request allowed. `name` is the
name of the request in a Locust test. `worker` is the index of the load worker that sent the
request, from 0. The times of all workers are on the engine's clock. `session` is the number of the
session that the request belongs to, unique within the stage, and `turn` the number of its turn,
both from 0. They are null if the workload has no sessions. Several requests of a session have the
same turn if they are sent in parallel. `class` is the class of the request, as an index of the
classes of the workload, from 0; null if the workload has no classes.

Response: `error` is null for a successful request. It is `timeout` for requests that are
interrupted at the end of the stage's drain, sent or not, and for requests that wait too long for a
free connection. `first_byte_ns` is null for a user's Locust test and for gRPC, which do not report
it. `correct_rows` is the number of input rows of the request whose predicted class equals their
label; null without labels.

`connection_wait_ms` is the time for which the request waited for a connection before the send:
until a connection was open, handshakes included, or until another request ended. It is 0 if a
connection was idle, and null where `first_byte_ns` is null.

Streamed response: a chunk is an event with a non-empty delta. `first_event_ns` is the time of the
first event that belongs to the API, even if its delta is empty or contains only a role.
`first_token_ns` is the time of the first chunk, `first_output_ns` of the first chunk that is not
reasoning, and `last_token_ns` of the last chunk. `chunk_ns` has the times of all chunks; chunks
that were read together have the same time. `chunk_tokens` has the number of tokens in each chunk,
null if the server does not report it. `token_source` is the source of `tokens_out`: "server" (usage
reported by the server), "tokenizer" (counted by the load generator with the user's tokenizer) or
"chunks" (each chunk counted as one token).

Server: `tokens_cached` is the number of input tokens that a prefix cache served,
`tokens_reasoning` the number of output tokens that are reasoning, and `tokens_accepted` the number
of output tokens that a draft model or a prediction proposed. `server_queue_ms`,
`server_prefill_ms` and `server_decode_ms` are the times that the request spent in the server's
queue, from its admission to the first token, and from the first to the last token. All of them are
null unless the response reports them.

Audio and images: `audio_s` is the duration of the audio, in the request of a transcription and else
in the response; it is null if the format does not state it. `first_audio_ns` is the time at which
the first audio of the response was received, and `input_end_ns` the time at which the last audio of
a dialog's input was sent. `images` is the number of images in the response. They are null unless
the API has audio or images.

History: version 2 added `target` and the following columns, and allows `scheduled_ns` to be null.
Version 3 added `worker` and the following columns, version 4 `tokens_cached` and the
following columns, version 5 `class`, `input_end_ns` and the following columns, up to
`connection_wait_ms`.
"""

BATCH_ROWS = 500

WIRE_VERSION = 6
"""Version of the messages between master and workers. Both sides must have the same version.
Version 2 added ExtendStage, version 3 the error class `local-limit`, version 4 sessions (the columns
of the rows and LiveSessionCounts), the blocks of a trace's prompts, and datasets that are JSON
arrays, version 5 mixed workloads (and the column `class` of the rows), the content of prompts
(documents, images, audio clips, tools and the format of the responses), the counts of what
responses contain, audio and images (the columns of the rows), waits for a connection and
RoundTrips, version 6 StageLoad in StagePlan."""

EXIT_NO_MASTER, EXIT_MASTER_LOST, EXIT_REJECTED = 3, 4, 5
"""Exit codes of a worker that joins a master. They mean, in order: no master was found, the
connection to the master was lost, the master rejected the worker. The last line of the worker's
standard error states the reason."""


class Timeouts(msgspec.Struct, frozen=True):
    """Timeouts of a request, in seconds.

    `connect_s` is the maximum time for opening a connection. `idle_s` is the maximum time without
    receiving a byte of the response. `total_s` is the maximum time from the send to the end of the
    response; a request may also wait at most this long for a free connection.
    """

    connect_s: float = 5.0
    idle_s: float = 30.0
    total_s: float = 60.0


class Tls(msgspec.Struct, frozen=True):
    """TLS settings. `cert_file` contains the client certificate and `key_file` its key, both in
    PEM. `cert_file` may also contain the key."""

    verify: bool = True
    ca_file: str | None = None
    cert_file: str | None = None
    key_file: str | None = None


class KeyFile(msgspec.Struct, frozen=True):
    """Header whose value is `prefix` followed by an API key, which is the only line of a file. The
    file is read again when the endpoint responds with status 401."""

    header: str
    path: str
    prefix: str = ""


Balance = Literal["round-robin", "least-outstanding", "power-of-two"]


class Endpoint(msgspec.Struct, frozen=True):
    """Target of the requests. Headers and proxy contain secrets in plain text, so an endpoint is
    never written to a file or a log.

    If there are several `urls`, they are replicas with the same path, and `balance` is the
    load-balancing policy. If `unix_socket` is set, connections go to this socket, and the single
    URL is used only inside the requests. `proxy` is a URL, with credentials if required.
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
    """False if the target closes the connection after each response without announcing this."""
    trace_key: str | None = None
    """Text from which the trace ID of each request follows; None to send no trace context."""


# Arrivals: when requests are sent


class OpenArrivals(msgspec.Struct, frozen=True, tag="open"):
    """Open-loop arrivals: an arrival process whose rate follows a rate curve. Arrivals do not wait
    for responses.

    `rates` are the points of the rate curve: seconds from the start of the measurement window, and
    requests per second. Between points, the rate is interpolated linearly; two points at the same
    time are a jump. `cv` is the coefficient of variation of the interarrival times of `gamma`: 1 is
    Poisson, higher values are burstier.
    """

    process: Literal["constant", "poisson", "gamma"]
    rates: tuple[tuple[float, float], ...]
    cv: float = 1.0


class TraceArrivals(msgspec.Struct, frozen=True, tag="trace"):
    """Arrivals at recorded times, in ns from the start of the measurement window, in ascending
    order. The times are encoded as little-endian int64."""

    offsets_ns: bytes


class ClosedArrivals(msgspec.Struct, frozen=True, tag="closed"):
    """Closed-loop arrivals. Each of `concurrency` clients sends its next request after the previous
    response and a think time. The think time is exponentially distributed with mean `think_s`."""

    concurrency: int
    think_s: float = 0.0


Arrivals = OpenArrivals | TraceArrivals | ClosedArrivals


class StageLoad(msgspec.Struct, frozen=True):
    """Load of a stage, as a profile specifies it and as the workers send it. Arrivals last
    `lead_in_s` seconds for the lead-in and then, without a break, `duration_s` seconds for the
    measurement window. The stage ends earlier after `max_requests` requests, if set.

    The lead-in warms up the target. Requests that are in flight at the end of the lead-in continue
    into the measurement window. Rows with a scheduled start before StageStarted.start_ns belong to
    the lead-in.

    Times in `arrivals` are relative to the start of the measurement window. The first rate also
    applies to the lead-in.
    """

    arrivals: Arrivals
    duration_s: float
    lead_in_s: float = 0.0
    max_requests: int | None = None

    @property
    def total_duration_s(self) -> float:
        """Duration of the load in s, including the lead-in and excluding the drain."""
        return self.lead_in_s + self.duration_s


class StagePlan(msgspec.Struct, frozen=True):
    """Plan of one stage.

    After the last arrival, the stage drains: it waits at most `drain_s` until no request is in
    flight. During the drain, no further request of a session or a client is started.
    """

    index: int
    name: str
    load: StageLoad
    seed: int
    drain_s: float = 5.0
    first_request: int = 0
    """Position, among the prepared requests, of the request of the first arrival. Positions after
    the last prepared request start over."""


class WorkerShare(msgspec.Struct, frozen=True):
    """Share of a stage that one of `worker_count` workers runs.

    The worker sends the arrivals `index`, `index` + `worker_count`, … of the schedule that all
    workers share, and runs the corresponding clients of a closed loop.
    """

    index: int = 0
    worker_count: int = 1


# Commands: engine → worker


class Rendezvous(msgspec.Struct, frozen=True):
    """Address at which a master and its workers connect, and the secret `token` that they share.

    With port 0, a master listens on any free port. Without a token, a master generates a token for
    this run.
    """

    host: str = "127.0.0.1"
    port: int = 0
    token: str = ""
    wait_s: float = 60.0
    """Time limit in seconds for the worker to connect to its master, or for all workers to join the
    master."""


class Join(Rendezvous, frozen=True, tag="join"):
    """Command to connect to a master. A worker that serves a master reads no other command from its
    pipe.

    `capacity_per_s` and `chunk_capacity_per_s` are the worker's share of its machine's calibrated
    generator capacity, in requests per second and in streamed chunks per second; None if unknown.
    """

    capacity_per_s: float | None = None
    chunk_capacity_per_s: float | None = None


class Gather(Rendezvous, frozen=True, kw_only=True, tag="gather"):
    """First command to a master: start `local_workers` on this machine, and wait until
    `remote_workers` on other machines have joined."""

    local_workers: int
    remote_workers: int = 0
    wait_s: float = 300.0


class Configure(msgspec.Struct, frozen=True, tag="configure"):
    endpoint: Endpoint
    workload: Workload


class Preflight(msgspec.Struct, frozen=True, tag="preflight"):
    """Command to send one request of the workload and report the result."""


class RunStage(msgspec.Struct, frozen=True, tag="run_stage"):
    """Command to prepare a stage and then report `StagePrepared`. The command `StartStage` sets the
    start of the stage."""

    plan: StagePlan
    share: WorkerShare = WorkerShare()


class StartStage(msgspec.Struct, frozen=True, tag="start_stage"):
    """Command to start the prepared stage.

    `start_ns` is the start of the measurement window in ns on the receiver's clock. It is late
    enough for the lead-in, which comes first.
    """

    index: int
    start_ns: int


class StopStage(msgspec.Struct, frozen=True, tag="stop_stage"):
    """Command to stop a stage: start no further arrivals, drain the requests in flight (or
    interrupt them if `drain` is false), and end the stage."""

    drain: bool


class ChangeRate(msgspec.Struct, frozen=True, tag="change_rate"):
    """Command to change the rate of the running stage's open arrivals, from the time `at_ns` to the
    end of the stage."""

    rate_per_s: float
    at_ns: int


class ExtendStage(msgspec.Struct, frozen=True, tag="extend_stage"):
    """Command to extend the measurement window of the running stage to `duration_s` seconds.

    Open arrivals continue at their current rate, and clients of a closed loop continue to send. The
    command has no effect on a stage that has ended, that replays a trace, or whose measurement
    window is already longer.
    """

    duration_s: float


class Quit(msgspec.Struct, frozen=True, tag="quit"):
    """Command to end the worker. Closing the worker's standard input has the same effect. `reason`
    is set if a master rejects a worker."""

    reason: str | None = None


class Ping(msgspec.Struct, frozen=True, tag="ping"):
    """Message from a master, to which a worker immediately replies with a Pong. The reply shows
    that the worker is alive, and contains the time on the worker's clock."""

    sent_ns: int


Command = (
    Join | Gather | Configure | Preflight | RunStage | StartStage | StopStage | ChangeRate | ExtendStage | Ping | Quit
)


# Reports: worker → engine


class Hello(msgspec.Struct, frozen=True, tag="hello"):
    """First message of a worker to its master.

    `clock` identifies the worker's clock. If the master has the same clock, no clock offset is
    measured.
    """

    protocol_version: int
    host: str
    pid: int
    clock: str
    pacing: str
    event_loop: str
    capacity_per_s: float | None = None
    chunk_capacity_per_s: float | None = None


class Pong(msgspec.Struct, frozen=True, tag="pong"):
    """Reply to a ping. `sent_ns` is copied from the ping. `at_ns` is the time in ns on the worker's
    clock at which the worker read the ping."""

    sent_ns: int
    at_ns: int


class Joining(msgspec.Struct, frozen=True, tag="joining"):
    """Report of a master that is waiting for workers. The report is sent when the wait starts, and
    whenever a worker joins."""

    address: str
    joined: int
    expected: int


class LoadWorker(msgspec.Struct, frozen=True):
    """Load worker of a master. `is_local` is true if the master started the worker on its own
    machine."""

    index: int
    host: str
    pid: int
    is_local: bool
    capacity_per_s: float | None = None
    chunk_capacity_per_s: float | None = None


class Ready(msgspec.Struct, frozen=True, tag="ready"):
    """Report that a worker, or a master with all its workers, is ready for commands. `workers` is
    empty for a single worker without a master."""

    pid: int
    pacing: str
    """Mechanism that sends requests on schedule: "timerfd", "sleep", or "locust" for a user's
    Locust test."""
    event_loop: str
    workers: tuple[LoadWorker, ...] = ()


class PreflightDone(msgspec.Struct, frozen=True, tag="preflight_done"):
    """Result of the preflight request.

    `error` is one of ERROR_CLASSES, or None if the request succeeded. `detail` is a sentence for
    the user; it never contains the value of a header. `notes` are sentences for the result about
    detected properties of the target and approximate values.
    """

    error: str | None
    status: int | None
    detail: str
    service_ms: float | None
    end_ns: int | None = None
    """Time in ns at which the response was complete or the request failed; None if no request was
    sent."""
    notes: tuple[str, ...] = ()
    hosts: tuple[str, ...] = ()
    """Targets of a user's Locust test if no URL is specified: the hosts or URLs in the test."""
    reuses_connection: bool = True
    """False if the target closed the connection soon after the response, although the response had
    announced keep-alive."""
    prepared: int | None = None
    distinct: int | None = None
    """Number of distinct prompts among the `prepared` requests of a language model's workload; None
    for other workloads."""
    first_byte_ms: float | None = None
    """Time from the send to the first byte of the response, in ms; None if not reported."""
    first_token_ms: float | None = None
    """Time from the send to the first token, in ms; None if the response was not a stream of
    tokens."""
    tokens_out: int | None = None
    bytes_received: int | None = None
    headers: tuple[tuple[str, str], ...] = ()
    """Names and values of the response headers. Values that could contain a secret are replaced by
    `<redacted>`."""
    can_send: bool = True
    """False if no requests can be built, because the target did not return the metadata that the
    requests require."""
    is_empty: bool = False
    """True if the response has status 200, and no body although the workload requires one."""


class StagePrepared(msgspec.Struct, frozen=True, tag="stage_prepared"):
    index: int


class StageStarted(msgspec.Struct, frozen=True, tag="stage_started"):
    """Report that a stage has started.

    `start_ns` is the start of the measurement window in ns, after the lead-in. `scheduled` is the
    number of scheduled arrivals, or None if responses determine the arrivals.
    """

    index: int
    start_ns: int
    scheduled: int | None


class FirstError(msgspec.Struct, frozen=True):
    """First failure of an error class in a stage.

    `text` is one line of at most MAX_SAMPLE_CHARS characters. It never contains a header or a body,
    because they may contain a secret. `error` is one of ERROR_CLASSES or NOT_STARTED.
    """

    error: str
    at_ns: int
    text: str


class Progress(msgspec.Struct, frozen=True, tag="progress"):
    """Counts of the running stage, sent at most four times per second.

    `due` is the number of arrivals that have become due so far. `in_flight` is None for a
    user's Locust test, because Locust reports requests only when they have ended.
    """

    index: int
    at_ns: int
    due: int
    sent: int
    completed: int
    failed: int
    in_flight: int | None
    max_lag_ms: float
    first_errors: tuple[FirstError, ...] = ()
    """First failure of each error class in the stage so far."""


class WorkerStageResult(msgspec.Struct, frozen=True):
    """Result of one worker in a stage with several workers.

    `lost_ns` is the time of the last message if the worker was lost, otherwise None. Requests that
    a lost worker sent before that time may have no row; later requests have none.

    `clock_residual_ms` is the largest deviation, including half the round trip time, of the
    worker's clock from the linear model that converts its times. It is None if the worker shares
    the master's clock.
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
    """Time in seconds that the worker's sending thread waited for a CPU core while ready to run;
    None if not reported by the OS."""


class LiveSessionCounts(msgspec.Struct, frozen=True):
    """Sessions of a stage whose requests contained the server's own responses.

    `completed`, `failed`, `context_limit` and `unusable_response` count the sessions by their
    outcome (see SessionOutcome). All other sessions that were started were cut off by the end of
    the stage. `built_requests` is the number of further requests that were built during the stage.
    Building them took `build_cpu_ns` ns of CPU time in total, and at most `max_build_cpu_ns` ns for
    one request.
    """

    started: int = 0
    completed: int = 0
    failed: int = 0
    context_limit: int = 0
    unusable_response: int = 0
    built_requests: int = 0
    build_cpu_ns: int = 0
    max_build_cpu_ns: int = 0


OutputCount = Literal["responses", "calling_responses", "tool_calls", "checked", "valid"]
"""Name of a count of the successful responses of a stage whose content was examined.

`calling_responses` of the `responses` call tools, `tool_calls` times in total. `checked` responses
were checked against the JSON schema of the workload, and `valid` of them match it. The others have
the error class `bad-output`.
"""


class RoundTrips(msgspec.Struct, frozen=True):
    """Round-trip times that the kernel measured on the open TCP connections until the end of a
    stage, to the first hop that ends a TCP connection, such as a proxy.

    `min_ms` is the mean of each connection's lowest round-trip time. The kernel's moving average is
    not used, because it can include the time for which the other side delays an acknowledgment.
    """

    connections: int
    min_ms: float


class StageEnded(msgspec.Struct, frozen=True, tag="stage_ended"):
    """Report that a stage has ended. The report is sent after the last row of the stage.

    `never_started` is the number of arrivals whose request was never sent; their rows have no
    `sent_ns`.
    """

    index: int
    start_ns: int
    end_ns: int
    scheduled: int | None
    never_started: int
    cpu_s: float
    """CPU time in seconds that the worker (or all workers together) used between start and end of
    the stage."""
    connections_opened: int
    stopped_early: bool
    rates: tuple[tuple[float, float], ...] = ()
    """Rate curve of open arrivals as executed, including rate changes; empty for other arrivals."""
    workers: tuple[WorkerStageResult, ...] = ()
    """Result of each worker of the stage, if there are several workers. Workers lost since the
    previous stage are included. The other fields combine the results of all workers."""
    cpu_wait_s: float | None = None
    """Time in seconds that the sending thread waited for a CPU core while ready to run, between
    start and end of the stage; the maximum over all workers. None if not reported by the OS."""
    first_errors: tuple[FirstError, ...] = ()
    """First failure of each error class in the stage."""
    duration_s: float | None = None
    """Duration of the measurement window in seconds, including extensions; the minimum over all
    workers."""
    live_sessions: LiveSessionCounts | None = None
    """Sessions of the stage; None unless their requests contain the server's own responses."""
    outputs: dict[OutputCount, int] | None = None
    """Content of the responses of the stage; None unless the workload has tools or checks responses
    against a JSON schema."""
    batch: BatchOutcome | None = None
    """End of the stage's job; None unless the stage is a job of the Batch API."""
    round_trips: RoundTrips | None = None
    """Round-trip times of the connections; None if the OS does not report them, and for Unix sockets
    and gRPC."""


class Failed(msgspec.Struct, frozen=True, tag="failed"):
    """Report that the worker cannot continue.

    If `error` is one of ERROR_CLASSES, the target is at fault. If `is_workload_invalid` is true,
    the settings of the workload or the endpoint are at fault. Otherwise the worker itself failed.
    """

    message: str
    hint: str | None = None
    error: str | None = None
    is_workload_invalid: bool = False


Report = Hello | Pong | Joining | Ready | PreflightDone | StagePrepared | StageStarted | Progress | StageEnded | Failed
