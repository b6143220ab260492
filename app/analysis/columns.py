"""Columns of a frame as plain arrays, however their nulls are written."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow as pa

Nanoseconds = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]
Mask = npt.NDArray[np.bool_]


def known_times(column: pd.Series) -> tuple[Nanoseconds, Mask]:
    """The times, 0 where there is none, and where there is one."""
    known = column.notna().to_numpy(dtype=bool)
    times_ns: Nanoseconds = np.asarray(column.to_numpy(dtype=np.int64, na_value=0))
    return times_ns, known


def known_numbers(column: pd.Series) -> Floats:
    """NaN where there is none."""
    return np.asarray(column.to_numpy(dtype=np.float64, na_value=np.nan))


def known_lists(column: pd.Series, kind: pa.DataType) -> pa.ListArray | None:
    """Lists of `kind`; None where no row has one, which costs nothing to tell of an Arrow column."""
    if isinstance(column.dtype, pd.ArrowDtype):
        lists = pa.chunked_array(pa.array(column)).combine_chunks()
    elif not column.notna().any():
        return None
    else:
        lists = pa.array(column, type=pa.list_(kind), from_pandas=True)
    return None if lists.null_count == len(lists) else lists
