from __future__ import annotations

import pytest

from app.profiles.popularity import format_popularity, parse_popularity
from app.profiles.problems import BadValueError
from loadgen.workloads import Popularity


@pytest.mark.parametrize(
    ("written", "popularity"),
    [
        ("in-turn", Popularity()),
        ("uniform", Popularity("uniform")),
        ("zipf", Popularity("zipf", 1.0)),
        ({"zipf": 1.1}, Popularity("zipf", 1.1)),
    ],
)
def test_a_popularity_is_read_and_written_back(written: object, popularity: Popularity) -> None:
    assert parse_popularity(written) == popularity
    assert parse_popularity(format_popularity(popularity)) == popularity


@pytest.mark.parametrize("written", ["ziph", 3, None, {"zipf": 0}, {"zipf": True}, {"zipf": 1, "x": 2}, {}])
def test_nonsense_is_told(written: object) -> None:
    with pytest.raises(BadValueError):
        parse_popularity(written)


def test_the_nearest_name_is_told() -> None:
    with pytest.raises(BadValueError) as caught:
        parse_popularity("ziph")
    assert caught.value.hint == "Did you mean 'zipf'?"
