"""What is sent: the workloads of `loadgen.records`, part of the same wire format."""

from __future__ import annotations

from typing import Literal

import msgspec


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
    """Name of the .npz array with the right class of each row."""
    output: str | None = None
    """Name of the output that holds the class, or scores of classes, of each row; None where the answer makes it
    clear."""
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
