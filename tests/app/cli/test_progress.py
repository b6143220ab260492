from __future__ import annotations

import re
import sys

import pytest
from msgspec.structs import replace

from app.analysis.local.call_stages import summarize_calls
from app.cli.colors import use_colors
from app.cli.options import Verbosity
from app.cli.progress import open_progress
from app.records.events import (
    CallsFinished,
    CheckCompleted,
    ErrorReported,
    NoteAdded,
    PairRunFinished,
    PairRunStarted,
    PhaseChanged,
    RateChanged,
    RateResolved,
    Snapshot,
    StageExtended,
    StageFinished,
    StageStarted,
    TargetReady,
    VariantFinished,
    VariantStarted,
)
from app.records.local import VariantData
from app.records.result import Check, ErrorSample, Estimate, Verdict
from tests.fakes.calls import call, stage_of, table_of
from tests.fakes.queues import build_stage_data
from tests.fakes.results import full_run

S = 1_000_000_000


def simulate_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    monkeypatch.setenv("TERM", "xterm")


def show_events(
    capsys: pytest.CaptureFixture[str], *events: object, verbosity: Verbosity = "normal", now_ns: int = 3 * S
) -> list[str]:
    with open_progress(verbosity, lambda: now_ns) as progress:
        for event in events:
            progress.show(event)  # type: ignore[arg-type]
    captured = capsys.readouterr()
    assert captured.out == "", "progress goes to standard error"
    return captured.err.splitlines()


STEADY = StageStarted(2 * S, 0, "steady", "steady", 1, 40.0, 30.0, 2 * S)


