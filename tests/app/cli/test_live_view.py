from __future__ import annotations

import io

from msgspec.structs import replace
from rich.console import Console

from app.analysis.run_progress import compute_stage_share
from app.cli.live_view import LoadReadings, advance_readings, build_live_view, format_readings
from app.records.estimate import Variant
from app.records.events import (
    CheckCompleted,
    Event,
    PairRunStarted,
    PhaseChanged,
    RunStarted,
    Snapshot,
    StageFinished,
    StageStarted,
    VariantStarted,
)
from app.records.result import Check
from tests.fakes.queues import build_stage_data
from tests.fakes.results import full_run

S = 1_000_000_000
STARTED = RunStarted(0, "id", "test", "/run", 7)
PHASE = PhaseChanged(S, "stages", "2 stages", 2, 40.0)
STEADY = StageStarted(2 * S, 0, "steady", "steady", 1, 40.0, 20.0, 2 * S)
PASSED_CHECK = Check("cores", 2, 2, "cores", "VALID")
WARNING_CHECK = Check("other_load", 0.9, 0.3, "cores", "WARN", "Stop other work.")


def read_events(*events: Event) -> LoadReadings:
    readings = LoadReadings()
    for event in events:
        readings = advance_readings(readings, event)
    return readings


def snapshot(second: float, completed: int = 0, **more: object) -> Snapshot:
    base = Snapshot(round(second * S), 0, completed, completed, completed, 0, 3, 12.3, 45.6, 78.9)
    return replace(base, **more)


def render_lines(readings: LoadReadings, now_s: float = 10.0, width: int = 80) -> list[str]:
    console = Console(file=io.StringIO(), width=width, force_terminal=False)
    with console.capture() as capture:
        console.print(build_live_view(readings, round(now_s * S)))
    return [line.rstrip() for line in capture.get().splitlines()]


def test_live_view_shows_load_percentiles_errors_and_checks_within_width() -> None:
    readings = read_events(
        STARTED, PHASE, CheckCompleted(S, PASSED_CHECK), CheckCompleted(S, WARNING_CHECK), STEADY,
        snapshot(9, 200, output_tokens=4_000),
        snapshot(10, 250, output_tokens=5_000, ttft_p50_ms=5.0, ttft_p95_ms=6.0, ttft_p99_ms=7.0,
                 tpot_p50_ms=1.0, tpot_p95_ms=2.0, tpot_p99_ms=3.0, errors={"timeout": 2, "http-5xx": 3}, failed=5),
    )  # fmt: skip
    header, bar, *rows = render_lines(readings)
    assert (header[:31], header[31:].lstrip()) == ("stage 1 of 2, steady (40 req/s)", "0:10 elapsed, 0:32 left")
    assert set(bar) <= set("━╸╺ ")
    assert rows == [
        "load     50 req/s   1,000 tok/s   in flight 3   sent 250   failed 5",
        "                p50       p95       p99",
        "latency        12.3      45.6      78.9 ms",
        "TTFT              5         6         7 ms",
        "TPOT              1         2         3 ms",
        "errors   http-5xx 3, timeout 2",
        "checks   1 of 2 passed, WARN other load",
    ]
    assert all(len(line) <= 40 for line in render_lines(readings, width=40))


def test_live_view_omits_unavailable_values() -> None:
    empty_snapshot = snapshot(5, in_flight=None, latency_p50_ms=None, latency_p95_ms=None, latency_p99_ms=None)
    assert render_lines(read_events(STEADY, empty_snapshot))[2:] == ["load     sent 0   failed 0"]
    assert render_lines(LoadReadings()) == ["starting"]


def test_live_view_shows_the_phase_between_stages() -> None:
    (header,) = render_lines(read_events(STARTED, PhaseChanged(S, "calibrate", "calibrating [/b] \x1b[2J")), 4_000)
    assert (header[:26], header[26:].lstrip()) == ("calibrating [/b] \\u001b[2J", "1:06:40 elapsed")


def test_live_view_title_has_the_load_once() -> None:
    def title(stage: StageStarted) -> str:
        return render_lines(read_events(stage, snapshot(3)))[0]

    closed = StageStarted(2, 0, "full", "closed", 1, None, 5.0, 2, concurrency=8)
    assert title(closed) == "full (8 clients)"
    assert title(replace(STEADY, name="probe 40 req/s", kind="probe", has_load_in_name=True)) == "probe 40 req/s"
    assert title(replace(STEADY, offered_per_s=None, kind="varying")) == "steady"
    assert title(replace(STEADY, repeat=3)) == "steady #3 (40 req/s)"


