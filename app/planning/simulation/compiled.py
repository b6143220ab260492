"""Functions compiled by numba, which keep their types. Only the simulation imports this: numba takes 0.6 s to load.

Machine code is cached beside the source, or in the user's cache where that cannot be written. numba itself asks only
whether the file of the function changed; what one compiled function calls in another file would go stale, so the
stamp here is of all the sources of this package.
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
    """Compiled at its first call for each set of types; runs without the interpreter's lock and allocates nothing."""
    return _compile(function, forceinline=False)


def inlined(function: Function) -> Function:
    """Likewise, and woven into what calls it: for what is short, or called from one place."""
    return _compile(function, forceinline=True)


def _compile(function: Function, forceinline: bool) -> Function:
    # _nrt: without reference counting of arrays, which would cost more than the simulation
    compile_it = partial(numba.njit, nogil=True, forceinline=forceinline, _nrt=False)
    try:
        dispatcher = cast(Any, compile_it(cache=True)(function))
        dispatcher._cache._cache_file._source_stamp = _SOURCES
    except (RuntimeError, AttributeError):  # no folder to cache in, or no stamp to set: it compiles in each process
        dispatcher = compile_it()(function)
    return cast(Function, dispatcher)


def _stamp_of_sources() -> str:
    digest = hashlib.sha256()
    for source in sorted(Path(__file__).parent.glob("*.py")):
        digest.update(source.read_bytes())
    return digest.hexdigest()


_SOURCES = _stamp_of_sources()
