"""Memory of a measuring child process: memory limit, peak memory, and detection of out-of-memory
errors."""

from __future__ import annotations

import contextlib
import re
import sys
from pathlib import Path

MEMORY_HINT = "Increase limits.memory, free memory, or use a smaller batch."
_OUT_OF_MEMORY = re.compile(
    r"bad_alloc|\bMemoryError\b|out of memory|cannot allocate|failed to allocate|memory allocation|more memory than"
    r"|failed to map segment|pthread_create failed",
    re.IGNORECASE,
)
"""Pattern of out-of-memory messages of C++, Python, the OS, ONNX Runtime, OpenBLAS and the dynamic
loader, and of failures to start a thread."""


def limit_memory(limit_bytes: int | None) -> None:
    """Limit the private memory of this process (Linux only).

    Allocations beyond the limit fail, and ONNX Runtime reports these failures. If the machine runs
    out of memory, the OS kills this process before its parent."""
    if sys.platform != "linux":
        return
    import resource

    with contextlib.suppress(OSError):  # Some containers do not permit this.
        Path("/proc/self/oom_score_adj").write_text("1000", encoding="ascii")
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    if limit_bytes is not None:
        resource.setrlimit(resource.RLIMIT_DATA, (limit_bytes, limit_bytes))


def is_out_of_memory_message(text: str) -> bool:
    """Return True if a text contains an out-of-memory message."""
    return _OUT_OF_MEMORY.search(text) is not None


def read_memory_bytes() -> int | None:
    """Return the resident memory of this process in bytes; `None` if not reported by this OS."""
    return _read_status_bytes("VmRSS:") if sys.platform == "linux" else None


def read_peak_memory_bytes() -> int | None:
    """Return the peak resident memory of this process in bytes; `None` if not reported by this OS.

    On Linux, getrusage is not used, because its peak survives fork and exec, and therefore includes
    the peak of the parent process."""
    if sys.platform == "linux":
        return _read_status_bytes("VmHWM:")
    if sys.platform == "win32":
        return None
    import resource

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def _read_status_bytes(key: str) -> int | None:
    lines = Path("/proc/self/status").read_text(encoding="ascii", errors="replace").splitlines()
    size_kib = next((line.split()[1] for line in lines if line.startswith(key)), None)
    return None if size_kib is None else int(size_kib) * 1024