def test_completed_rate_covers_the_last_five_seconds() -> None:
    pause, burst = [snapshot(second, 100) for second in range(3, 9)], [snapshot(second, 700) for second in range(9, 15)]
    assert read_events(STEADY, snapshot(2.5, 0), *pause).completed_per_s == 0
    assert read_events(STEADY, *pause, burst[0]).completed_per_s == 120
    assert read_events(STEADY, *pause, *burst).completed_per_s == 0
    assert read_events(STEADY, pause[0]).completed_per_s is None


def test_readings_have_errors_and_checks_of_finished_stages_except_warm_ups() -> None:
    stage = replace(full_run().result.stages[0], kind="steady", errors={"timeout": 2}, checks=(PASSED_CHECK,))
    finished = StageFinished(30 * S, 0, build_stage_data(), stage)
    readings = read_events(
        STEADY, snapshot(3, errors={"timeout": 1}), finished, STEADY, snapshot(33, errors={"timeout": 4})
    )
    assert (readings.errors, readings.checks) == ({"timeout": 6}, (PASSED_CHECK,))
    assert read_events(STEADY, snapshot(3, errors={"timeout": 1}), finished).snapshot is None
    warm_up = read_events(STEADY, replace(finished, stage=replace(stage, kind="warmup")))
    assert (warm_up.errors, warm_up.checks) == ({}, ())


def test_live_view_of_local_model_has_calls_and_of_comparison_its_pair_runs() -> None:
    variant = Variant("m", "cpu", "as-is", 1, 1, 1)
    line = format_readings(
        read_events(VariantStarted(1, 2, 3, variant), STEADY, snapshot(3, 10), snapshot(4, 30)), 4 * S
    )
    assert line is not None
    assert "20 calls/s" in line
    generating = (snapshot(3, 10, output_tokens=40), snapshot(4, 30, output_tokens=120))
    line = format_readings(read_events(VariantStarted(1, 2, 3, variant), STEADY, *generating), 4 * S)
    assert line is not None
    assert "20 steps/s, 80 tok/s" in line
    assert render_lines(read_events(PairRunStarted(1, 2, "candidate", "a", 7)))[0] == "pair 2 of 7: candidate"


def test_progress_line_of_language_model_has_token_rates_and_latencies() -> None:
    variant = VariantStarted(1, 2, 3, Variant("m", "cpu", "as-is", 4, 1), name="batch 4", tests=("pp8+tg4",))
    values = {"prefill_tokens_per_s": 2060.0, "decode_tokens_per_s": 624.0, "itl_p50_ms": 5.6, "ttft_p50_ms": 127.0}
    step = replace(snapshot(4, 30, output_tokens=120), **values)
    readings = read_events(variant, replace(STEADY, test="pp8+tg4"), step)
    assert format_readings(readings, 4 * S) == (
        "variant 2 of 3 · batch 4 · pp8+tg4 (test 1 of 1) after 2 of 20 s: prefill 2,060 tok/s, decode 624 tok/s, "
        "ITL p50/p95/p99 5.6 / n/a / n/a ms, TTFT p50/p95/p99 127 / n/a / n/a ms, 0:07 left"
    )


def test_progress_line_has_the_remaining_time() -> None:
    line = format_readings(read_events(STARTED, PHASE, STEADY, snapshot(9, 200), snapshot(10, 250)), 10 * S)
    assert line == (
        "stage 1 of 2, steady (40 req/s) after 8 of 20 s: 50 req/s, in flight 3, sent 250, failed 0, "
        "latency p50/p95/p99 12.3 / 45.6 / 78.9 ms, 0:32 left"
    )
    assert format_readings(read_events(STARTED), S) is None


def test_progress_of_stage_with_request_count_is_the_completed_share() -> None:
    counted = replace(STEADY, duration_s=600.0, requests=500)
    phase = PhaseChanged(S, "stages", "1 stage", 1, None)
    readings = read_events(STARTED, phase, counted, snapshot(4, completed=125))
    assert compute_stage_share(counted, readings.sent, 4 * S) == 0.25
    line = format_readings(readings, 4 * S) or ""
    assert "after 125 of 500 requests" in line
    assert "600" not in line
    assert "left" not in render_lines(readings, 4.0)[0]
