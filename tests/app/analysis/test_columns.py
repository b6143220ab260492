from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from app.analysis.columns import joined_words, known_times, known_words

WORDS = ["timeout", None, "connect", "timeout"]


def as_arrow(column: pd.Series) -> pd.Series:
    return column.astype(pd.ArrowDtype(pa.string()))


@pytest.mark.parametrize("dress", [lambda column: column, as_arrow, lambda column: column.astype("string")])
def test_words_are_counted_where_they_stand(dress: Callable[[pd.Series], pd.Series]) -> None:
    words = known_words(dress(pd.Series(WORDS, dtype=object)))
    assert words.is_known.tolist() == [True, False, True, True]
    assert words.equals("timeout").tolist() == [True, False, False, True]
    assert words.counts(np.ones(4, dtype=bool)) == {"timeout": 2, "connect": 1}
    assert words.counts(np.array([False, True, True, False])) == {"connect": 1}


def test_joined_words_keep_their_meaning() -> None:
    parts = [known_words(pd.Series(one, dtype=object)) for one in (["connect", None], [None], ["timeout", "connect"])]
    words = joined_words(parts)
    assert words.is_known.tolist() == [True, False, False, True, True]
    assert words.equals("connect").tolist() == [True, False, False, False, True]
    assert words.taken(np.array([3, 1])).counts(np.ones(2, dtype=bool)) == {"timeout": 1}


def test_times_in_several_pieces_are_read_as_one() -> None:
    column = pa.chunked_array([[5, None], [7]])
    times_ns, known = known_times(pa.table({"t": column}).to_pandas(types_mapper=pd.ArrowDtype)["t"])
    assert times_ns.tolist() == [5, 0, 7]
    assert known.tolist() == [True, False, True]
