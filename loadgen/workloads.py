"""Workloads, which define the requests to send. The types are part of the wire format of
`loadgen.records`."""

from __future__ import annotations

from typing import ClassVar, Literal, get_args

import msgspec


class Dataset(msgspec.Struct, frozen=True):
    """Dataset: the rows of a JSON lines, CSV (with a header) or Parquet file or of a JSON array of
    objects in the order of the file, or the files of a folder sorted by name.

    The rows of a folder have a single column, `file`, with the content of the file as bytes. A JSON
    line that is not an object becomes a row with a single column, `value`.
    """

    path: str
    format: Literal["jsonl", "csv", "parquet", "folder", "json"]


class Popularity(msgspec.Struct, frozen=True):
    """Selection of the prepared request for each arrival.

    `sequential`: all requests in order. `uniform`: uniformly at random. `zipf`: by a Zipf
    distribution, in which the request of rank k has the weight k^-`exponent`; ranks are assigned to
    requests at random.
    """

    kind: Literal["sequential", "uniform", "zipf"] = "sequential"
    exponent: float = 1.0


class FixedLength(msgspec.Struct, frozen=True, tag="fixed"):
    tokens: int


class UniformLength(msgspec.Struct, frozen=True, tag="uniform"):
    """Uniform distribution of lengths from `low` to `high`, both included."""

    low: int
    high: int


class NormalLength(msgspec.Struct, frozen=True, tag="normal"):
    """Normal distribution of lengths, truncated to the range from `low` to `high`. If `high` is
    None, the range has no upper limit."""

    mean: float
    sd: float
    low: int = 1
    high: int | None = None


class LognormalLength(msgspec.Struct, frozen=True, tag="lognormal"):
    """Lognormal distribution of lengths, truncated to the range from `low` to `high`. If `high` is
    None, the range has no upper limit. `sigma` is the standard deviation of the logarithm."""

    median: float
    sigma: float
    low: int = 1
    high: int | None = None


class EmpiricalLength(msgspec.Struct, frozen=True, tag="empirical"):
    """Empirical distribution of lengths: values with weights. Without weights, all values are
    equally likely."""

    values: tuple[int, ...]
    weights: tuple[float, ...] = ()


Length = FixedLength | UniformLength | NormalLength | LognormalLength | EmpiricalLength
"""Distribution of lengths in tokens, or of the number of turns of a session."""


class JointLengths(msgspec.Struct, frozen=True, tag="joint"):
    """Joint distribution of the lengths of prompts and responses: pairs of lengths with weights.

    The lengths, in tokens, are encoded as little-endian int32, and the weights as little-endian
    float64. Without weights, all pairs are equally likely.
    """

    input_tokens: bytes
    output_tokens: bytes
    weights: bytes = b""


class Documents(msgspec.Struct, frozen=True):
    """Documents that prompts contain, as in retrieval-augmented generation: `count` different
    documents with lengths from the distribution `tokens`.

    Each message of a user begins with `per_prompt` different documents, which are drawn by
    `popularity`. Popular documents tend to be drawn first. `order` is the order in the message: as
    drawn, or the most popular document first.
    """

    count: int
    tokens: Length
    per_prompt: int = 1
    popularity: Popularity = Popularity("zipf")
    order: Literal["drawn", "popularity"] = "drawn"


class Images(msgspec.Struct, frozen=True):
    """Generated images in the first message of a user: `count` PNG images of `width` × `height`
    pixels. If `unique` is set, the prompts share that many different images, in turn; otherwise all
    images differ."""

    count: int = 1
    width: int = 512
    height: int = 512
    unique: int | None = None


class AudioClips(msgspec.Struct, frozen=True):
    """Generated audio clips in the first message of a user: `count` WAV clips of `duration_s`. If
    `unique` is set, the prompts share that many different clips, in turn; otherwise all clips
    differ."""

    count: int = 1
    duration_s: float = 10.0
    unique: int | None = None


class JsonFormat(msgspec.Struct, frozen=True):
    """Format of a response: JSON that matches `schema`, an encoded JSON schema. `strict` requests
    that the server enforces the schema. With `check`, a response that does not match the schema has
    the error class `bad-output`."""

    schema: bytes
    strict: bool = True
    check: bool = False


