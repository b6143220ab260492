"""Workloads, which define the requests to send. They are part of the wire format of
`loadgen.records`."""

from __future__ import annotations

from typing import Literal

import msgspec


class Dataset(msgspec.Struct, frozen=True):
    """Rows of a JSON lines, CSV (with a header) or Parquet file in file order, or the files of a
    folder sorted by name.

    The rows of a folder have a single column, `file`, with the bytes of each file. A JSON line that
    is not an object becomes a row with a single column, `value`.
    """

    path: str
    format: Literal["jsonl", "csv", "parquet", "folder"]


class Popularity(msgspec.Struct, frozen=True):
    """Selection of the prepared request for each arrival: all requests in order (`in-turn`),
    uniformly at random, or by a Zipf distribution, in which a request of rank k has the weight
    k^-`exponent` and ranks are assigned at random."""

    kind: Literal["in-turn", "uniform", "zipf"] = "in-turn"
    exponent: float = 1.0


class FixedLength(msgspec.Struct, frozen=True, tag="fixed"):
    tokens: int


class UniformLength(msgspec.Struct, frozen=True, tag="uniform"):
    """Uniform distribution of lengths; both bounds are included."""

    low: int
    high: int


class NormalLength(msgspec.Struct, frozen=True, tag="normal"):
    """Normal distribution of lengths, truncated to the range from `low` to `high` (no upper limit
    if `high` is None)."""

    mean: float
    sd: float
    low: int = 1
    high: int | None = None


class LognormalLength(msgspec.Struct, frozen=True, tag="lognormal"):
    """Lognormal distribution of lengths, truncated to the range from `low` to `high` (no upper
    limit if `high` is None). `sigma` is the standard deviation of the logarithm."""

    median: float
    sigma: float
    low: int = 1
    high: int | None = None


class EmpiricalLength(msgspec.Struct, frozen=True, tag="empirical"):
    """Empirical distribution of lengths: values with weights; without weights, all values are
    equally likely."""

    values: tuple[int, ...]
    weights: tuple[float, ...] = ()


Length = FixedLength | UniformLength | NormalLength | LognormalLength | EmpiricalLength
"""Distribution of lengths, in tokens or in turns of a session."""


class SyntheticPrompts(msgspec.Struct, frozen=True, tag="synthetic"):
    """Seeded prompts of random words. Without a tokenizer, lengths are approximate.

    If `prefix_groups` is set, every prompt begins with one of `prefix_groups` shared prefixes of
    `prefix_tokens` tokens, drawn by the workload's popularity, in addition to `input_tokens`. If
    `turns` is set, each arrival starts a session of `turns` requests. Every further request is sent
    after the previous response and a think time (exponential with mean `think_s`), and contains all
    earlier turns. The model's turns are generated in advance, with `output_tokens` tokens.
    """

    input_tokens: Length
    output_tokens: Length | None = None
    prefix_groups: int = 0
    prefix_tokens: int = 0
    turns: Length | None = None
    think_s: float = 0.0
    unique: int = 1000
    """Number of distinct requests (or sessions, if `turns` is set) to prepare, as far as memory
    allows."""


class DatasetPrompts(msgspec.Struct, frozen=True, tag="dataset"):
    """Prompts from a dataset column of strings or lists of chat messages; `output_tokens` names an
    optional column with the number of output tokens to request.

    For embeddings and reranking, the prompt column may contain lists of strings.
    """

    dataset: Dataset
    prompt: str = "prompt"
    output_tokens: str | None = None


class TracePrompts(msgspec.Struct, frozen=True, tag="trace"):
    """Synthetic prompts with the lengths of a trace, one prompt per arrival in the order of the
    trace. The lengths are little-endian int32."""

    input_tokens: bytes
    output_tokens: bytes


Prompts = SyntheticPrompts | DatasetPrompts | TracePrompts


