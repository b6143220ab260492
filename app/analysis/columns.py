"""Convert data frame columns to NumPy or Arrow arrays, regardless of how nulls are represented."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import pyarrow as pa

if TYPE_CHECKING:
    import pandas as pd

Ints = npt.NDArray[np.int64]
Nanoseconds = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]
Mask = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class Categories:
    """Categorical column: `codes` holds, for each row, the index into `categories`; -1 for a
    missing value."""

    codes: npt.NDArray[np.int32]
    categories: tuple[str, ...]

    @property
    def is_known(self) -> Mask:
        return self.codes >= 0

    def count(self, mask: Mask) -> dict[str, int]:
        """Count the selected rows of each category; `mask` is true for selected rows. Categories
        with count 0 are omitted."""
        indices = self.codes[mask]
        category_counts = np.bincount(indices[indices >= 0], minlength=len(self.categories))
        return {category: int(count) for category, count in zip(self.categories, category_counts, strict=True) if count}

    def equals(self, category: str) -> Mask:
        return np.asarray(self.codes == self.categories.index(category))

    def select(self, selection: Mask | Ints | slice) -> Categories:
        return Categories(self.codes[selection], self.categories)


def join_categories(columns: Sequence[Categories]) -> Categories:
    categories = tuple(dict.fromkeys(category for column in columns for category in column.categories))
    # index -1 (missing) selects the last entry, which is -1 again
    remapped_codes = [
        np.array([*map(categories.index, column.categories), -1], dtype=np.int32)[column.codes] for column in columns
    ]
    return Categories(np.concatenate(remapped_codes), categories)


def read_categories(column: pd.Series) -> Categories:
    from pandas import factorize  # deferred, because the import would delay every plan

    codes, categories = factorize(column)
    return Categories(codes.astype(np.int32), tuple(map(str, categories)))


def read_times(column: pd.Series) -> tuple[Nanoseconds, Mask]:
    """Return the timestamps in ns (0 for missing values), and a mask that is true where a timestamp
    is present."""
    is_present = column.notna().to_numpy(dtype=bool)
    if _is_arrow(column):
        return np.asarray(_to_arrow(column).fill_null(0).to_numpy(), dtype=np.int64), is_present  # ten times as fast
    return np.asarray(column.to_numpy(dtype=np.int64, na_value=0)), is_present


def read_numbers(column: pd.Series) -> Floats:
    """Return the column as float64; missing values become NaN."""
    return np.asarray(column.to_numpy(dtype=np.float64, na_value=np.nan))


def read_lists(column: pd.Series, value_type: pa.DataType) -> pa.ListArray | None:
    """Return the column as an Arrow list array with items of type `value_type`; `None` if all rows
    are null."""
    if not column.notna().any():
        return None
    if _is_arrow(column):
        return _to_arrow(column).combine_chunks()
    return pa.array(column, type=pa.list_(value_type), from_pandas=True)


def _is_arrow(column: pd.Series) -> bool:
    from pandas import ArrowDtype

    return isinstance(column.dtype, ArrowDtype)


def _to_arrow(column: pd.Series) -> pa.ChunkedArray:
    return pa.chunked_array(pa.array(column))
