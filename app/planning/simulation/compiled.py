"""Decorators that compile functions with numba while keeping their static types.

numba takes 0.6 s to import, so only the simulation imports this module. Machine code is cached next
to the source file or, if that folder is not writable, in the user's cache directory.

By default, numba invalidates the cached code of a function only if the function's own file changes,
not if functions in other files change. The cache stamp is therefore a hash of all source files in
this package and of the records that they read.
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

from app.records import service

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
Words = npt.NDArray[np.uint64]
Function = TypeVar("Function", bound=Callable[..., Any])


def compiled(function: Function) -> Function:
    """Compile the function at its first call for each combination of types.

    The function releases the GIL and must not allocate.
    """
    return _compile(function, forceinline=False)


def inlined(function: Function) -> Function:
    """Compile the function and inline it into its callers. Use it for short functions, for functions
    with a single caller, and for functions that run once per request: a call passes all arrays of a
    fleet by value.
    """
    return _compile(function, forceinline=True)


def _compile(function: Function, forceinline: bool) -> Function:
    # _nrt=False disables reference counting of arrays, which would cost more time than the
    # simulation itself
    compiler = partial(numba.njit, nogil=True, forceinline=forceinline, _nrt=False)
    try:
        dispatcher = cast(Any, compiler(cache=True)(function))
        dispatcher._cache._cache_file._source_stamp = _SOURCE_HASH
    except (RuntimeError, AttributeError):  # no cache directory, or no stamp to set: each process compiles again
        dispatcher = compiler()(function)
    return cast(Function, dispatcher)


def _hash_sources() -> str:
    digest = hashlib.sha256()
    for source in (*sorted(Path(__file__).parent.glob("*.py")), Path(service.__file__)):
        digest.update(source.read_bytes())
    return digest.hexdigest()


_SOURCE_HASH = _hash_sources()
