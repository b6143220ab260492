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
SLOW = PreflightDone(None, 200, "answered slowly", 9.0, 20, ("approximate", "far"), ("b", "a"), reuses_connection=False)
FAILING = PreflightDone("dns", None, "no such host", None)
ENDED = StageEnded(3, 100, 900, 10, 1, 0.5, 4, stopped_early=False, rates=((0.0, 20.0),))


def test_slowest_preflight_is_reported_with_notes_and_hosts_of_all() -> None:
    merged = merge_preflights([("one", FAST), ("two", SLOW)])
    assert (merged.detail, merged.service_ms, merged.end_ns) == ("answered slowly", 9.0, 20)
    assert merged.notes == ("approximate", "far")
    assert merged.hosts == ("a", "b")
    assert not merged.reuses_connection


def test_failed_preflight_is_reported_with_host_name() -> None:
    merged = merge_preflights(
        [("one", SLOW), ("two", FAILING), ("three", msgspec.structs.replace(FAILING, error="tls"))]
    )
    assert (merged.error, merged.detail) == ("dns", "from two: no such host")


def test_preflight_of_single_host_omits_host_name() -> None:
    assert merge_preflights([("one", FAILING)]) == FAILING
    assert merge_preflights([("one", FAST)]) == FAST


def test_host_name_is_added_to_failure_and_other_fields_are_unchanged() -> None:
    failed = Failed("no column named prompt", hint="Name it.", is_workload_invalid=True)
    assert add_host_to_failure("two", failed) == Failed(
        "from two: no column named prompt", hint="Name it.", is_workload_invalid=True
    )


def test_progress_counts_are_summed_and_largest_lag_is_used() -> None:
    first = Progress(3, 1, 10, 9, 7, 1, 1, 0.5)
    assert merge_progress(3, 99, [first, Progress(3, 2, 20, 20, 15, 0, 5, 2.5)]) == Progress(
        3, 99, 30, 29, 22, 1, 6, 2.5
    )
    assert merge_progress(3, 99, [first, Progress(3, 2, 5, 5, 5, 0, None, 0.1)]).in_flight is None


def test_stage_end_counts_are_summed_and_latest_end_is_used() -> None:
    results = (WorkerStageResult(0, "one", 1, 0.5, 10, 0.1), WorkerStageResult(1, "two", 2, 0.7, 11, 0.2))
    other = StageEnded(3, 100, 950, 11, 0, 0.7, 5, stopped_early=True, rates=((0.0, 20.0), (1.0, 30.0)))
    merged = merge_stage_ends(3, 101, 21, [ENDED, other], results)
    assert merged == StageEnded(3, 101, 950, 21, 1, 1.2, 9, stopped_early=True, rates=((0.0, 20.0),), workers=results)


def test_round_trips_are_averaged_over_all_connections() -> None:
    ends = [
        msgspec.structs.replace(ENDED, round_trips=round_trips)
        for round_trips in (RoundTrips(1, 10.0), None, RoundTrips(3, 2.0))
    ]
    assert merge_stage_ends(3, 101, 21, ends, ()).round_trips == RoundTrips(4, 4.0)
    assert merge_stage_ends(3, 101, 21, ends[1:2], ()).round_trips is None


def test_longest_cpu_wait_is_reported() -> None:
    def merged_wait(*waits: float | None) -> float | None:
        ends = [msgspec.structs.replace(ENDED, cpu_wait_s=waited_s) for waited_s in waits]
        return merge_stage_ends(3, 101, 21, ends, ()).cpu_wait_s

    assert merged_wait(0.2, None, 0.7) == 0.7
    assert merged_wait(None, None) is None


@pytest.mark.parametrize(("counts", "total"), [([], 0), ([1, 2], 3), ([1, None], None)])
def test_sum_with_unknown_count_is_unknown(counts: list[int | None], total: int | None) -> None:
    assert sum_counts(counts) == total


def test_earliest_error_of_each_class_is_reported() -> None:
    early, late = FirstError("tls", 5, "early"), FirstError("tls", 9, "late")
    other = FirstError("send", 7, "lost")
    assert merge_first_errors([(late,), (), (other, early)]) == (early, other)
    progress = [
        Progress(3, 1, 1, 1, 0, 1, 0, 0.1, first_errors=first_errors) for first_errors in ((late,), (early, other))
    ]
    assert merge_progress(3, 9, progress).first_errors == (early, other)
    assert merge_stage_ends(3, 101, 21, [ENDED], (), (early,)).first_errors == (early,)


def test_shortest_stage_duration_is_reported() -> None:
    """After the shortest duration, only some workers sent requests, so the offered rate was too low."""
    ends = [msgspec.structs.replace(ENDED, duration_s=duration_s) for duration_s in (12.5, 10.0, None)]
    assert merge_stage_ends(3, 101, 21, ends, ()).duration_s == 10.0


def test_session_counts_are_summed_and_longest_build_time_is_used() -> None:
    counts = [LiveSessionCounts(5, 3, 1, 0, 1, 9, 90_000, 40_000), LiveSessionCounts(4, 4, 0, 0, 0, 8, 70_000, 50_000)]
    ends = [StageEnded(0, 1, 2, None, 0, 0.1, 1, stopped_early=False, live_sessions=count) for count in (*counts, None)]
    merged = merge_stage_ends(0, 1, None, ends, ())
    assert merged.live_sessions == LiveSessionCounts(9, 7, 1, 0, 1, 17, 160_000, 50_000)
    assert merge_stage_ends(0, 1, None, ends[2:], ()).live_sessions is None


def test_output_counts_are_summed() -> None:
    counts: tuple[dict[OutputCount, int] | None, ...] = (
        {"responses": 5, "tool_calls": 4},
        {"responses": 50, "checked": 3},
        None,
    )
    ends = [StageEnded(0, 1, 2, None, 0, 0.1, 1, stopped_early=False, outputs=count) for count in counts]
    assert merge_stage_ends(0, 1, None, ends, ()).outputs == {"responses": 55, "tool_calls": 4, "checked": 3}
    assert merge_stage_ends(0, 1, None, ends[2:], ()).outputs is None
