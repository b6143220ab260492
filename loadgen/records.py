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

WIRE = 1
"""Of what master and workers tell each other: both must have the same."""

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


# what is sent


class Dataset(msgspec.Struct, frozen=True):
    """Rows of a file, in their order: JSON lines, CSV with a header, Parquet, or the files of a folder, sorted by name.

    A row of a folder has one column, `file`: the bytes. A line of JSON that is no object has one column, `value`.
    """

    path: str
    format: Literal["jsonl", "csv", "parquet", "folder"]


class Popularity(msgspec.Struct, frozen=True):
    """Which of the prepared requests an arrival sends: each in turn, any alike, or the k-th with weight k^-exponent."""

    kind: Literal["in-turn", "uniform", "zipf"] = "in-turn"
    exponent: float = 1.0


class FixedLength(msgspec.Struct, frozen=True, tag="fixed"):
    tokens: int


class UniformLength(msgspec.Struct, frozen=True, tag="uniform"):
    """Both ends included."""

    low: int
    high: int


class NormalLength(msgspec.Struct, frozen=True, tag="normal"):
    """Drawn again until within `low` and `high`."""

    mean: float
    sd: float
    low: int = 1
    high: int | None = None


class LognormalLength(msgspec.Struct, frozen=True, tag="lognormal"):
    """`sigma` is the standard deviation of the logarithm."""

    median: float
    sigma: float
    low: int = 1
    high: int | None = None


class EmpiricalLength(msgspec.Struct, frozen=True, tag="empirical"):
    """Values with weights; no weights means all alike."""

    values: tuple[int, ...]
    weights: tuple[float, ...] = ()


Length = FixedLength | UniformLength | NormalLength | LognormalLength | EmpiricalLength
"""A distribution of lengths in tokens (of turns, where it says so)."""


class SyntheticPrompts(msgspec.Struct, frozen=True, tag="synthetic"):
    """Seeded prompts of words. Without a tokenizer a length is approximate.

    With `prefix_groups` every prompt begins with one of so many shared prefixes of `prefix_tokens`, drawn by the
    workload's popularity; they come on top of `input_tokens`. With `turns` an arrival starts a session of so many
    requests, each sent `think_s` (exponential, that mean) after the answer to the one before, and each holding all
    turns before it; the answers in it are made up ahead as well, of `output_tokens`.
    """

    input_tokens: Length
    output_tokens: Length | None = None
    prefix_groups: int = 0
    prefix_tokens: int = 0
    turns: Length | None = None
    think_s: float = 0.0
    unique: int = 1000
    """Different requests (sessions, with turns) prepared, memory permitting."""


class DatasetPrompts(msgspec.Struct, frozen=True, tag="dataset"):
    """A column of text, or of a list of chat messages; optionally one with the number of tokens to ask for.

    For embeddings and reranking the column may hold a list of texts.
    """

    dataset: Dataset
    prompt: str = "prompt"
    output_tokens: str | None = None


class TracePrompts(msgspec.Struct, frozen=True, tag="trace"):
    """Synthetic prompts of the lengths of a trace, one an arrival, in its order. Little-endian int32 each."""

    input_tokens: bytes
    output_tokens: bytes


Prompts = SyntheticPrompts | DatasetPrompts | TracePrompts


class Expectation(msgspec.Struct, frozen=True):
    """What an answer must be to count as a success; an answer that is not is `bad-output`.

    `pointer` is a JSON pointer (RFC 6901) to the value that `equals` (as JSON) or `matches` (a regular expression, as
    RE2 has them, searched in text) is held against; without it, they are held against the whole body. A pointer alone
    must lead somewhere.
    """

    statuses: tuple[int, ...] = ()
    """Other than 200 to 299."""
    pointer: str | None = None
    equals: bytes | None = None
    matches: str | None = None


class HttpWorkload(msgspec.Struct, frozen=True, tag="http"):
    """Plain HTTP: each body is one request; no bodies means one request without a body.

    `{{column}}` in `template` and in `path` is replaced by the column of a row of `dataset`: in a JSON template as JSON
    (a placeholder inside a string as its text), elsewhere and in a path (percent-encoded) as text. A dataset without a
    template is sent as it is: a folder's files, lines of JSON, else each row as a JSON object.
    """

    method: str = "GET"
    path: str | None = None
    """Replaces the path of the target's URL when given."""
    bodies: tuple[bytes, ...] = ()
    content_type: str | None = None
    template: str | None = None
    dataset: Dataset | None = None
    expect: Expectation | None = None
    popularity: Popularity = Popularity()
    seed: int = 0


