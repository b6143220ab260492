"""Settings, connection limits and startup report of an endpoint."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import msgspec

from app.inference.tensor_spec import TensorSpec

DEFAULT_MAX_CONNECTIONS = 4096
Batching = Literal["continuous", "static"]
"""How the requests to a language model are batched: at every step, or in batches that start
together."""


class ConnectionLimits(msgspec.Struct, frozen=True, kw_only=True):
    """Limits on the number of connections, and on the time and memory that requests may use.

    `header_timeout_s` is the time limit for receiving the headers, counted from the opening of the
    connection or, for a later request, from its first byte. `body_timeout_s` is the time limit for
    receiving the body after the headers. `max_header_bytes` limits the size of the headers; the
    last read may exceed this limit. `max_bodies_bytes` limits the total size of the bodies of all
    requests in flight.
    """

    max_connections: int = DEFAULT_MAX_CONNECTIONS
    max_header_bytes: int = 64 * 2**10
    header_timeout_s: float = 10.0
    body_timeout_s: float = 60.0
    max_bodies_bytes: int = 256 * 2**20


class ServingSettings(msgspec.Struct, frozen=True, kw_only=True):
    """Settings of an endpoint.

    `model` is the path of an ONNX file, or the folder of a language model, and `name` the model
    name in requests. Port 0 selects a free port. `queue_limit` is the maximum number of queued
    requests.
    """

    model: str
    name: str
    host: str = "127.0.0.1"
    port: int = 0
    provider: str = "cpu"
    threads: int = 1
    max_batch: int | None = None
    """Maximum number of rows, or of requests to a language model, in a batch; `None` for the
    default."""
    queue_delay_s: float | None = None
    """Maximum time that a request to an ONNX file waits for more requests to form a batch; `None`
    for the default."""
    queue_limit: int = 128
    exit_with_stdin: bool = False
    token: str | None = None
    """Token that requests must include. If `None`, a token is generated for an endpoint that other
    machines can reach."""
    limits: ConnectionLimits = ConnectionLimits()


class LanguageModelReady(msgspec.Struct, frozen=True, kw_only=True):
    """Part of the startup report about a language model. `max_length` is the maximum number of
    tokens of a prompt and its response."""

    batching: Batching
    max_length: int


class EndpointReady(msgspec.Struct, frozen=True, kw_only=True):
    """Startup report of an endpoint that is ready to serve requests.

    `url` has no path, because the paths of the protocols begin with /v1 or /v2. `max_batch` is 1 if
    the model cannot be batched. A language model has neither inputs and outputs nor a queue delay.
    """

    url: str
    model: str
    pid: int
    provider_requested: str
    provider_used: str
    provider_reason: str | None
    """Reason why the requested execution provider is not used; `None` if the requested provider is
    used."""
    fallback_nodes: tuple[str, ...]
    """Compute nodes that run on a fallback execution provider, such as
    `MatMul on CPUExecutionProvider`."""
    inputs: tuple[TensorSpec, ...] = ()
    outputs: tuple[TensorSpec, ...] = ()
    threads: int
    max_batch: int
    queue_delay_s: float | None = None
    queue_limit: int
    runtime_version: str
    token: str | None = None
    """Token that requests must include as `Authorization: Bearer TOKEN`; `None` if no token is
    required."""
    language_model: LanguageModelReady | None = None
    """Set if the endpoint serves a language model with the OpenAI API; otherwise the endpoint uses
    the Open Inference Protocol."""

    @property
    def base_url(self) -> str:
        """URL of the API, as in profiles."""
        return self.url if self.language_model is None else f"{self.url}/v1"


Announce = Callable[[EndpointReady], None]
