from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from app.analysis.columns import join_categories, read_categories, read_times

WORDS = ["timeout", None, "connect", "timeout"]


def as_arrow(column: pd.Series) -> pd.Series:
    return column.astype(pd.ArrowDtype(pa.string()))


@pytest.mark.parametrize("dress", [lambda column: column, as_arrow, lambda column: column.astype("string")])
def test_words_are_counted_where_they_stand(dress: Callable[[pd.Series], pd.Series]) -> None:
    words = read_categories(dress(pd.Series(WORDS, dtype=object)))
    assert words.is_known.tolist() == [True, False, True, True]
    assert words.equals("timeout").tolist() == [True, False, False, True]
    assert words.count(np.ones(4, dtype=bool)) == {"timeout": 2, "connect": 1}
    assert words.count(np.array([False, True, True, False])) == {"connect": 1}


def test_joined_words_keep_their_meaning() -> None:
    parts = [
        read_categories(pd.Series(one, dtype=object)) for one in (["connect", None], [None], ["timeout", "connect"])
    ]
    words = join_categories(parts)
    assert words.is_known.tolist() == [True, False, False, True, True]
    assert words.equals("connect").tolist() == [True, False, False, False, True]
    assert words.select(np.array([3, 1])).count(np.ones(2, dtype=bool)) == {"timeout": 1}


def test_times_in_several_pieces_are_read_as_one() -> None:
    column = pa.chunked_array([[5, None], [7]])
    times_ns, known = read_times(pa.table({"t": column}).to_pandas(types_mapper=pd.ArrowDtype)["t"])
    assert times_ns.tolist() == [5, 0, 7]
    assert known.tolist() == [True, False, True]