class OpenAiWorkload(msgspec.Struct, frozen=True, tag="openai"):
    """An OpenAI-compatible API under the URL, which is the base URL as clients take it (usually ending in /v1).

    `stream` is for chat, completions and responses. `extra_body` is a JSON object merged over what is built.
    `tokenizer` is a `tokenizer.json` of the user's. `documents` are how many texts a reranking holds.
    """

    api: Literal["chat", "completions", "responses", "embeddings", "rerank"]
    model: str
    prompts: Prompts
    stream: bool = True
    extra_body: bytes = b"{}"
    tokenizer: str | None = None
    documents: int = 8
    popularity: Popularity = Popularity()
    seed: int = 0


class OipWorkload(msgspec.Struct, frozen=True, tag="oip"):
    """Open Inference Protocol v2 over HTTP or gRPC. Inputs come from an .npz of arrays named like the model's inputs,
    whose first axis is the row; without one they are made from the shapes in the model's metadata, seeded.

    Over HTTP, `binary` asks for the binary tensor extension; a server that refuses it gets JSON from then on.
    """

    model: str
    version: str | None = None
    transport: Literal["http", "grpc", "grpc-stream"] = "http"
    tensors: str | None = None
    labels: str | None = None
    """Name of the .npz array with the right class of each row; the answer's arg max is held against it."""
    rows_per_request: int = 1
    binary: bool = True
    popularity: Popularity = Popularity()
    seed: int = 0


class TfServingWorkload(msgspec.Struct, frozen=True, tag="tf-serving"):
    """TensorFlow Serving's REST API: rows of an .npz, or made up from the signature in the model's metadata."""

    model: str
    version: str | None = None
    signature: str = "serving_default"
    tensors: str | None = None
    rows_per_request: int = 1
    popularity: Popularity = Popularity()
    seed: int = 0


class TorchServeWorkload(msgspec.Struct, frozen=True, tag="torchserve"):
    """TorchServe's inference API: a body a request, or a row of the dataset (a folder's files as they are)."""

    model: str
    version: str | None = None
    bodies: tuple[bytes, ...] = ()
    dataset: Dataset | None = None
    content_type: str = "application/json"
    popularity: Popularity = Popularity()
    seed: int = 0


class LocustWorkload(msgspec.Struct, frozen=True, tag="locust"):
    """A user's own Locust test, driven unchanged by `loadgen.locustfile`; no classes named means all of the file's."""

    file: str
    user_classes: tuple[str, ...] = ()
    spawn_per_s: float = 10.0


Workload = HttpWorkload | OpenAiWorkload | OipWorkload | TfServingWorkload | TorchServeWorkload | LocustWorkload


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


class Quit(msgspec.Struct, frozen=True, tag="quit"):
    """End the worker; so does the end of its standard input. `why` is told by a master to one that it does without."""

    why: str | None = None


class Ping(msgspec.Struct, frozen=True, tag="ping"):
    """From a master: answered at once, by what shows that the worker lives and what its clock says."""

    sent_ns: int


Command = Join | Gather | Configure | Preflight | RunStage | StartStage | StopStage | ChangeRate | Ping | Quit


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


class StagePrepared(msgspec.Struct, frozen=True, tag="stage_prepared"):
    index: int


class StageStarted(msgspec.Struct, frozen=True, tag="stage_started"):
    """`start_ns` is where the measured part begins, after the lead-in. `scheduled` is None where answers decide it."""

    index: int
    start_ns: int
    scheduled: int | None


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


class Failed(msgspec.Struct, frozen=True, tag="failed"):
    """The worker cannot go on. The target is at fault when `error`, one of ERROR_CLASSES, says so; what it was told to
    send, or where, when `is_workload_wrong`; else the worker itself."""

    message: str
    hint: str | None = None
    error: str | None = None
    is_workload_wrong: bool = False


Report = Hello | Pong | Joining | Ready | PreflightDone | StagePrepared | StageStarted | Progress | StageEnded | Failed
