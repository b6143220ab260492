"""Functions compiled by numba, which keep their types. Only the simulation imports this: numba takes 0.6 s to load.

Machine code is cached beside the source, or in the user's cache where that cannot be written. numba itself asks only
whether the file of the function changed; what one compiled function calls in another file would go stale, so the
stamp here is of all the sources of this package.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar, cast

import numba
import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
Words = npt.NDArray[np.uint64]
Function = TypeVar("Function", bound=Callable[..., Any])


def compiled(function: Function) -> Function:
    """Compiled at its first call for each set of types; runs without the interpreter's lock."""
    try:
        cached = numba.njit(cache=True, nogil=True)(function)
        cached._cache._cache_file._source_stamp = _SOURCES
    except RuntimeError:  # no folder to cache in: it compiles in each process
        cached = numba.njit(nogil=True)(function)
    return cast(Function, cached)


def _stamp_of_sources() -> str:
    digest = hashlib.sha256()
    for source in sorted(Path(__file__).parent.glob("*.py")):
        digest.update(source.read_bytes())
    return digest.hexdigest()


_SOURCES = _stamp_of_sources()
