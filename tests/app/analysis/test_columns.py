from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from app.analysis.columns import join_categories, read_categories, read_times

VALUES = ["timeout", None, "connect", "timeout"]


def as_arrow(column: pd.Series) -> pd.Series:
    return column.astype(pd.ArrowDtype(pa.string()))


@pytest.mark.parametrize("convert", [lambda column: column, as_arrow, lambda column: column.astype("string")])
def test_categories_are_counted_in_selected_rows(convert: Callable[[pd.Series], pd.Series]) -> None:
    categories = read_categories(convert(pd.Series(VALUES, dtype=object)))
    assert categories.is_known.tolist() == [True, False, True, True]
    assert categories.equals("timeout").tolist() == [True, False, False, True]
    assert categories.count(np.ones(4, dtype=bool)) == {"timeout": 2, "connect": 1}
    assert categories.count(np.array([False, True, True, False])) == {"connect": 1}


def test_joined_categories_keep_values_of_all_parts() -> None:
    parts = [
        read_categories(pd.Series(values, dtype=object))
        for values in (["connect", None], [None], ["timeout", "connect"])
    ]
    categories = join_categories(parts)
    assert categories.is_known.tolist() == [True, False, False, True, True]
    assert categories.equals("connect").tolist() == [True, False, False, False, True]
    assert categories.select(np.array([3, 1])).count(np.ones(2, dtype=bool)) == {"timeout": 1}


def test_chunked_time_column_is_read_as_one_array() -> None:
    column = pa.chunked_array([[5, None], [7]])
    times_ns, known = read_times(pa.table({"t": column}).to_pandas(types_mapper=pd.ArrowDtype)["t"])
    assert times_ns.tolist() == [5, 0, 7]
    assert known.tolist() == [True, False, True]