class RequestOptions(msgspec.Struct, frozen=True):
    """Options of requests that APIs write in different notations. `tools` is a JSON array of
    objects with `name`, `parameters` and optionally `description` and `strict`; empty for no
    tools."""

    tools: bytes = b""
    tool_choice: Literal["auto", "required", "none"] = "auto"
    response_format: JsonFormat | None = None


class FixedDelay(msgspec.Struct, frozen=True, tag="fixed"):
    delay_s: float


class ExponentialDelay(msgspec.Struct, frozen=True, tag="exponential"):
    mean_s: float


class UniformDelay(msgspec.Struct, frozen=True, tag="uniform"):
    low_s: float
    high_s: float


class LognormalDelay(msgspec.Struct, frozen=True, tag="lognormal"):
    """Lognormal distribution of delays. `sigma` is the standard deviation of the logarithm. Longer
    delays than `high_s`, if set, are replaced by it."""

    median_s: float
    sigma: float
    high_s: float | None = None


Delay = FixedDelay | ExponentialDelay | UniformDelay | LognormalDelay
"""Distribution of delays, in seconds."""

NO_DELAY = FixedDelay(0.0)


class LiveHistory(msgspec.Struct, frozen=True):
    """Settings of sessions whose requests contain the server's own responses.

    If a response calls tools, the next request contains a generated result of `tool_tokens` tokens
    for each call instead of a user message, and is sent after a delay of `tool_time` instead of the
    think time. `reasoning` states whether the requests contain the reasoning of earlier responses.

    From the second turn on, a turn consists of `parallel` requests that are sent independently of
    each other. The next turn starts when all of them have ended. A session ends before the first
    request that would exceed `context_tokens`, including its output.
    """

    reasoning: Literal["keep", "drop"] = "drop"
    tool_tokens: Length = FixedLength(100)
    tool_time: Delay = NO_DELAY
    parallel: Length | None = None
    context_tokens: int | None = None


class CacheBust(msgspec.Struct, frozen=True):
    """String at the start of the first message, so that no prefix cache of the server contains the
    prompts of earlier runs, or of earlier sessions if `scope` is "session".

    The string is derived from `key`, which is different in every run.
    """

    scope: Literal["run", "session"]
    key: str


class SyntheticPrompts(msgspec.Struct, frozen=True, tag="synthetic"):
    """Seeded prompts of random words. Without a tokenizer, lengths are approximate.

    `input_tokens` may be a joint distribution of the lengths of prompts and responses;
    `output_tokens` is then None.

    If `prefix_groups` is set, every prompt begins with one of `prefix_groups` shared prefixes,
    drawn according to `prefix_popularity` or, if it is None, to the workload's popularity. A prefix
    has `prefix_tokens` tokens, in addition to `input_tokens`. `documents`, `images` and
    `audio` are in addition to `input_tokens`, too.

    If `turns` is set, each arrival starts a session of `turns` requests. Each further request
    contains all earlier turns, and is sent after the previous response and a think time. With
    `live`, the model's turns in the requests are the server's own responses; otherwise they are
    generated in advance, with `output_tokens` tokens each.
    """

    input_tokens: Length | JointLengths
    output_tokens: Length | None = None
    prefix_groups: int = 0
    prefix_tokens: int = 0
    turns: Length | None = None
    think_time: Delay = NO_DELAY
    live: LiveHistory | None = None
    unique: int = 1000
    """Number of distinct requests to prepare, or of distinct sessions if `turns` is set. Fewer are
    prepared if the memory limit is reached."""
    prefix_popularity: Popularity | None = None
    documents: Documents | None = None
    images: Images | None = None
    audio: AudioClips | None = None
    options: RequestOptions = RequestOptions()

    @property
    def has_output_lengths(self) -> bool:
        """True if the lengths of the responses are given."""
        return self.output_tokens is not None or isinstance(self.input_tokens, JointLengths)


class DatasetPrompts(msgspec.Struct, frozen=True, tag="dataset"):
    """Prompts from a dataset column that contains strings, lists of chat messages or conversations
    of ShareGPT. For embeddings and reranking, the column may contain lists of strings.

    `output_tokens` is the name of an optional column with the number of output tokens to request.
    For conversations of ShareGPT, it is the length of the recorded response.

    If `sessions` is True, each conversation is a session with one request per message of the user.
    Each request contains the recorded messages before it. Otherwise, only the first message of a
    conversation of ShareGPT is sent.
    """

    dataset: Dataset
    prompt: str = "prompt"
    output_tokens: str | None = None
    sessions: bool = False
    options: RequestOptions = RequestOptions()


