from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from app.analysis.groups import MAX_GROUPS, group_by_name, group_by_target
from app.records.result import Window
from tests.fakes.queues import START_NS
from tests.fakes.streams import Answer, stream_rows, stream_table

EVER = (Window(START_NS, START_NS + 10**12),)


def answers(count: int, took_ms: float, **changes: Any) -> list[Answer]:
    return [Answer(scheduled_ms=float(at), end_ms=at + took_ms, **changes) for at in range(count)]


@pytest.mark.parametrize("dress", [stream_rows, stream_table])
def test_targets_are_counted_from_1_with_share_failures_and_times(dress: Callable[[list[Answer]], Any]) -> None:
    rows = dress([*answers(300, 30, target=1), *answers(90, 10), *answers(10, 10, error="timeout")])
    first, second = group_by_target(rows, EVER)
    assert (first.label, first.requests, first.failed, first.share) == ("target 1", 100, 10, 0.25)
    assert (second.label, second.requests, second.failed, second.share) == ("target 2", 300, 0, 0.75)
    assert (first.p95_ms.value, second.p95_ms.value) == (10, 30)


def test_targets_are_named_by_their_urls_and_what_had_none_is_reported() -> None:
    rows = stream_rows([*answers(50, 10, target=1), *answers(50, 10), *answers(4, 10, error="connect")])
    rows["target"] = rows["target"].astype("Int64").mask(rows["error"].notna())
    urls = ("http://a:1", "http://b:1")
    assert [one.label for one in group_by_target(rows, EVER, urls)] == ["never sent", "http://a:1", "http://b:1"]
    assert [one.label for one in group_by_target(rows, EVER, ("http://a:1",))][1:] == ["target 1", "target 2"]


def test_names_come_by_their_number_and_time_from_the_send_where_no_start_is_known() -> None:
    quick = [Answer(scheduled_ms=None, sent_ms=float(at), end_ms=at + 5.0, name="a") for at in range(80)]
    slow = [Answer(scheduled_ms=None, sent_ms=float(at), end_ms=at + 50.0, name="b") for at in range(120)]
    assert [(one.label, one.requests, one.p50_ms.value) for one in group_by_name(stream_rows(quick + slow), EVER)] == [
        ("b", 120, 50), ("a", 80, 5),
    ]  # fmt: skip


def test_names_without_end_are_bounded() -> None:
    rows = stream_rows([Answer(scheduled_ms=float(at), end_ms=at + 1.0, name=f"/item/{at}") for at in range(200)])
    groups = group_by_name(rows, EVER)
    assert len(groups) == MAX_GROUPS + 1
    assert (groups[-1].label, groups[-1].requests) == ("all others", 200 - MAX_GROUPS)


def test_only_requests_of_the_windows_count() -> None:
    rows = stream_rows([*answers(100, 1, name="a"), *answers(100, 1, name="b")])
    windows = (Window(START_NS, START_NS + 10 * 10**6), Window(START_NS + 50 * 10**6, START_NS + 60 * 10**6))
    assert [(one.label, one.requests) for one in group_by_name(rows, windows)] == [("a", 20), ("b", 20)]
    assert group_by_name(rows, ()) == ()


def test_one_target_and_no_names_make_no_groups() -> None:
    rows = stream_rows(answers(10, 1))
    assert group_by_target(rows, EVER) == ()
    assert group_by_name(rows, EVER) == ()
    assert group_by_name(rows.drop(columns=["name", "target"]), EVER) == ()
