"""Script of a mock server: fixed responses, streams with exact bytes and times, and mock protocols.

A script can be loaded from JSON (`python -m loadgen.reference.scripted --script FILE`). In JSON,
bytes are base64-encoded, and members of a union have a `type`. The module also computes when a
response is due.
"""

from __future__ import annotations

import heapq
import random
from collections.abc import Callable
from typing import Any, ClassVar, Literal

import msgspec

from loadgen.payloads.tensors import TensorInput

ReplyMode = Literal[
    "whole", "chunked", "until-close", "close-after", "close-unsaid", "interim", "slow-head", "slow-body", "cut-body",
    "drop", "reset", "hang", "garbage", "http-1.0",
]  # fmt: skip
"""Way in which the mock server sends a reply.

`whole`: at once. `chunked`: in two chunks of HTTP's chunked encoding. `until-close`: without a
length, ended by closing the connection. `close-after`: complete, with `Connection: close`.
`close-unsaid`: complete, then the connection is closed without announcement. `interim`: preceded by
100 Continue. `slow-head`: one byte per millisecond. `slow-body`: the head at once, then one byte
per millisecond. `cut-body`: the connection is closed in the middle of the body. `drop`: the
connection is closed before the first byte. `reset`: the connection is reset before the first byte.
`hang`: no response. `garbage`: bytes that are not HTTP. `http-1.0`: an HTTP/1.0 response, ended by
closing the connection.
"""


class Reply(msgspec.Struct, frozen=True, tag="reply"):
    status: int = 200
    body: bytes = b"{}"
    headers: tuple[tuple[str, str], ...] = ()
    mode: ReplyMode = "whole"


End = Literal["open", "close", "reset", "repeat"]


class Ending(msgspec.Struct, frozen=True, kw_only=True):
    """End of a response. After the last piece, the connection stays open, is closed or is reset, or
    the last `repeated` pieces are repeated every `period_s` seconds without end."""

    end: End = "open"
    repeated: int = 1
    period_s: float = 0.02


class Stream(Ending, frozen=True, tag="stream"):
    """Scripted response stream.

    `pieces` are pairs of send time and bytes. The send times are in seconds after the due time of
    the reply. The bytes are written to the socket unchanged; small pieces with the same send time
    are joined. `loadgen.reference.openai_events` builds such streams.
    """

    pieces: tuple[tuple[float, bytes], ...]


class ServiceModel(msgspec.Struct, frozen=True):
    """Service model of a mock server: the distribution of service times, and the concurrency.

    At most `servers` requests are processed concurrently, and further requests wait in a queue;
    None means no limit. The time from the start of processing to the response or its first token is
    `delay_s` if `sigma` is 0. Otherwise the time is lognormal with median `delay_s`, and `sigma` is
    the standard deviation of its logarithm. Each row adds `row_s`, and each further token takes
    1/`tokens_per_s`.
    """

    delay_s: float = 0.0
    sigma: float = 0.0
    servers: int | None = None
    tokens_per_s: float | None = None
    row_s: float = 0.0
    seed: int = 0


class HttpMock(msgspec.Struct, frozen=True, tag="http"):
    """Mock HTTP server. The response to every request to `path` (to any path if None) is the JSON
    value `response`."""

    base_path: ClassVar[str] = "/"
    """Path of the URL of a target."""
    service_model: ServiceModel = ServiceModel()
    path: str | None = None
    response: Any = msgspec.field(default_factory=dict)


class OpenAiMock(msgspec.Struct, frozen=True, tag="openai"):
    """Mock OpenAI-compatible server with the endpoints of the /v1 API for chat and text
    completions, responses, embeddings, reranking and models, and of the Anthropic Messages API.

    A response has as many output tokens as the request allows, or `output_tokens` if the request
    sets no maximum. Each token is "tok ".
    """

    base_path: ClassVar[str] = "/v1"
    service_model: ServiceModel = ServiceModel()
    model: str = "scripted"
    output_tokens: int = 16
    embedding_size: int = 8