def snapshots(seconds: int) -> list[Snapshot]:
    """Four snapshots a second, at 40 req/s."""
    return [Snapshot(2 * S + n * S // 4, 0, 10 * n, 10 * n, 10 * n, 0, 2, 1.0, 2.0) for n in range(4 * seconds)]


def test_progress_line_is_printed_every_five_seconds(capsys: pytest.CaptureFixture[str]) -> None:
    lines = show_events(capsys, STEADY, *snapshots(12))
    assert lines == [
        f"steady (40 req/s) after {second} of 30 s: 40 req/s, in flight 2, sent {40 * second}, failed 0, "
        "latency p50/p95/p99 1 / 2 / n/a ms"
        for second in (5, 10)
    ]


def test_progress_line_waits_five_seconds_after_another_line(capsys: pytest.CaptureFixture[str]) -> None:
    note = NoteAdded(2 * S + 4 * S, "a fan came on")
    before, after = snapshots(8)[:17], snapshots(8)[17:]
    assert show_events(capsys, STEADY, *before, note, *after) == ["note: a fan came on"]


def test_verbose_progress_prints_every_second_check_and_stage(
    capsys: pytest.CaptureFixture[str],
) -> None:
    passed_check = Check("cores", 2, 2, "cores", "VALID")
    stage = next(stage for stage in full_run().result.stages if stage.kind == "step")
    stage = replace(stage, checks=(passed_check,))
    lines = show_events(
        capsys, CheckCompleted(S, passed_check), STEADY, *snapshots(3),
        StageFinished(6 * S, 0, build_stage_data(), stage),
        StageFinished(7 * S, 0, build_stage_data(), replace(stage, kind="warmup")), verbosity="verbose",
    )  # fmt: skip
    check = "VALID cores: 2.00 cores, limit 2 cores."
    assert lines[:2] == [check, "steady (40 req/s) started, 30 s"]
    assert [line.split(":")[0] for line in lines[2:4]] == [f"steady (40 req/s) after {n} of 30 s" for n in (1, 2)]
    assert [line.startswith(f"  {stage.name}: ") for line in lines[4:]] == [True, False, True]
    assert lines[5] == f"    {check}"
    assert show_events(capsys, replace(STEADY, repeat=2), verbosity="verbose") == ["steady #2 (40 req/s) started, 30 s"]


def test_quiet_progress_prints_nothing(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    warning = CheckCompleted(S, Check("other_load", 0.9, 0.3, "cores", "WARN", "Stop other work."))
    for _ in range(2):
        assert show_events(capsys, warning, STEADY, *snapshots(12), verbosity="quiet") == []
        simulate_terminal(monkeypatch)


@pytest.mark.parametrize("variables", [{"FORCE_COLOR": "1"}, {"TERM": "dumb"}], ids=["a log", "a dumb terminal"])
def test_progress_prints_lines_where_a_live_view_is_not_possible(
    variables: dict[str, str], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    if "TERM" in variables:
        simulate_terminal(monkeypatch)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    lines = show_events(capsys, STEADY, *snapshots(6))
    assert [line.split(":")[0] for line in lines] == ["steady (40 req/s) after 5 of 30 s"]
    assert "\x1b" not in "".join(lines)


@pytest.mark.parametrize("is_by_option", [True, False])
def test_live_view_without_colors_has_no_color_codes(
    is_by_option: bool, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    simulate_terminal(monkeypatch)
    if not is_by_option:
        monkeypatch.setenv("NO_COLOR", "1")
    with use_colors("never" if is_by_option else "auto"):
        output = "\n".join(show_events(capsys, STEADY, *snapshots(2)))
    assert "steady" in output
    assert not re.search(r"\x1b\[[0-9;]*[349][0-9]", output)


def test_live_view_shows_the_phase_without_a_progress_line(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    simulate_terminal(monkeypatch)
    output = "\n".join(show_events(capsys, PhaseChanged(1, "calibrate", "calibrating the load generator")))
    assert "calibrating the load generator" in output
    assert "calibrate:" not in output


def test_long_latencies_have_no_exponent(capsys: pytest.CaptureFixture[str]) -> None:
    (line,) = show_events(capsys, Snapshot(9 * S, 0, 5, 5, 5, 0, 0, 1.0, 12_345.6))
    assert line == "in flight 0, sent 5, failed 0, latency p50/p95/p99 1 / 12,300 / n/a ms"


def test_stage_with_too_few_responses_is_reported_as_too_few_samples(capsys: pytest.CaptureFixture[str]) -> None:
    step = next(stage for stage in full_run().result.stages if stage.kind == "step")
    samples_check = Check("samples", 12.0, 72.0, "responses", "WARN", "Lengthen the stage.")
    metrics = {**step.metrics, "latency_ms": {"p95": Estimate(None, reason="12 of 72 required samples")}}
    stage = replace(
        step, kind="steady", tags={}, meets_slo=None, checks=(samples_check,), metrics=metrics, verdict=Verdict("WARN")
    )
    (line,) = show_events(capsys, StageFinished(1, 0, build_stage_data(), stage))
    assert "p95 latency n/a too few samples WARN (samples)" in line
    metrics["latency_ms"] = {"p95": Estimate(None, n=12, reason="12 of 72 required samples", undersampled=63.214)}
    (line,) = show_events(capsys, StageFinished(1, 0, build_stage_data(), replace(stage, metrics=metrics)))
    assert "p95 latency 63.21 ms (n = 12) too few samples WARN (samples)" in line


def test_phases_and_warnings_are_printed_and_passed_checks_are_not(capsys: pytest.CaptureFixture[str]) -> None:
    passed_check = Check("cores", 2, 2, "cores", "VALID")
    warning = Check("other_load", 0.9, 0.3, "cores", "WARN", "Stop other work.")
    lines = show_events(
        capsys, PhaseChanged(1, "search", "searching"), CheckCompleted(2, passed_check), CheckCompleted(3, warning)
    )
    assert lines == ["search: searching", "WARN other load: Stop other work."]


def test_finished_stage_is_one_line_with_its_slo_verdict(capsys: pytest.CaptureFixture[str]) -> None:
    stage = next(stage for stage in full_run().result.stages if stage.kind == "step")
    lines = show_events(capsys, StageFinished(1, 0, build_stage_data(), stage))
    assert len(lines) == 1
    assert stage.name in lines[0]
    assert " SLO met" in lines[0]


def test_warm_up_windows_are_not_printed(capsys: pytest.CaptureFixture[str]) -> None:
    stage = replace(full_run().result.stages[-1], kind="warmup")
    assert show_events(capsys, StageFinished(1, 0, build_stage_data(), stage)) == []


def test_live_view_shows_markup_characters_literally(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    simulate_terminal(monkeypatch)
    monkeypatch.setenv("COLUMNS", "200")
    check = Check("other_load", 0.9, 0.3, "cores", "WARN", "Stop [/b] :smile:.")
    lines = show_events(capsys, PhaseChanged(1, "preflight", "asking http://[::1]/[/a]"))
    lines += show_events(
        capsys,
        StageStarted(2, 0, "[/c]", "steady", 1, 10.0, 5.0, 2),
        Snapshot(3, 0, 1, 1, 1, 0, 0, 1.0, 2.0),
        CheckCompleted(4, check),
    )
    text = "\n".join(lines)
    for part in ("http://[::1]/[/a]", "Stop [/b] :smile:.", "[/c]"):
        assert part in text


def test_run_events_are_printed_as_progress_lines(capsys: pytest.CaptureFixture[str]) -> None:
    assert show_events(
        capsys,
        TargetReady(1, 1234.5, None),
        RateResolved(2, "half", 104.3, "half: 50 % of the completed rate of full"),
        RateChanged(3, 0, 300.0),
        StageExtended(4, 0, 30.0, 90.0),
        NoteAdded(4, "a fan came on"),
        ErrorReported(5, 0, ErrorSample("http-5xx", 4, "status 503 (Service Unavailable)")),
    ) == [
        "cold start: ready after 1,234 ms, first response after n/a",
        "half: 50 % of the completed rate of full is 104.3 req/s",
        "the rate was changed to 300 req/s",
        "the stage was extended by 30 s to 90 s",
        "note: a fan came on",
        "first http-5xx error: status 503 (Service Unavailable)",
    ]


def test_model_variants_are_printed_with_service_times_and_failures(
    capsys: pytest.CaptureFixture[str],
) -> None:
    call_stage = stage_of(batch=8)
    stage = summarize_calls(table_of([call(10 * number, 10) for number in range(100)]), call_stage)
    warning_stage = replace(stage, checks=(Check("warm_up", 3, None, "windows", "WARN"),), verdict=Verdict("WARN"))
    ended = VariantData(
        variant=call_stage.variant,
        model_file="m.onnx",
        model_sha256=None,
        size_bytes=None,
        failure="it crashed (SIGSEGV)",
    )
    empty_stage = summarize_calls(table_of([]), call_stage)
    assert show_events(
        capsys,
        VariantStarted(1, 2, 3, call_stage.variant),
        CallsFinished(2, call_stage, stage),
        CallsFinished(2, call_stage, warning_stage),
        CallsFinished(2, call_stage, empty_stage),
        VariantFinished(3, 2, replace(ended, failure=None)),
        VariantFinished(3, 2, ended),
    ) == [
        "variant 2 of 3: m cpu as-is, batch 8",
        "  single-stream: p50 service time 8 ms, 800 inferences/s",
        "  single-stream: p50 service time 8 ms, 800 inferences/s WARN (warm-up)",
        "  single-stream: p50 service time n/a, n/a INVALID (calls)",
        "  the variant ended early: it crashed (SIGSEGV)",
    ]


def test_server_scenario_line_has_call_rate_and_latency(capsys: pytest.CaptureFixture[str]) -> None:
    call_stage = stage_of("server", rate_per_s=27_966.3)
    stage = summarize_calls(table_of([call(10 * n, 10, query=n, due_ms=10 * n - 5) for n in range(100)]), call_stage)
    (line,) = show_events(capsys, CallsFinished(2, call_stage, replace(stage, checks=())))
    assert line == "  server at 27,970 calls/s: p50 latency 15 ms, p95 latency 15 ms, 100 inferences/s"


def test_unavailable_values_of_a_snapshot_are_omitted(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    unknown = Snapshot(9 * S, 0, 5, 5, 5, 0, None, None, None)
    assert show_events(capsys, unknown) == ["sent 5, failed 0"]
    simulate_terminal(monkeypatch)
    output = "\n".join(show_events(capsys, StageStarted(2, 0, "offline", "closed", 1, None, 5.0, 2), unknown))
    assert "offline" in output
    assert "n/a" not in output


def test_comparison_progress_shows_the_current_pair_run(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    pair_run_events = PairRunStarted(1, 2, "candidate", "a", 7), PairRunFinished(2, 2, "candidate", "a", "VALID")
    assert show_events(capsys, *pair_run_events) == ["pair 2 of 7: candidate"]
    simulate_terminal(monkeypatch)
    assert "pair 2 of 7: candidate" in "\n".join(show_events(capsys, *pair_run_events))