class TracePrompts(msgspec.Struct, frozen=True, tag="trace"):
    """Synthetic prompts with the lengths of a trace: one prompt per arrival, in the order of the
    trace.

    The lengths, in tokens, are encoded as little-endian int32.

    If `hash_ids` is set, each prompt consists of blocks of `block_tokens` tokens. The last block may
    be shorter. Blocks with the same ID have the same text, so prompts share the prefixes of the
    trace. `hash_ids` contains the IDs of all prompts as little-endian int64, and `hash_counts` the
    number of IDs per prompt as little-endian int32.
    """

    input_tokens: bytes
    output_tokens: bytes
    hash_ids: bytes = b""
    hash_counts: bytes = b""
    block_tokens: int = 512


class SessionPrompts(msgspec.Struct, frozen=True, tag="sessions"):
    """Recorded sessions with a live history: one JSON line per request, in the format of
    `read_session_graphs`. Of `live`, only the reasoning and the limit of the context apply."""

    dataset: Dataset
    live: LiveHistory = LiveHistory()


Prompts = SyntheticPrompts | DatasetPrompts | TracePrompts | SessionPrompts


class Expectation(msgspec.Struct, frozen=True):
    """Conditions for a successful response.

    `pointer` is a JSON pointer (RFC 6901) to a value in the body. This value must equal `equals`
    (JSON) and match `matches` (a regular expression in RE2 syntax), if set. Without `pointer`, the
    conditions apply to the whole body. If only `pointer` is set, the value must exist.

    A response whose body violates a condition has the error class `bad-output`, or `bad-payload` if
    the body must be JSON but is not.
    """

    statuses: tuple[int, ...] = ()
    """Accepted HTTP status codes. If empty, the codes 200 to 299 are accepted."""
    pointer: str | None = None
    equals: bytes | None = None
    matches: str | None = None


def find_json_type(content_type: str | None) -> bool | None:
    """Return whether a content type is that of JSON; `None` if there is no content type."""
    if content_type is None:
        return None
    essence = content_type.partition(";")[0].strip().lower()
    return essence == "application/json" or essence.endswith("+json")


class ProtocolWorkload(msgspec.Struct, frozen=True):
    """Workload of one protocol, and what builds its requests."""

    builder: ClassVar[str] = ""
    """Module of `loadgen.protocols` and its function that builds the requests: `http.build_http`. Empty if no load
    worker sends them."""
    queries_server: ClassVar[bool] = False
    """True if the requests depend on what the server responds to queries, such as the metadata of a model. The
    builder is then a coroutine function with a further argument, the function that sends a query."""


class HttpWorkload(ProtocolWorkload, frozen=True, tag="http"):
    """Plain HTTP requests: one request per body, or a single request without a body if `bodies` is
    empty.

    `{{column}}` in `template` or `path` is replaced by the value of this column in a row of
    `dataset`. In a JSON template, the value is inserted as JSON; within a JSON string, it is
    inserted as part of the string. In other templates the value is inserted as text, and in a path
    as percent-encoded text.

    Without a template, the rows of the dataset are sent as they are: a file of a folder, a line of
    JSON, or a row as a JSON object.
    """

    builder: ClassVar[str] = "http.build_http"

    method: str = "GET"
    path: str | None = None
    """Path of the requests, which replaces the path in the target's URL; None to use the path in
    the URL."""
    bodies: tuple[bytes, ...] = ()
    content_type: str | None = None
    template: str | None = None
    dataset: Dataset | None = None
    expect: Expectation | None = None
    popularity: Popularity = Popularity()
    seed: int = 0


TextApi = Literal["chat", "completions", "responses", "messages"]
"""API whose responses are the text that a model generates for a prompt."""
TEXT_APIS: tuple[TextApi, ...] = get_args(TextApi)
OpenAiApi = Literal[TextApi, "embeddings", "rerank", "speech", "images"]
API_PATHS: dict[OpenAiApi, str] = {
    "chat": "/chat/completions",
    "completions": "/completions",
    "responses": "/responses",
    "messages": "/messages",
    "embeddings": "/embeddings",
    "rerank": "/rerank",
    "speech": "/audio/speech",
    "images": "/images/generations",
}
"""Path of each API below the base URL, which ends in /v1."""


