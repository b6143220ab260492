"""Script of a mock server: fixed responses, streams with exact bytes and times, and mock protocols.

In JSON (`python -m loadgen.reference.scripted --script FILE`), bytes are base64-encoded and a
member of a union has a `type`. The module also computes when a response is due.
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

`whole`: at once; `chunked`: in two chunks; `until-close`: without a length, ended by closing the
connection; `close-after`: complete, with Connection: close; `close-unsaid`: complete, then the
connection is closed without announcement; `interim`: preceded by 100 Continue; `slow-head`: one
byte per millisecond; `slow-body`: one byte per millisecond after the head; `cut-body`: the
connection is closed in the middle of the body; `drop`: the connection is closed before the first
byte; `reset`: the connection is reset before the first byte; `hang`: no response; `garbage`: bytes
that are not HTTP; `http-1.0`: an HTTP/1.0 response that ends when the connection is closed.
"""


class Reply(msgspec.Struct, frozen=True, tag="reply"):
    status: int = 200
    body: bytes = b"{}"
    headers: tuple[tuple[str, str], ...] = ()
    mode: ReplyMode = "whole"


End = Literal["open", "close", "reset", "repeat"]


class Ending(msgspec.Struct, frozen=True, kw_only=True):
    """End of a response: after the last piece, the connection stays open, is closed or is reset, or
    the last `repeated` pieces are repeated forever every `period_s` seconds."""

    end: End = "open"
    repeated: int = 1
    period_s: float = 0.02


class Stream(Ending, frozen=True, tag="stream"):
    """A scripted response stream.

    `pieces` are send times in seconds after the request, and bytes that are written to the socket
    unchanged; small pieces with the same send time are joined. `loadgen.reference.openai_events`
    builds such streams.
    """

    pieces: tuple[tuple[float, bytes], ...]


class ServiceModel(msgspec.Struct, frozen=True):
    """Service model of a mock server: the distribution of service times and the concurrency.

    At most `servers` requests are processed concurrently and further requests are queued; None
    means no limit. The time until the response or its first token is `delay_s` if `sigma` is 0,
    otherwise lognormal with median `delay_s` and standard deviation `sigma` of the logarithm. Each
    row adds `row_s`, and each further token takes 1/`tokens_per_s`.
    """

    delay_s: float = 0.0
    sigma: float = 0.0
    servers: int | None = None
    tokens_per_s: float | None = None
    row_s: float = 0.0
    seed: int = 0


class HttpMock(msgspec.Struct, frozen=True, tag="http"):
    """Mock HTTP server: the response to any request to `path` (None: any path) is `response` as
    JSON."""

    service_model: ServiceModel = ServiceModel()
    path: str | None = None
    response: Any = msgspec.field(default_factory=dict)


class OpenAiMock(msgspec.Struct, frozen=True, tag="openai"):
    """Mock OpenAI-compatible server with the /v1 API: chat and text completions, responses,
    embeddings, rerank, models.

    A response has the maximum number of tokens of the request, or `output_tokens` if the request
    sets no maximum. Each token is "tok ".
    """

    service_model: ServiceModel = ServiceModel()
    model: str = "scripted"
    output_tokens: int = 16
    embedding_size: int = 8


class TensorModel(msgspec.Struct, frozen=True):
    """Mock model with typed inputs and outputs. The outputs are zeros, with one row per input
    row."""

    service_model: ServiceModel = ServiceModel()
    model: str = "scripted"
    inputs: tuple[TensorInput, ...] = (TensorInput("input", "FP32", (-1, 4)),)
    outputs: tuple[TensorInput, ...] = (TensorInput("output", "FP32", (-1, 2)),)


class OipMock(TensorModel, frozen=True, tag="oip"):
    """Mock model server for the Open Inference Protocol over HTTP, with JSON or binary tensors."""


class TfServingMock(TensorModel, frozen=True, tag="tf-serving"):
    """Mock model server for TensorFlow Serving's REST API: predictions and metadata. Inputs and
    outputs have datatypes of the Open Inference Protocol."""

    signature: str = "serving_default"


class TorchServeMock(msgspec.Struct, frozen=True, tag="torchserve"):
    """Mock model server for TorchServe's inference API; every prediction is `response` as JSON."""

    service_model: ServiceModel = ServiceModel()
    model: str = "scripted"
    response: Any = msgspec.field(default_factory=dict)


MockProtocol = HttpMock | OpenAiMock | OipMock | TfServingMock | TorchServeMock


class Script(msgspec.Struct, frozen=True):
    """Script of a mock server.

    Each reply is due `delay_s` after its request, with unlimited concurrency. The first mock
    protocol in `protocols` that accepts a request responds to it, according to the service model of
    that protocol.

    The server freezes `freeze_after_s` after the first request for `freeze_s`; replies that are due
    during the freeze are sent when it ends. At r requests per second, r × `freeze_s` requests wait
    longer, by a time that is uniformly distributed between 0 and `freeze_s`.
    """

    reply: Reply | Stream = Reply()
    paths: dict[str, Reply | Stream] = {}
    """Replies for specific paths, which replace `reply`, by path."""
    delay_s: float = 0.0
    freeze_after_s: float = 0.0
    freeze_s: float = 0.0
    protocols: tuple[MockProtocol, ...] = ()
    ready_after_s: float = 0.0
    """Seconds from the start of the server during which every response is an immediate 503."""


class FifoService:
    """Simulated FIFO service with the service model `model`. Requests are served in order of
    arrival, so the times of a request are known when it arrives."""

    def __init__(self, model: ServiceModel) -> None:
        self._service_model = model
        self._random = random.Random(model.seed)
        self._server_free_ns = None if model.servers is None else [0] * model.servers
        self.gap_ns = 0 if model.tokens_per_s is None else round(1e9 / model.tokens_per_s)

    def schedule(self, arrival_ns: int, *, rows: int = 0, tokens: int = 1) -> tuple[int, int]:
        """Add a request that arrives at `arrival_ns`. Return the queueing time and the time from
        the start of processing to the first token, in ns."""
        first_token_ns = self._draw_first_token_ns() + round(rows * self._service_model.row_s * 1e9)
        if self._server_free_ns is None:
            return 0, first_token_ns
        start_ns = max(arrival_ns, self._server_free_ns[0])
        heapq.heapreplace(self._server_free_ns, start_ns + first_token_ns + max(tokens - 1, 0) * self.gap_ns)
        return start_ns - arrival_ns, first_token_ns

    def _draw_first_token_ns(self) -> int:
        service_model = self._service_model
        factor = self._random.lognormvariate(0, service_model.sigma) if service_model.sigma else 1.0
        return round(service_model.delay_s * factor * 1e9)


def build_freeze(script: Script, first_ns: int) -> Callable[[int], int]:
    """Build a function that moves due times within the freeze to the end of the freeze; `first_ns`
    is the time of the first request."""
    begin_ns = first_ns + round(script.freeze_after_s * 1e9)
    end_ns = begin_ns + round(script.freeze_s * 1e9)
    return lambda due_ns: end_ns if begin_ns <= due_ns < end_ns else due_ns
