"""Decorators that compile functions with numba and keep their types.

Only the simulation imports this, since numba takes 0.6 s to load. Machine code is cached beside the source, or in the
user's cache where that is not writable. numba itself checks only whether the function's own file changed; functions in
other files that it calls would become stale, so the stamp here covers all sources of this package.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from functools import partial
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
    """Compile the function at its first call for each set of types; it runs without the GIL and allocates nothing."""
    return _compile(function, forceinline=False)


def inlined(function: Function) -> Function:
    """Compile the function and inline it in its callers, for short functions and those with a single caller."""
    return _compile(function, forceinline=True)


def _compile(function: Function, forceinline: bool) -> Function:
    # _nrt: without reference counting of arrays, which would cost more than the simulation
    compiler = partial(numba.njit, nogil=True, forceinline=forceinline, _nrt=False)
    try:
        dispatcher = cast(Any, compiler(cache=True)(function))
        dispatcher._cache._cache_file._source_stamp = _SOURCES
    except (RuntimeError, AttributeError):  # no folder to cache in, or no stamp to set: each process compiles it again
        dispatcher = compiler()(function)
    return cast(Function, dispatcher)


def _stamp_of_sources() -> str:
    digest = hashlib.sha256()
    for source in sorted(Path(__file__).parent.glob("*.py")):
        digest.update(source.read_bytes())
    return digest.hexdigest()


_SOURCES = _stamp_of_sources()
