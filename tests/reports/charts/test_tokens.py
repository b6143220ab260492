from __future__ import annotations

from msgspec.structs import replace

from reports.charts.picture import Chart
from reports.charts.tokens import build_token_frontier_chart
from reports.model import Quantity, Report, StageRow, TokenRow
from reports.sections.figure import LineFigure
from reports.sections.tokens import build_token_times_figure


def _build(report: Report) -> tuple[LineFigure, Chart]:
    times, frontier = build_token_times_figure(report), build_token_frontier_chart(report)
    assert times is not None
    assert frontier is not None
    return times, frontier


def _loaded(report: Report, tpots_ms: tuple[float, ...], *, is_closed: bool) -> Report:
    """The report's one stage, repeated at twice the load with each of these TPOTs."""
    stage, tokens = report.stages[-1], report.tokens[-1]
    stages: list[StageRow] = []
    rows: list[TokenRow] = []
    for index, tpot_ms in enumerate(tpots_ms):
        name, load = f"load {index}", 4 * 2**index
        kind, clients, rate = ("closed", load, None) if is_closed else ("steady", None, float(load))
        stages.append(replace(stage, name=name, kind=kind, clients=clients, scheduled_per_s=rate, repeat=1))
        speed = replace(tokens.tokens_per_s, value=100.0 * load)
        rows.append(replace(tokens, stage=name, tpot_p50=Quantity(tpot_ms, "ms"), tokens_per_s=speed))
    return replace(report, stages=tuple(stages), tokens=tuple(rows))


def test_closed_loop_token_charts_show_times_by_concurrency_and_speed_per_user(streaming_report: Report) -> None:
    times, frontier = _build(_loaded(streaming_report, (10.0, 20.0, 25.0), is_closed=True))
    assert times.title == "TTFT and TPOT by concurrency"
    assert [row[0] for row in times.rows] == ["concurrency 4", "concurrency 8", "concurrency 16"]
    assert [row[3] for row in times.rows] == ["10.0\u202fms", "20.0\u202fms", "25.0\u202fms"]
    assert frontier.columns == ("load", "tok/s/user", "tok/s")
    assert frontier.rows == (
        ("concurrency 4", "100", "400"), ("concurrency 8", "50.0", "800"), ("concurrency 16", "40.0", "1,600"),
    )  # fmt: skip
    assert "number of GPUs is unknown" in (frontier.note or "")


def test_token_throughput_is_per_gpu_if_gpu_count_is_known(streaming_report: Report) -> None:
    report = _loaded(streaming_report, (10.0, 20.0), is_closed=True)
    report = replace(report, header=replace(report.header, accelerator_count=4.0))
    _, frontier = _build(report)
    assert [row[2] for row in frontier.rows] == ["100", "200"]
    assert frontier.columns[2] == "tok/s/GPU"


def test_open_loop_token_chart_shows_times_by_offered_rate(streaming_report: Report) -> None:
    times, _ = _build(_loaded(streaming_report, (10.0, 20.0), is_closed=False))
    assert times.title == "TTFT and TPOT by offered rate"
    assert [row[0] for row in times.rows] == ["4.00\u202freq/s", "8.00\u202freq/s"]


def test_single_load_or_run_without_tokens_has_no_token_charts(streaming_report: Report, full_report: Report) -> None:
    for report in (streaming_report, full_report):
        assert build_token_times_figure(report) is None
        assert build_token_frontier_chart(report) is None
