from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from app.analysis.groups import MAX_GROUPS, group_by_name, group_by_target
from app.records.result import Window
from tests.fakes.queues import START_NS
from tests.fakes.streams import StreamedResponse, stream_rows, stream_table

WHOLE_RUN = (Window(START_NS, START_NS + 10**12),)


def build_answers(count: int, latency_ms: float, **changes: Any) -> list[StreamedResponse]:
    return [StreamedResponse(scheduled_ms=float(at), end_ms=at + latency_ms, **changes) for at in range(count)]


@pytest.mark.parametrize("convert", [stream_rows, stream_table])
def test_target_groups_have_number_share_failures_and_latency(convert: Callable[[list[StreamedResponse]], Any]) -> None:
    rows = convert([*build_answers(300, 30, target=1), *build_answers(90, 10), *build_answers(10, 10, error="timeout")])
    first, second = group_by_target(rows, WHOLE_RUN)
    assert (first.label, first.requests, first.failed, first.share) == ("target 1", 100, 10, 0.25)
    assert (second.label, second.requests, second.failed, second.share) == ("target 2", 300, 0, 0.75)
    assert (first.p95_ms.value, second.p95_ms.value) == (10, 30)


def test_target_groups_are_labeled_by_url_and_include_never_sent() -> None:
    rows = stream_rows(
        [*build_answers(50, 10, target=1), *build_answers(50, 10), *build_answers(4, 10, error="connect")]
    )
    rows["target"] = rows["target"].astype("Int64").mask(rows["error"].notna())
    urls = ("http://a:1", "http://b:1")
    assert [group.label for group in group_by_target(rows, WHOLE_RUN, urls)] == [
        "never sent",
        "http://a:1",
        "http://b:1",
    ]
    assert [group.label for group in group_by_target(rows, WHOLE_RUN, ("http://a:1",))][1:] == ["target 1", "target 2"]


def test_name_groups_are_sorted_by_requests_with_latency_from_send() -> None:
    quick = [StreamedResponse(scheduled_ms=None, sent_ms=float(at), end_ms=at + 5.0, name="a") for at in range(80)]
    slow = [StreamedResponse(scheduled_ms=None, sent_ms=float(at), end_ms=at + 50.0, name="b") for at in range(120)]
    groups = group_by_name(stream_rows(quick + slow), WHOLE_RUN)
    assert [(group.label, group.requests, group.p50_ms.value) for group in groups] == [("b", 120, 50), ("a", 80, 5)]


def test_number_of_name_groups_is_limited() -> None:
    rows = stream_rows(
        [StreamedResponse(scheduled_ms=float(at), end_ms=at + 1.0, name=f"/item/{at}") for at in range(200)]
    )
    groups = group_by_name(rows, WHOLE_RUN)
    assert len(groups) == MAX_GROUPS + 1
    assert (groups[-1].label, groups[-1].requests) == ("all others", 200 - MAX_GROUPS)


def test_groups_count_only_requests_inside_windows() -> None:
    rows = stream_rows([*build_answers(100, 1, name="a"), *build_answers(100, 1, name="b")])
    windows = (Window(START_NS, START_NS + 10 * 10**6), Window(START_NS + 50 * 10**6, START_NS + 60 * 10**6))
    assert [(group.label, group.requests) for group in group_by_name(rows, windows)] == [("a", 20), ("b", 20)]
    assert group_by_name(rows, ()) == ()


def test_single_target_without_names_has_no_groups() -> None:
    rows = stream_rows(build_answers(10, 1))
    assert group_by_target(rows, WHOLE_RUN) == ()
    assert group_by_name(rows, WHOLE_RUN) == ()
    assert group_by_name(rows.drop(columns=["name", "target"]), WHOLE_RUN) == ()