RERANK_DOCUMENTS = 8
"""Default number of documents in a reranking request."""
SAMPLE_RATE_HZ = 24_000
"""Default sampling rate of audio that is sent or received without a format that declares one."""


class OpenAiWorkload(ProtocolWorkload, frozen=True, tag="openai"):
    """Requests to an OpenAI-compatible API, or to the Anthropic Messages API (`messages`). The
    endpoint's URL is the base URL, which usually ends in /v1.

    `stream` applies to chat, completions, responses, messages and speech. `extra_body` is a JSON object that is
    merged into the generated body and overrides its keys. `tokenizer` is the path of the user's
    `tokenizer.json`. `documents` is the number of documents in a reranking request. `sample_rate_hz`
    is the sampling rate of speech whose format does not declare one.
    """

    builder: ClassVar[str] = "openai.build_openai"

    api: OpenAiApi
    model: str
    prompts: Prompts
    stream: bool = True
    extra_body: bytes = b"{}"
    tokenizer: str | None = None
    documents: int = RERANK_DOCUMENTS
    popularity: Popularity = Popularity()
    seed: int = 0
    cache_bust: CacheBust | None = None
    sample_rate_hz: int = SAMPLE_RATE_HZ

    @property
    def generates_text(self) -> bool:
        """True if each response is the text that a model generates for a prompt."""
        return self.api in TEXT_APIS

    @property
    def options(self) -> RequestOptions:
        prompts = self.prompts
        return prompts.options if isinstance(prompts, SyntheticPrompts | DatasetPrompts) else RequestOptions()


class GeneratedAudio(msgspec.Struct, frozen=True):
    """Seeded audio clips that sound like a voice without words, with lengths in seconds. Fewer than
    `unique` are prepared if the memory limit is reached."""

    seconds: Length
    unique: int = 100


class TranscriptionWorkload(ProtocolWorkload, frozen=True, tag="transcription"):
    """Requests to transcribe audio with an OpenAI-compatible API: the audio files of the folder
    `dataset`, or generated clips.

    `fields` is a JSON object with further fields of the form, such as the language.
    """

    builder: ClassVar[str] = "openai_media.build_transcriptions"

    model: str
    generated: GeneratedAudio | None = None
    dataset: Dataset | None = None
    fields: bytes = b"{}"
    popularity: Popularity = Popularity()
    seed: int = 0


class RealtimeWorkload(ProtocolWorkload, frozen=True, tag="realtime"):
    """Dialogs of the OpenAI Realtime API, each on its own WebSocket: audio in real time, in messages
    of `chunk_s` seconds, then one spoken response.

    The audio is that of the WAV files of the folder `dataset`, or generated. `session` is a JSON
    object with the settings of the session.
    """

    builder: ClassVar[str] = "openai_realtime.build_realtime"

    model: str
    generated: GeneratedAudio | None = None
    dataset: Dataset | None = None
    session: bytes = b"{}"
    sample_rate_hz: int = SAMPLE_RATE_HZ
    output_sample_rate_hz: int = SAMPLE_RATE_HZ
    chunk_s: float = 0.1
    popularity: Popularity = Popularity()
    seed: int = 0


class TensorWorkload(ProtocolWorkload, frozen=True):
    """Requests to a served model, with rows of input tensors.

    `tensors` is the path of an .npz file with one array per model input, whose first axis is the
    row axis. Without a path, inputs are generated from `seed` and the shapes in the model's
    metadata.
    """

    model: str
    version: str | None = None
    tensors: str | None = None
    rows_per_request: int = 1
    popularity: Popularity = Popularity()
    seed: int = 0


class OipWorkload(TensorWorkload, frozen=True, kw_only=True, tag="oip"):
    """Requests of the Open Inference Protocol v2 over HTTP or gRPC.

    `binary` selects binary tensors. If the server rejects them, the requests are sent without
    binary tensors (over HTTP, as JSON).
    """

    builder: ClassVar[str] = "oip.build_oip"
    queries_server: ClassVar[bool] = True

    transport: Literal["http", "grpc", "grpc-stream"] = "http"
    labels: str | None = None
    """Name of the array in the .npz file with the correct class of each row; None if there are no
    labels."""
    output: str | None = None
    """Name of the model output with the class, or the class scores, of each row; None to select the
    output automatically from a response."""
    binary: bool = True


