"""The most memory that making a model may take."""

from __future__ import annotations

import sys
from pathlib import Path

GIB = 2**30
_BASE_BYTES = 3 * GIB
"""For the libraries' threads, and what a calibrating batch goes through."""

_COPIES = 12
"""Of the model: as bytes and records before and after each step, and opened by the runtime."""


def limit_memory(model_bytes: int) -> None:
    """From now on, where Linux limits it; past it the process sees MemoryError or aborts.

    Time is the parent's to end.
    """
    if sys.platform == "win32":
        return
    import resource

    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    if sys.platform == "linux":
        pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[0])
        limit = pages * resource.getpagesize() + _BASE_BYTES + _COPIES * model_bytes
        resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
