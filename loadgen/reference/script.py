"""Behavior of a scripted server: fixed responses, streams that are exact to the byte and in time, and mock protocols.

In JSON (`python -m loadgen.reference.scripted --script FILE`), bytes are base64 and a record of a union has a `type`.
Also computes when a response is due.
"""

from __future__ import annotations

import heapq
import random
from collections.abc import Callable
from typing import Any, Literal

import msgspec

from loadgen.payloads.tensors import TensorInput

ReplyMode = Literal[
    "whole", "chunked", "until-close", "close-after", "close-unsaid", "interim", "slow-head", "slow-body", "cut-body",
    "drop", "reset", "hang", "garbage", "http-1.0",
]  # fmt: skip
"""How a reply is sent.

`close-after`: complete, with Connection: close; `close-unsaid`: complete, then closed without announcement; `interim`:
a 100 Continue precedes it; `slow-head`: byte by byte, one per millisecond; `slow-body`: the same after the head;
`cut-body`: the connection closes in the middle of the body; `drop`: it closes before any byte; `reset`: it is reset
before any byte; `hang`: no response; `garbage`: bytes that are not HTTP; `http-1.0`: an HTTP/1.0 response that ends
with the connection.
"""


class Reply(msgspec.Struct, frozen=True, tag="reply"):
    status: int = 200
    body: bytes = b"{}"
    headers: tuple[tuple[str, str], ...] = ()
    mode: ReplyMode = "whole"


class Stream(msgspec.Struct, frozen=True, tag="stream"):
    """A scripted stream.

    `pieces` are written to the socket unchanged, each with its time in seconds after the request; small pieces that are
    due at the same time are joined. Then the connection stays open, is closed or is reset, or the last `repeated`
    pieces are sent again forever, each time `period_s` later. `loadgen.reference.openai_events` builds such streams.
    """

    pieces: tuple[tuple[float, bytes], ...]
    end: Literal["open", "close", "reset", "repeat"] = "open"
    repeated: int = 1
    period_s: float = 0.02


class ServiceModel(msgspec.Struct, frozen=True):
    """Service model: how long requests take.

    `servers` requests are processed at a time and the rest queue; None means no limit. A response, or its first token,
    takes `delay_s`: a constant, or the median of a lognormal distribution whose logarithm has the standard deviation
    `sigma`. Each further token takes 1/`tokens_per_s`, and each row `row_s` more.
    """

    delay_s: float = 0.0
    sigma: float = 0.0
    servers: int | None = None
    tokens_per_s: float | None = None
    row_s: float = 0.0
    seed: int = 0


class HttpMock(msgspec.Struct, frozen=True, tag="http"):
    """Plain HTTP: any request to `path` (None: any path) gets `response` as JSON."""

    service_model: ServiceModel = ServiceModel()
    path: str | None = None
    response: Any = msgspec.field(default_factory=dict)


class OpenAiMock(msgspec.Struct, frozen=True, tag="openai"):
    """The /v1 API of an OpenAI-compatible server: chat and text completions, responses, embeddings, rerank, models.

    A response has as many tokens as the request allows, or else `output_tokens`; each is "tok ".
    """

    service_model: ServiceModel = ServiceModel()
    model: str = "scripted"
    output_tokens: int = 16
    embedding_size: int = 8


class TensorModel(msgspec.Struct, frozen=True):
    """A model with typed inputs and outputs. Its outputs are zeros, one row per input row."""

    service_model: ServiceModel = ServiceModel()
    model: str = "scripted"
    inputs: tuple[TensorInput, ...] = (TensorInput("input", "FP32", (-1, 4)),)
    outputs: tuple[TensorInput, ...] = (TensorInput("output", "FP32", (-1, 2)),)


class OipMock(TensorModel, frozen=True, tag="oip"):
    """A model served by the Open Inference Protocol over HTTP, JSON and binary."""


class TfServingMock(TensorModel, frozen=True, tag="tf-serving"):
    """A model served by TensorFlow Serving's REST API: predictions and metadata. Datatypes are those of OIP."""

    signature: str = "serving_default"


class TorchServeMock(msgspec.Struct, frozen=True, tag="torchserve"):
    """A model served by TorchServe's inference API; every prediction is `response` as JSON."""

    service_model: ServiceModel = ServiceModel()
    model: str = "scripted"
    response: Any = msgspec.field(default_factory=dict)


MockProtocol = HttpMock | OpenAiMock | OipMock | TfServingMock | TorchServeMock


class Script(msgspec.Struct, frozen=True):
    """Behavior of a scripted server.

    Each reply is due `delay_s` after its request, with no limit on concurrency. The first of `protocols` that accepts a
    request responds to it according to its own service model.

    The freeze begins `freeze_after_s` after the first request and lasts `freeze_s`: replies due during it are sent at
    its end. At r requests per second, r × `freeze_s` of them wait longer, by a time that is uniform between 0 and
    `freeze_s`.
    """

    reply: Reply | Stream = Reply()
    paths: dict[str, Reply | Stream] = {}
    """Other replies, by path."""
    delay_s: float = 0.0
    freeze_after_s: float = 0.0
    freeze_s: float = 0.0
    protocols: tuple[MockProtocol, ...] = ()
    ready_after_s: float = 0.0
    """Seconds from the server's start during which every response is an immediate 503."""


class FifoService:
    """A FIFO queue: requests are served in order of arrival, so the times of each one are known immediately."""

    def __init__(self, model: ServiceModel) -> None:
        self._service_model = model
        self._random = random.Random(model.seed)
        self._free_ns = None if model.servers is None else [0] * model.servers
        self.gap_ns = 0 if model.tokens_per_s is None else round(1e9 / model.tokens_per_s)

    def schedule(self, at_ns: int, *, rows: int = 0, tokens: int = 1) -> tuple[int, int]:
        """Add a request; return the ns from `at_ns` until processing begins, and from there until the first token."""
        first_ns = self._first_ns() + round(rows * self._service_model.row_s * 1e9)
        if self._free_ns is None:
            return 0, first_ns
        start_ns = max(at_ns, self._free_ns[0])
        heapq.heapreplace(self._free_ns, start_ns + first_ns + max(tokens - 1, 0) * self.gap_ns)
        return start_ns - at_ns, first_ns

    def _first_ns(self) -> int:
        service_model = self._service_model
        factor = self._random.lognormvariate(0, service_model.sigma) if service_model.sigma else 1.0
        return round(service_model.delay_s * factor * 1e9)


def build_freeze(script: Script, first_ns: int) -> Callable[[int], int]:
    """Return a function that delays due times during the freeze to its end; `first_ns` is the time of the first
    request."""
    begin_ns = first_ns + round(script.freeze_after_s * 1e9)
    end_ns = begin_ns + round(script.freeze_s * 1e9)
    return lambda due_ns: end_ns if begin_ns <= due_ns < end_ns else due_ns
