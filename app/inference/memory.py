"""The memory of a measuring child: its limit, its peak, and what is said where it was too little."""

from __future__ import annotations

import contextlib
import re
import sys
from pathlib import Path

MORE_MEMORY = "Raise limits.memory, or free some, or use a smaller batch."
_WANT = re.compile(
    r"bad_alloc|\bMemoryError\b|out of memory|cannot allocate|failed to allocate|memory allocation|more memory than"
    r"|failed to map segment|pthread_create failed",
    re.IGNORECASE,
)
"""As C++, Python, the system, ONNX Runtime, OpenBLAS and the loader of libraries say it; threads want a stack each."""


def limit_memory(limit_bytes: int | None) -> None:
    """Private memory of this process from now on, on Linux. Past it an allocation fails, which the runtime says.

    Where the machine as a whole runs out, this process is the first to be ended, not its engine.
    """
    if sys.platform != "linux":
        return
    import resource

    with contextlib.suppress(OSError):  # not every container lets a process say so
        Path("/proc/self/oom_score_adj").write_text("1000", encoding="ascii")
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    if limit_bytes is not None:
        resource.setrlimit(resource.RLIMIT_DATA, (limit_bytes, limit_bytes))


def tells_of_want(text: str) -> bool:
    """Whether it is what programs say that had too little memory."""
    return _WANT.search(text) is not None


def peak_memory_bytes() -> int | None:
    """Resident, of this program since it began; None where the system does not tell.

    Linux's getrusage would tell its parent's peak, which outlives fork and exec.
    """
    if sys.platform == "linux":
        lines = Path("/proc/self/status").read_text(encoding="ascii", errors="replace").splitlines()
        told = next((line.split()[1] for line in lines if line.startswith("VmHWM:")), None)
        return None if told is None else int(told) * 1024
    if sys.platform == "win32":
        return None
    import resource

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024
