from __future__ import annotations

import time

import pytest

from app.telemetry.scrape import MAX_SERIES, MAX_UNKNOWN_SERIES, SeriesLimiter, name_series, select_samples
from tests.tiers import first_in_unit_tier


def names(page: str) -> list[str]:
    return [name for name, _ in name_series(select_samples(page, {}))]


def kept(*pages: str) -> int:
    series = SeriesLimiter()
    return sum(series.accepts(*one) for page in pages for one in name_series(select_samples(page, {})))


def test_names_hold_as_few_labels_as_report_them_apart() -> None:
    assert names('a{x="1",y="2"} 1\n') == ["a"]
    assert names('a{x="1",y="2",z="5"} 1\na{x="1",y="3",z="6"} 1\n') == ['a{y="2"}', 'a{y="3"}']
    assert names('a{x="1",y="2"} 1\na{x="2",y="2"} 1\na{x="2",y="3"} 1\n') == [
        'a{x="1",y="2"}', 'a{x="2",y="2"}', 'a{x="2",y="3"}',
    ]  # fmt: skip
    assert names('a 1\na{x="1"} 1\n') == ["a", 'a{x="1"}']


def test_of_the_same_series_twice_the_first_is_kept() -> None:
    assert [(name, one.value) for name, one in name_series(select_samples("a 1\na 2\n", {}))] == [("a", 1)]


def test_labels_are_compared_as_they_are_meant() -> None:
    page = 'a{x="say \\"hi\\" \\\\ there"} 1\na{x="other"} 2\n'
    assert [one.value for one in select_samples(page, {"x": 'say "hi" \\ there'})] == [1]
    assert [one.value for one in select_samples(page, {"x": "other", "y": ""})] == []


@pytest.mark.parametrize(
    ("page", "expected"),
    [
        ('a{x="\x1b[2J\u202e"} 1\na{x="b"} 1\n', ['a{x="?[2J?"}', 'a{x="b"}']),
        ('a{x="1\\n2"} 1\na{x="b"} 1\n', ['a{x="1\\n2"}', 'a{x="b"}']),
        (f'a{{x="{"v" * 300}"}} 1\na{{x="b"}} 1\n', ['a{x="b"}']),
        (f"{'n' * 300} 1\nb 1\n", ["b"]),
    ],
)
def test_names_are_short_and_printable(page: str, expected: list[str]) -> None:
    assert names(page) == expected


def test_series_are_kept_up_to_a_number_and_those_of_unknown_exporters_leave_room() -> None:
    others = "".join(f"other_{number} 1\n" for number in range(1_000))
    known = "".join(f'vllm:some{{number="{number}"}} 1\n' for number in range(1_000))
    assert kept(others) == MAX_UNKNOWN_SERIES
    assert kept(others + known) == MAX_SERIES
    assert kept(known + others) == MAX_SERIES


def test_what_was_kept_first_goes_on_to_be_kept() -> None:
    first = "".join(f"other_{number} 1\n" for number in range(MAX_UNKNOWN_SERIES))
    assert kept(first, "new 1\n" + first) == 2 * MAX_UNKNOWN_SERIES


@pytest.mark.parametrize(
    "line", first_in_unit_tier(['a{{x="{}"}} 1\n', 'a{{x{}="1"}} 1\n', "a_{} 1\n", 'b_bucket{{x="{}"}} 1\n']), ids=str
)
def test_a_very_long_page_costs_little_beyond_reading_it(line: str) -> None:
    page = "".join(line.format(number) for number in range(50_000))
    began_s = time.process_time()
    assert kept(page) <= MAX_SERIES
    assert select_samples(page, {"x": "50001"}) == []
    assert time.process_time() - began_s < 1.25
