"""What an endpoint serves, and how it batches.

What clients may take of the endpoint: connections, time and memory.

What an endpoint says once, when it answers.
"""

from __future__ import annotations

import msgspec

from app.inference.tensor_spec import TensorSpec

DEFAULT_CONNECTIONS = 4096


class Limits(msgspec.Struct, frozen=True, kw_only=True):
    """`header_s` counts from the connection, or the first byte of a later request, to the end of the request's headers;
    `body_s` from there to the end of its body. `header_bytes` may be exceeded by what one read takes. `bodies_bytes`
    are those of all requests without a response."""

    connections: int = DEFAULT_CONNECTIONS
    header_bytes: int = 64 * 2**10
    header_s: float = 10.0
    body_s: float = 60.0
    bodies_bytes: int = 256 * 2**20


class ServingSettings(msgspec.Struct, frozen=True, kw_only=True):
    """`name` is the model's name in URLs; `port` 0 takes a free one; `queue_limit` counts waiting requests."""

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
    """What requests must carry; None makes one where the endpoint is reached from beyond loopback."""
    limits: Limits = Limits()


class EndpointReady(msgspec.Struct, frozen=True, kw_only=True):
    """`url` has no path: the protocol's begins with /v2. `max_batch` is 1 for a model whose rows cannot be joined."""

    url: str
    model: str
    pid: int
    provider_requested: str
    provider_used: str
    provider_reason: str | None
    """Why the provider used is not the one asked for; None where it is."""
    nodes_elsewhere: tuple[str, ...]
    """Compute nodes on another provider than asked, such as `MatMul on CPUExecutionProvider`."""
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    threads: int
    max_batch: int
    queue_delay_s: float
    queue_limit: int
    runtime_version: str
    token: str | None = None
    """What requests must carry as `Authorization: Bearer TOKEN`; None where they need none."""