class TensorModel(msgspec.Struct, frozen=True):
    """Mock model with typed inputs and outputs. The outputs are filled with zeros and have one row
    per input row."""

    base_path: ClassVar[str] = ""
    service_model: ServiceModel = ServiceModel()
    model: str = "scripted"
    inputs: tuple[TensorInput, ...] = (TensorInput("input", "FP32", (-1, 4)),)
    outputs: tuple[TensorInput, ...] = (TensorInput("output", "FP32", (-1, 2)),)


class OipMock(TensorModel, frozen=True, tag="oip"):
    """Mock model server for the Open Inference Protocol over HTTP, with JSON or binary tensors."""


class TfServingMock(TensorModel, frozen=True, tag="tf-serving"):
    """Mock model server for TensorFlow Serving's REST API, with predictions and metadata. The
    datatypes of inputs and outputs are named as in the Open Inference Protocol."""

    signature: str = "serving_default"


class TorchServeMock(msgspec.Struct, frozen=True, tag="torchserve"):
    """Mock model server for TorchServe's inference API. Every prediction is the JSON value
    `response`."""

    base_path: ClassVar[str] = ""
    service_model: ServiceModel = ServiceModel()
    model: str = "scripted"
    response: Any = msgspec.field(default_factory=dict)


MockProtocol = HttpMock | OpenAiMock | OipMock | TfServingMock | TorchServeMock


class Script(msgspec.Struct, frozen=True):
    """Script of a mock server.

    Each reply is due `delay_s` seconds after its request, with unlimited concurrency. If a mock
    protocol in `protocols` accepts the request, the first such protocol responds instead, after the
    time that its service model determines.

    The server freezes for `freeze_s` seconds, beginning `freeze_after_s` seconds after the first
    request. Replies that are due during the freeze are sent at its end. At r requests per second,
    the freeze delays r × `freeze_s` requests, by times distributed uniformly between 0 and
    `freeze_s`.
    """

    reply: Reply | Stream = Reply()
    paths: dict[str, Reply | Stream] = {}
    """Replies to requests for specific paths, by path. All other requests get `reply` or the
    response of a mock protocol."""
    delay_s: float = 0.0
    freeze_after_s: float = 0.0
    freeze_s: float = 0.0
    protocols: tuple[MockProtocol, ...] = ()
    ready_after_s: float = 0.0
    """Time in seconds after the start of the server during which every response is an immediate
    503."""


class FifoService:
    """Simulated FIFO service with a given service model. Requests are served in order of arrival,
    so the service time and queueing time of a request are known at its arrival."""

    def __init__(self, service_model: ServiceModel) -> None:
        self._service_model = service_model
        self._random = random.Random(service_model.seed)
        self._server_free_times_ns = None if service_model.servers is None else [0] * service_model.servers
        self.gap_ns = 0 if service_model.tokens_per_s is None else round(1e9 / service_model.tokens_per_s)

    def schedule(self, arrival_ns: int, *, row_count: int = 0, token_count: int = 1) -> tuple[int, int]:
        """Add a request that arrives at `arrival_ns`. Return its queueing time, and the time from
        the start of processing to the first token, both in ns."""
        first_token_ns = self._draw_first_token_ns() + round(row_count * self._service_model.row_s * 1e9)
        if self._server_free_times_ns is None:
            return 0, first_token_ns
        start_ns = max(arrival_ns, self._server_free_times_ns[0])
        heapq.heapreplace(self._server_free_times_ns, start_ns + first_token_ns + max(token_count - 1, 0) * self.gap_ns)
        return start_ns - arrival_ns, first_token_ns

    def _draw_first_token_ns(self) -> int:
        service_model = self._service_model
        factor = self._random.lognormvariate(0, service_model.sigma) if service_model.sigma else 1.0
        return round(service_model.delay_s * factor * 1e9)


def build_freeze(script: Script, first_request_ns: int) -> Callable[[int], int]:
    """Build a function that postpones due times within the freeze to the end of the freeze.
    `first_request_ns` is the time of the first request."""
    begin_ns = first_request_ns + round(script.freeze_after_s * 1e9)
    end_ns = begin_ns + round(script.freeze_s * 1e9)
    return lambda due_ns: end_ns if begin_ns <= due_ns < end_ns else due_ns
