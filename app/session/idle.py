"""What the GPUs draw with nothing to do, read before anything is measured: energy above that is the model's."""

from __future__ import annotations

from collections.abc import Callable

from app.records.result import Window
from app.session.telling import Telling

_IDLE_S = 2.0


def stand_idle(telling: Telling, now_ns: Callable[[], int], pause: Callable[[float], None]) -> Window:
    """Telemetry must be running. An endpoint that is up already may hold memory, and is taken to wait."""
    telling.phase("idle", "reading what the GPUs draw with nothing to do")
    start_ns = now_ns()
    pause(_IDLE_S)
    return Window(start_ns, now_ns())