class TfServingWorkload(TensorWorkload, frozen=True, kw_only=True, tag="tf-serving"):
    """Requests to the REST API of TensorFlow Serving. Generated inputs conform to the metadata of
    the model's signature `signature`."""

    builder: ClassVar[str] = "tf_serving.build_tf_serving"
    queries_server: ClassVar[bool] = True

    signature: str = "serving_default"


class TorchServeWorkload(ProtocolWorkload, frozen=True, tag="torchserve"):
    """Requests to the inference API of TorchServe, each with one body or one row of the dataset.
    The files of a folder are sent unchanged."""

    builder: ClassVar[str] = "torchserve.build_torchserve"

    model: str
    version: str | None = None
    bodies: tuple[bytes, ...] = ()
    dataset: Dataset | None = None
    content_type: str = "application/json"
    popularity: Popularity = Popularity()
    seed: int = 0


class GrpcWorkload(ProtocolWorkload, frozen=True, tag="grpc"):
    """Calls of a gRPC method, `package.Service/Method`, one for each body of `requests`, or calls
    with an empty message if there is none.

    A body is a message in the JSON format of Protocol Buffers, or an array of messages if the method
    takes a stream of them. `protoset` is the path of a descriptor set; without it, the message types
    are those of the server's reflection.
    """

    builder: ClassVar[str] = "grpc_messages.build_grpc"
    queries_server: ClassVar[bool] = True

    method: str
    requests: HttpWorkload = HttpWorkload()
    """Bodies, template, dataset and popularity; what belongs to HTTP does not apply."""
    protoset: str | None = None


class BatchWorkload(ProtocolWorkload, frozen=True, tag="openai-batch"):
    """Job of the OpenAI Batch API, which consists of the chat completions of `requests`. The status
    of the job is requested every `poll_s` seconds."""

    requests: OpenAiWorkload
    poll_s: float = 10.0


BatchStatus = Literal["completed", "failed", "expired", "cancelled"]
"""End of a job of the Batch API, or of one of its requests."""


class BatchOutcome(msgspec.Struct, frozen=True):
    """End of a job of the Batch API.

    `upload_s` is the duration of the upload, and `job_s` the time from the creation of the job
    until its end was observed. `request_counts` has the requests by their end: expired and
    cancelled ones were not processed before the end of the job. `tokens_in` and `tokens_out` are
    the totals of the completed requests, or None if the server does not report them. `detail` is
    the server's reason, without secrets.
    """

    status: BatchStatus
    upload_s: float
    job_s: float
    request_counts: dict[BatchStatus, int]
    tokens_in: int | None = None
    tokens_out: int | None = None
    detail: str | None = None


class LocustWorkload(ProtocolWorkload, frozen=True, tag="locust"):
    """Locust test of the user, which `loadgen.locustfile` runs unchanged. If `user_classes` is
    empty, all user classes of the file run."""

    file: str
    user_classes: tuple[str, ...] = ()
    spawn_per_s: float = 10.0


class WorkloadClass(msgspec.Struct, frozen=True):
    """Class of requests in a mix. `weight` is the share of the arrivals that belong to the class,
    relative to the weights of the other classes."""

    name: str
    weight: float
    workload: OpenAiWorkload | HttpWorkload


class MixedWorkload(ProtocolWorkload, frozen=True, tag="mixed"):
    """Mix of several classes of requests to one endpoint. All classes have the same API.

    The class of each arrival is drawn from `seed` before the stage, so that the arrivals of each
    class are as random as those of the mix. An arrival of a class with sessions starts a session.
    """

    classes: tuple[WorkloadClass, ...]
    seed: int = 0


Workload = (
    HttpWorkload
    | OpenAiWorkload
    | TranscriptionWorkload
    | RealtimeWorkload
    | OipWorkload
    | TfServingWorkload
    | TorchServeWorkload
    | LocustWorkload
    | GrpcWorkload
    | BatchWorkload
    | MixedWorkload
)


def list_workloads(workload: Workload) -> tuple[Workload, ...]:
    """Return the workloads of the classes of a mix; only the workload itself if it is no mix."""
    if isinstance(workload, MixedWorkload):
        return tuple(request_class.workload for request_class in workload.classes)
    return (workload,)
