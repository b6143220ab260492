"""What an endpoint serves, and how it batches."""

from __future__ import annotations

import msgspec

from app.serving.limits import Limits


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
