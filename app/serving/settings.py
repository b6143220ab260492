"""Settings and limits of an endpoint, and its startup report."""

from __future__ import annotations

import msgspec

from app.inference.tensor_spec import TensorSpec

DEFAULT_CONNECTIONS = 4096


class ConnectionLimits(msgspec.Struct, frozen=True, kw_only=True):
    """Limits on the connections, time and memory of clients.

    `header_s` counts from the connection, or from the first byte of a later request, to the end of the request's
    headers; `body_s` from there to the end of its body. A single read may exceed `header_bytes`. `max_bodies_bytes`
    covers the bodies of all requests without a response.
    """

    connections: int = DEFAULT_CONNECTIONS
    header_bytes: int = 64 * 2**10
    header_s: float = 10.0
    body_s: float = 60.0
    max_bodies_bytes: int = 256 * 2**20


class ServingSettings(msgspec.Struct, frozen=True, kw_only=True):
    """Settings of an endpoint.

    `name` is the model's name in URLs; `port` 0 selects a free port; `queue_limit` counts waiting requests.
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
    leave_with_stdin: bool = False
    token: str | None = None
    """Token that requests must carry. `None` generates one if other machines can reach the endpoint."""
    limits: ConnectionLimits = ConnectionLimits()


class EndpointReady(msgspec.Struct, frozen=True, kw_only=True):
    """Report of an endpoint once it serves requests.

    `url` has no path, since paths of the protocol begin with /v2. `max_batch` is 1 for a model that cannot be batched.
    """

    url: str
    model: str
    pid: int
    provider_requested: str
    provider_used: str
    provider_reason: str | None
    """Why the provider in use is not the requested one; `None` if it is."""
    fallback_nodes: tuple[str, ...]
    """Compute nodes on a fallback provider, such as `MatMul on CPUExecutionProvider`."""
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    threads: int
    max_batch: int
    queue_delay_s: float
    queue_limit: int
    runtime_version: str
    token: str | None = None
    """Token that requests must carry as `Authorization: Bearer TOKEN`; `None` if none is needed."""
