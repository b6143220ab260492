"""Workloads, which define what is sent: part of the same wire format as `loadgen.records`."""

from __future__ import annotations

from typing import Literal

import msgspec


class Dataset(msgspec.Struct, frozen=True):
    """Rows of a file in their order: JSON lines, CSV with a header, Parquet, or the files of a folder sorted by name.

    A row of a folder has one column, `file`, with the file's bytes. A JSON line that is not an object has one column,
    `value`.
    """

    path: str
    format: Literal["jsonl", "csv", "parquet", "folder"]


class Popularity(msgspec.Struct, frozen=True):
    """Selection of the prepared request that an arrival sends: each in turn, uniformly at random, or the k-th with
    weight k^-exponent."""

    kind: Literal["in-turn", "uniform", "zipf"] = "in-turn"
    exponent: float = 1.0


class FixedLength(msgspec.Struct, frozen=True, tag="fixed"):
    tokens: int


class UniformLength(msgspec.Struct, frozen=True, tag="uniform"):
    """Uniform distribution of lengths; both bounds are included."""

    low: int
    high: int


class NormalLength(msgspec.Struct, frozen=True, tag="normal"):
    """Normal distribution of lengths, truncated to `low` … `high`: values outside are drawn again."""

    mean: float
    sd: float
    low: int = 1
    high: int | None = None


class LognormalLength(msgspec.Struct, frozen=True, tag="lognormal"):
    """Lognormal distribution of lengths. `sigma` is the standard deviation of the logarithm."""

    median: float
    sigma: float
    low: int = 1
    high: int | None = None


class EmpiricalLength(msgspec.Struct, frozen=True, tag="empirical"):
    """Values drawn with the given weights; without weights, all values are equally likely."""

    values: tuple[int, ...]
    weights: tuple[float, ...] = ()


Length = FixedLength | UniformLength | NormalLength | LognormalLength | EmpiricalLength
"""Distribution of lengths in tokens, or in turns where stated."""


class SyntheticPrompts(msgspec.Struct, frozen=True, tag="synthetic"):
    """Seeded prompts of random words. Without a tokenizer, lengths are approximate.

    With `prefix_groups`, every prompt begins with one of that many shared prefixes of `prefix_tokens` tokens, drawn by
    the workload's popularity, in addition to `input_tokens`. With `turns`, an arrival starts a session of that many
    requests. Each is sent `think_s` (the mean of an exponential distribution) after the response to the previous one
    and contains all earlier turns; the model's responses in it are made up in advance too, with `output_tokens` tokens.
    """

    input_tokens: Length
    output_tokens: Length | None = None
    prefix_groups: int = 0
    prefix_tokens: int = 0
    turns: Length | None = None
    think_s: float = 0.0
    unique: int = 1000
    """Number of different requests (sessions, with `turns`) that are prepared, as far as memory allows."""


class DatasetPrompts(msgspec.Struct, frozen=True, tag="dataset"):
    """A column of text or of lists of chat messages, and optionally a column with the number of tokens to request.

    For embeddings and reranking, the column may hold a list of texts.
    """

    dataset: Dataset
    prompt: str = "prompt"
    output_tokens: str | None = None


class TracePrompts(msgspec.Struct, frozen=True, tag="trace"):
    """Synthetic prompts with the lengths of a trace, one per arrival and in its order. The lengths are little-endian
    int32."""

    input_tokens: bytes
    output_tokens: bytes


Prompts = SyntheticPrompts | DatasetPrompts | TracePrompts


class Expectation(msgspec.Struct, frozen=True):
    """Conditions for a response to count as a success; a response that does not meet them is `bad-output`.

    `pointer` is a JSON pointer (RFC 6901) to the value that is compared with `equals` (as JSON) or searched by
    `matches` (a regular expression in RE2 syntax); without it, the whole body is used. A pointer alone requires that
    the value exists.
    """

    statuses: tuple[int, ...] = ()
    """Accepted status codes, instead of 200 to 299."""
    pointer: str | None = None
    equals: bytes | None = None
    matches: str | None = None


class HttpWorkload(msgspec.Struct, frozen=True, tag="http"):
    """Plain HTTP: each body is one request; without bodies there is one request without a body.

    `{{column}}` in `template` and in `path` is replaced by that column of a row of `dataset`: in a JSON template as
    JSON (inside a string as its text), elsewhere and in a path (percent-encoded) as text. Without a template, a dataset
    is sent as it is: the files of a folder, lines of JSON, or else each row as a JSON object.
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
    """An OpenAI-compatible API under the URL, which is the base URL as clients expect it (usually ending in /v1).

    `stream` applies to chat, completions and responses. `extra_body` is a JSON object that is merged over the generated
    body. `tokenizer` is the path of the user's `tokenizer.json`. `documents` is the number of texts in a reranking
    request.
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
    """Requests with rows of tensors for a model on a server.

    Inputs come from an .npz of arrays named like the model's inputs, whose first axis is the row; without one, they are
    generated from the shapes in the model's metadata with a seed.
    """

    model: str
    version: str | None = None
    tensors: str | None = None
    rows_per_request: int = 1
    popularity: Popularity = Popularity()
    seed: int = 0


class OipWorkload(TensorWorkload, frozen=True, kw_only=True, tag="oip"):
    """Open Inference Protocol v2 over HTTP or gRPC.

    Over HTTP, `binary` requests the binary tensor extension; a server that rejects it gets JSON from then on.
    """

    transport: Literal["http", "grpc", "grpc-stream"] = "http"
    labels: str | None = None
    """Name of the .npz array with the correct class of each row."""
    output: str | None = None
    """Name of the output that contains the class, or the class scores, of each row; None if the response makes it
    clear."""
    binary: bool = True


class TfServingWorkload(TensorWorkload, frozen=True, kw_only=True, tag="tf-serving"):
    """TensorFlow Serving's REST API; generated inputs follow the metadata of the `signature`."""

    signature: str = "serving_default"


class TorchServeWorkload(msgspec.Struct, frozen=True, tag="torchserve"):
    """TorchServe's inference API: one body per request, or one row of the dataset (the files of a folder as they
    are)."""

    model: str
    version: str | None = None
    bodies: tuple[bytes, ...] = ()
    dataset: Dataset | None = None
    content_type: str = "application/json"
    popularity: Popularity = Popularity()
    seed: int = 0


class LocustWorkload(msgspec.Struct, frozen=True, tag="locust"):
    """A user's own Locust test, run unchanged by `loadgen.locustfile`; if no classes are named, all classes of the file
    run."""

    file: str
    user_classes: tuple[str, ...] = ()
    spawn_per_s: float = 10.0


Workload = HttpWorkload | OpenAiWorkload | OipWorkload | TfServingWorkload | TorchServeWorkload | LocustWorkload
