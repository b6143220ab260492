from __future__ import annotations

import time

import pytest

from app.telemetry.scrape import MAX_SERIES, MAX_UNKNOWN_SERIES, SeriesLimiter, name_series, select_samples
from tests.tiers import first_in_unit_tier


def list_names(page: str) -> list[str]:
    return [name for name, _ in name_series(select_samples(page, {}))]


def count_accepted(*pages: str) -> int:
    series = SeriesLimiter()
    return sum(
        series.accepts(*named_sample) for page in pages for named_sample in name_series(select_samples(page, {}))
    )


def test_series_names_have_only_labels_that_distinguish_series() -> None:
    assert list_names('a{x="1",y="2"} 1\n') == ["a"]
    assert list_names('a{x="1",y="2",z="5"} 1\na{x="1",y="3",z="6"} 1\n') == ['a{y="2"}', 'a{y="3"}']
    assert list_names('a{x="1",y="2"} 1\na{x="2",y="2"} 1\na{x="2",y="3"} 1\n') == [
        'a{x="1",y="2"}', 'a{x="2",y="2"}', 'a{x="2",y="3"}',
    ]  # fmt: skip
    assert list_names('a 1\na{x="1"} 1\n') == ["a", 'a{x="1"}']


def test_first_sample_of_duplicate_series_is_used() -> None:
    assert [(name, sample.value) for name, sample in name_series(select_samples("a 1\na 2\n", {}))] == [("a", 1)]


def test_selected_labels_are_compared_unescaped() -> None:
    page = 'a{x="say \\"hi\\" \\\\ there"} 1\na{x="other"} 2\n'
    assert [sample.value for sample in select_samples(page, {"x": 'say "hi" \\ there'})] == [1]
    assert [sample.value for sample in select_samples(page, {"x": "other", "y": ""})] == []


@pytest.mark.parametrize(
    ("page", "expected"),
    [
        ('a{x="\x1b[2J\u202e"} 1\na{x="b"} 1\n', ['a{x="?[2J?"}', 'a{x="b"}']),
        ('a{x="1\\n2"} 1\na{x="b"} 1\n', ['a{x="1\\n2"}', 'a{x="b"}']),
        (f'a{{x="{"v" * 300}"}} 1\na{{x="b"}} 1\n', ['a{x="b"}']),
        (f"{'n' * 300} 1\nb 1\n", ["b"]),
    ],
)
def test_series_names_are_short_and_printable(page: str, expected: list[str]) -> None:
    assert list_names(page) == expected


def test_number_of_series_is_limited_with_room_for_known_exporters() -> None:
    others = "".join(f"other_{number} 1\n" for number in range(1_000))
    known = "".join(f'vllm:some{{number="{number}"}} 1\n' for number in range(1_000))
    assert count_accepted(others) == MAX_UNKNOWN_SERIES
    assert count_accepted(others + known) == MAX_SERIES
    assert count_accepted(known + others) == MAX_SERIES


def test_accepted_series_stay_accepted() -> None:
    first = "".join(f"other_{number} 1\n" for number in range(MAX_UNKNOWN_SERIES))
    assert count_accepted(first, "new 1\n" + first) == 2 * MAX_UNKNOWN_SERIES


@pytest.mark.parametrize(
    "line", first_in_unit_tier(['a{{x="{}"}} 1\n', 'a{{x{}="1"}} 1\n', "a_{} 1\n", 'b_bucket{{x="{}"}} 1\n']), ids=str
)
def test_very_long_metrics_page_has_limited_series_and_cpu_time(line: str) -> None:
    page = "".join(line.format(number) for number in range(50_000))
    began_s = time.process_time()
    assert count_accepted(page) <= MAX_SERIES
    assert select_samples(page, {"x": "50001"}) == []
    assert time.process_time() - began_s < 1.25
