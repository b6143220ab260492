"""Settings, connection limits and startup report of an endpoint."""

from __future__ import annotations

import msgspec

from app.inference.tensor_spec import TensorSpec

DEFAULT_MAX_CONNECTIONS = 4096


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

    `model` is the path of the ONNX file and `name` the model name in URLs. Port 0 selects a free
    port. `queue_limit` is the maximum number of queued requests, `queue_delay_s` the maximum time
    that a request waits for more requests to form a batch.
    """

    model: str
    name: str
    host: str = "127.0.0.1"
    port: int = 0
    provider: str = "cpu"
    threads: int = 1
    max_batch: int = 8
    queue_delay_s: float = 0.002
    queue_limit: int = 128
    exit_with_stdin: bool = False
    token: str | None = None
    """Token that requests must include. If `None`, a token is generated for an endpoint that other
    machines can reach."""
    limits: ConnectionLimits = ConnectionLimits()


class EndpointReady(msgspec.Struct, frozen=True, kw_only=True):
    """Startup report of an endpoint that is ready to serve requests.

    `url` has no path, because the paths of the protocol begin with /v2. `max_batch` is 1 if the
    model cannot be batched.
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
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    threads: int
    max_batch: int
    queue_delay_s: float
    queue_limit: int
    runtime_version: str
    token: str | None = None
    """Token that requests must include as `Authorization: Bearer TOKEN`; `None` if no token is
    required."""
