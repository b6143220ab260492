import msgspec
import pytest

from loadgen.master.merging import (
    add_host_to_failure,
    merge_first_errors,
    merge_preflights,
    merge_progress,
    merge_stage_ends,
    sum_counts,
)
from loadgen.records import (
    Failed,
    FirstError,
    LiveSessionCounts,
    OutputCount,
    PreflightDone,
    Progress,
    RoundTrips,
    StageEnded,
    WorkerStageResult,
)

FAST = PreflightDone(None, 200, "answered", 2.0, 10, ("approximate",), ("a",))
SLOW = PreflightDone(None, 200, "answered slowly", 9.0, 20, ("approximate", "far"), ("b", "a"), keeps_connection=False)
FAILING = PreflightDone("dns", None, "no such host", None)
ENDED = StageEnded(3, 100, 900, 10, 1, 0.5, 4, stopped_early=False, rates=((0.0, 20.0),))


def test_of_hosts_that_were_answered_the_slowest_reports_and_what_all_found_is_kept() -> None:
    merged = merge_preflights([("one", FAST), ("two", SLOW)])
    assert (merged.detail, merged.service_ms, merged.end_ns) == ("answered slowly", 9.0, 20)
    assert merged.notes == ("approximate", "far")
    assert merged.hosts == ("a", "b")
    assert not merged.keeps_connection


def test_one_host_s_failure_is_the_outcome_and_names_the_host() -> None:
    merged = merge_preflights(
        [("one", SLOW), ("two", FAILING), ("three", msgspec.structs.replace(FAILING, error="tls"))]
    )
    assert (merged.error, merged.detail) == ("dns", "from two: no such host")


def test_a_host_alone_is_not_named() -> None:
    assert merge_preflights([("one", FAILING)]) == FAILING
    assert merge_preflights([("one", FAST)]) == FAST


def test_a_failure_from_a_host_keeps_whose_fault_it_is() -> None:
    failed = Failed("no column named prompt", hint="Name it.", is_workload_invalid=True)
    assert add_host_to_failure("two", failed) == Failed(
        "from two: no column named prompt", hint="Name it.", is_workload_invalid=True
    )


def test_progress_adds_up_and_the_worst_lag_counts() -> None:
    one = Progress(3, 1, 10, 9, 7, 1, 1, 0.5)
    assert merge_progress(3, 99, [one, Progress(3, 2, 20, 20, 15, 0, 5, 2.5)]) == Progress(3, 99, 30, 29, 22, 1, 6, 2.5)
    assert merge_progress(3, 99, [one, Progress(3, 2, 5, 5, 5, 0, None, 0.1)]).in_flight is None


def test_ends_add_up_and_the_last_one_ends_the_stage() -> None:
    parts = (WorkerStageResult(0, "one", 1, 0.5, 10, 0.1), WorkerStageResult(1, "two", 2, 0.7, 11, 0.2))
    other = StageEnded(3, 100, 950, 11, 0, 0.7, 5, stopped_early=True, rates=((0.0, 20.0), (1.0, 30.0)))
    merged = merge_stage_ends(3, 101, 21, [ENDED, other], parts)
    assert merged == StageEnded(3, 101, 950, 21, 1, 1.2, 9, stopped_early=True, rates=((0.0, 20.0),), workers=parts)


def test_round_trips_are_means_over_the_connections_of_all() -> None:
    ends = [
        msgspec.structs.replace(ENDED, round_trips=round_trips)
        for round_trips in (RoundTrips(1, 10.0), None, RoundTrips(3, 2.0))
    ]
    assert merge_stage_ends(3, 101, 21, ends, ()).round_trips == RoundTrips(4, 4.0)
    assert merge_stage_ends(3, 101, 21, ends[1:2], ()).round_trips is None


def test_who_waited_longest_reports_of_the_wait() -> None:
    def merged_wait(*waits: float | None) -> float | None:
        ends = [msgspec.structs.replace(ENDED, cpu_wait_s=waited_s) for waited_s in waits]
        return merge_stage_ends(3, 101, 21, ends, ()).cpu_wait_s

    assert merged_wait(0.2, None, 0.7) == 0.7
    assert merged_wait(None, None) is None


@pytest.mark.parametrize(("counts", "total"), [([], 0), ([1, 2], 3), ([1, None], None)])
def test_a_sum_with_an_unknown_in_it_is_unknown(counts: list[int | None], total: int | None) -> None:
    assert sum_counts(counts) == total


def test_of_each_class_of_errors_the_earliest_is_reported() -> None:
    early, late = FirstError("tls", 5, "early"), FirstError("tls", 9, "late")
    other = FirstError("send", 7, "lost")
    assert merge_first_errors([(late,), (), (other, early)]) == (early, other)
    progress = [Progress(3, 1, 1, 1, 0, 1, 0, 0.1, first_errors=reported) for reported in ((late,), (early, other))]
    assert merge_progress(3, 9, progress).first_errors == (early, other)
    assert merge_stage_ends(3, 101, 21, [ENDED], (), (early,)).first_errors == (early,)


def test_of_several_ends_the_stage_lasted_as_long_as_the_shortest() -> None:
    """What only some had sent to its end was not offered as it should have been."""
    ends = [msgspec.structs.replace(ENDED, duration_s=duration_s) for duration_s in (12.5, 10.0, None)]
    assert merge_stage_ends(3, 101, 21, ends, ()).duration_s == 10.0


def test_sessions_add_up_and_the_longest_build_counts() -> None:
    counts = [LiveSessionCounts(5, 3, 1, 0, 1, 9, 90_000, 40_000), LiveSessionCounts(4, 4, 0, 0, 0, 8, 70_000, 50_000)]
    ends = [StageEnded(0, 1, 2, None, 0, 0.1, 1, stopped_early=False, live_sessions=count) for count in (*counts, None)]
    merged = merge_stage_ends(0, 1, None, ends, ())
    assert merged.live_sessions == LiveSessionCounts(9, 7, 1, 0, 1, 17, 160_000, 50_000)
    assert merge_stage_ends(0, 1, None, ends[2:], ()).live_sessions is None


def test_the_counts_of_what_responses_contain_add_up() -> None:
    counts: tuple[dict[OutputCount, int] | None, ...] = (
        {"responses": 5, "tool_calls": 4},
        {"responses": 50, "checked": 3},
        None,
    )
    ends = [StageEnded(0, 1, 2, None, 0, 0.1, 1, stopped_early=False, outputs=count) for count in counts]
    assert merge_stage_ends(0, 1, None, ends, ()).outputs == {"responses": 55, "tool_calls": 4, "checked": 3}
    assert merge_stage_ends(0, 1, None, ends[2:], ()).outputs is None