class Expectation(msgspec.Struct, frozen=True):
    """Conditions for a successful response; a response that violates them has the error class
    `bad-output`.

    `pointer` is a JSON pointer (RFC 6901) to the value that is compared with `equals` (as JSON) or
    searched by `matches` (a regular expression in RE2 syntax); without `pointer`, the whole body is
    used. If only `pointer` is set, the value must exist.
    """

    statuses: tuple[int, ...] = ()
    """Accepted status codes, instead of 200 to 299."""
    pointer: str | None = None
    equals: bytes | None = None
    matches: str | None = None


class HttpWorkload(msgspec.Struct, frozen=True, tag="http"):
    """Plain HTTP requests: one request per body, or a single request without a body if there are no
    bodies.

    `{{column}}` in `template` and in `path` is replaced by the value of that column of a row of
    `dataset`. In a JSON template the value is inserted as JSON (within a string, as string
    content), in other templates as text, and in a path as percent-encoded text. Without a template,
    the rows of the dataset are sent unchanged: files of a folder, lines of JSON, or each row as a
    JSON object.
    """

    method: str = "GET"
    path: str | None = None
    """Path that replaces the path of the target's URL."""
    bodies: tuple[bytes, ...] = ()
    content_type: str | None = None
    template: str | None = None
    dataset: Dataset | None = None
    expect: Expectation | None = None
    popularity: Popularity = Popularity()
    seed: int = 0


class OpenAiWorkload(msgspec.Struct, frozen=True, tag="openai"):
    """Requests to an OpenAI-compatible API. The endpoint's URL is the base URL, which usually ends
    in /v1.

    `stream` applies to chat, completions and responses. `extra_body` is a JSON object that is
    merged into the generated body and overrides its keys. `tokenizer` is the path of the user's
    `tokenizer.json`. `documents` is the number of documents in a reranking request.
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


class TensorWorkload(msgspec.Struct, frozen=True):
    """Requests with rows of input tensors for a served model.

    `tensors` is the path of an .npz file with one array per model input, whose first axis is the
    row. Without it, inputs are generated from the shapes in the model's metadata and `seed`.
    """

    model: str
    version: str | None = None
    tensors: str | None = None
    rows_per_request: int = 1
    popularity: Popularity = Popularity()
    seed: int = 0


class OipWorkload(TensorWorkload, frozen=True, kw_only=True, tag="oip"):
    """Requests of the Open Inference Protocol v2 over HTTP or gRPC.

    Over HTTP, `binary` selects the binary tensor extension; if the server rejects it, later
    requests use JSON.
    """

    transport: Literal["http", "grpc", "grpc-stream"] = "http"
    labels: str | None = None
    """Name of the .npz array with the correct class of each row."""
    output: str | None = None
    """Name of the output that contains the class, or the class scores, of each row; None to select
    the output automatically from a response."""
    binary: bool = True


class TfServingWorkload(TensorWorkload, frozen=True, kw_only=True, tag="tf-serving"):
    """Requests to the REST API of TensorFlow Serving; generated inputs follow the metadata of
    `signature`."""

    signature: str = "serving_default"


class TorchServeWorkload(msgspec.Struct, frozen=True, tag="torchserve"):
    """Requests to the inference API of TorchServe, with one body or one row of the dataset per
    request. The files of a folder are sent unchanged."""

    model: str
    version: str | None = None
    bodies: tuple[bytes, ...] = ()
    dataset: Dataset | None = None
    content_type: str = "application/json"
    popularity: Popularity = Popularity()
    seed: int = 0


class LocustWorkload(msgspec.Struct, frozen=True, tag="locust"):
    """A user's Locust test, run unchanged by `loadgen.locustfile`. If `user_classes` is empty, all
    user classes of the file run."""

    file: str
    user_classes: tuple[str, ...] = ()
    spawn_per_s: float = 10.0


Workload = HttpWorkload | OpenAiWorkload | OipWorkload | TfServingWorkload | TorchServeWorkload | LocustWorkload
