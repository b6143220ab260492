"""What an endpoint says once, when it answers."""

from __future__ import annotations

import msgspec

from app.inference.tensor_spec import TensorSpec


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
