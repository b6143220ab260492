"""Read GuideLLM's JSON reports, from version 0.3 on. Each benchmark in a report is one load point.

`request_latency` is in seconds; metrics whose names end in `_ms` are in milliseconds. Version 0.3
stores the strategy and the model under other keys.
"""

from __future__ import annotations

from app.analysis.token_samples import build_sample_from_percentiles, build_sample_from_rows
from app.records.estimate import TokenSample
from app.records.planning_inputs import CurvePrecision, ImportedCurve, MeasuredLoadPoint
from app.storage.foreign.aggregates import (
    FROM_SEND_NOTE,
    UNLIMITED_RATE_NOTE,
    compute_aggregates,
    convert_to_seconds,
    drop_empty,
    find_lowest_precision,
    read_aggregates,
    require_single_value,
)
from app.storage.foreign.documents import ForeignDocument, build_file_error
from app.storage.foreign.node import Node

TOOL = "GuideLLM"
_PERCENTILES = {"p50": "p50", "p90": "p90", "p95": "p95", "p99": "p99", "p999": "p99_9"}
_SCHEDULED_START_NOTE = (
    "latency and TTFT of rate stages are measured from the scheduled start, using the requests in the report"
)
_TPOT_NOTE = "TPOT is GuideLLM's inter-token latency; GuideLLM's own aggregates are weighted by tokens"
_INCOMPLETE_NOTE = "percentiles exclude requests in flight at the end of a stage"
_CONCURRENCY_LIMIT_NOTE = "the rate was limited by max_concurrency"


def recognizes(document: ForeignDocument) -> bool:
    benchmarks = document.value.get("benchmarks") if isinstance(document.value, dict) else None
    return isinstance(benchmarks, list) and all(
        isinstance(benchmark, dict)
        and isinstance(benchmark.get("metrics"), dict)
        and "request_latency" in benchmark["metrics"]
        for benchmark in benchmarks
    )


def read(documents: tuple[ForeignDocument, ...]) -> ImportedCurve:
    load_points: list[MeasuredLoadPoint] = []
    precisions: list[CurvePrecision] = []
    notes: list[str] = []
    models: list[tuple[str, str | None]] = []
    versions: set[str | None] = set()
    for document in documents:
        report = Node(document.value, document.name)
        versions.add(report.at("metadata", "guidellm_version").text())
        benchmarks = list(report.at("benchmarks").items())
        if not benchmarks:
            raise build_file_error(document.name, "its list of benchmarks is empty")
        for benchmark in benchmarks:
            models.append((document.name, _find_model(report, benchmark)))
            load_point, precision, point_notes = _build_load_point(document.name, benchmark)
            load_points.append(load_point)
            precisions.append(precision)
            notes += point_notes
    return ImportedCurve(
        tool=TOOL,
        version=" and ".join(sorted(filter(None, versions))) or None,
        model=require_single_value("model", models),
        precision=find_lowest_precision(precisions),
        load_points=tuple(load_points),
        notes=tuple(notes),
    )


def _find_model(report: Node, benchmark: Node) -> str | None:
    candidates = (
        benchmark.at("config", "backend", "model"),
        benchmark.at("worker", "backend_model"),
        report.at("config", "spec", "backend", "model"),
        report.at("args", "model"),
    )
    return next(
        (candidate.text() for candidate in candidates if isinstance(candidate.value, str) and candidate.value), None
    )


def _build_load_point(name: str, benchmark: Node) -> tuple[MeasuredLoadPoint, CurvePrecision, list[str]]:
    strategy = benchmark.at("config", "strategy")
    if strategy.value is None:
        strategy = benchmark.at("args", "strategy")  # version 0.3
    rate_per_s, client_count, notes = _read_load(name, strategy)
    metrics, totals = benchmark.at("metrics"), _find_totals(benchmark)
    completed_count = totals.at("successful").count()
    duration_s = benchmark.at("duration").number_or_none()
    achieved_per_s = metrics.at("requests_per_second", "successful", "mean").number_or_none()
    if achieved_per_s is None:
        achieved_per_s = completed_count / duration_s if duration_s else 0.0
    rows = _select_measured_requests(benchmark, completed_count)
    has_scheduled_starts = (
        rate_per_s is not None and bool(rows) and all(_read_scheduled_start_s(row) is not None for row in rows)
    )
    latencies_s = (
        _compute_latencies(rows, has_scheduled_starts=has_scheduled_starts) if rows else _read_latencies(metrics)
    )
    notes += [_SCHEDULED_START_NOTE if has_scheduled_starts else FROM_SEND_NOTE] * (rate_per_s is not None)
    notes += [_TPOT_NOTE] * ("tpot" in latencies_s) + [_INCOMPLETE_NOTE] * bool(totals.at("incomplete").count_or_none())
    load_point = MeasuredLoadPoint(
        offered_per_s=rate_per_s,
        clients=client_count,
        achieved_per_s=achieved_per_s,
        duration_s=duration_s,
        completed=completed_count,
        failed=totals.at("errored").count_or_none(),
        latencies_s=latencies_s if completed_count else {},
        gaps="even" if strategy.at("type_").value == "constant" else "random",
        input_tokens_mean=metrics.at("prompt_token_count", "successful", "mean").number_or_none() or None,
        output_tokens_mean=metrics.at("output_token_count", "successful", "mean").number_or_none() or None,
        lengths=_build_token_sample(rows, metrics),
    )
    return load_point, "requests" if rows else "aggregates", notes


def _build_token_sample(rows: list[Node], metrics: Node) -> TokenSample | None:
    pairs = [[row.at(f"{side}_tokens").number_or_none() for side in ("prompt", "output")] for row in rows]
    token_counts = [
        (input_tokens, output_tokens) for input_tokens, output_tokens in pairs if input_tokens and output_tokens
    ]
    if token_counts and len(token_counts) == len(rows):
        return build_sample_from_rows(*zip(*token_counts, strict=True))
    summaries = [metrics.at(f"{side}_token_count", "successful") for side in ("prompt", "output")]
    return build_sample_from_percentiles(
        *(
            read_aggregates(summary.at("percentiles"), _PERCENTILES) | read_aggregates(summary, {"mean": "mean"})
            for summary in summaries
        )
    )


def _find_totals(benchmark: Node) -> Node:
    totals = benchmark.at("metrics", "request_totals")
    return benchmark.at("request_totals") if totals.value is None else totals


def _read_load(name: str, strategy: Node) -> tuple[float | None, float | None, list[str]]:
    """Return the request rate, the number of clients, and notes on the load. At least one of rate
    and clients is `None`."""
    strategy_type, max_concurrency = strategy.at("type_").text(), strategy.at("max_concurrency").number_or_none()
    if strategy_type in ("constant", "poisson"):
        return strategy.at("rate").number(), None, [_CONCURRENCY_LIMIT_NOTE] * (max_concurrency is not None)
    if strategy_type == "synchronous":
        return None, 1.0, []
    if strategy_type == "concurrent":
        return None, strategy.at("streams").number(), []
    if strategy_type == "throughput":
        return None, max_concurrency, [] if max_concurrency else [UNLIMITED_RATE_NOTE]
    raise build_file_error(
        name,
        f"its strategy {strategy_type or '(none)'} is not a constant load",
        "Use a report with constant, poisson, synchronous, concurrent or throughput strategies.",
    )


def _select_measured_requests(benchmark: Node, completed_count: int) -> list[Node]:
    """Return the successful requests that the tool's own metrics are based on; empty if the report
    contains only some of these requests."""
    rows = list(benchmark.at("requests", "successful").items())
    start_s, end_s = (benchmark.at(key).number_or_none() for key in ("start_time", "end_time"))
    # The rows include warm-up and cool-down if there are more rows than completed requests.
    if len(rows) > completed_count and start_s is not None and end_s is not None:
        rows = [row for row in rows if _read_start_s(row) <= end_s and _read_end_s(row) >= start_s]
    is_complete = bool(completed_count) and len(rows) == completed_count
    return rows if is_complete and all(row.at("request_latency").value is not None for row in rows) else []


def _compute_latencies(rows: list[Node], *, has_scheduled_starts: bool) -> dict[str, dict[str, float]]:
    latencies_s, ttfts_s, tpots_s = [], [], []
    for row in rows:
        start_s = _read_start_s(row)
        delay_s = max(0.0, start_s - (_read_scheduled_start_s(row) or start_s)) if has_scheduled_starts else 0.0
        latencies_s.append(row.at("request_latency").number() + delay_s)
        ttft_ms = row.at("time_to_first_token_ms").number_or_none()
        if ttft_ms:
            ttfts_s.append(ttft_ms * 1e-3 + delay_s)
        itl_ms, token_count = (
            row.at("inter_token_latency_ms").number_or_none(),
            row.at("output_tokens").number_or_none(),
        )
        if itl_ms is not None and token_count is not None and token_count > 1:
            tpots_s.append(itl_ms * 1e-3)
    has_all_ttfts = len(ttfts_s) == len(rows)
    return drop_empty(
        {
            "latency": compute_aggregates(latencies_s),
            "ttft": compute_aggregates(ttfts_s) if has_all_ttfts else {},
            "tpot": compute_aggregates(tpots_s),
        }
    )


def _read_start_s(row: Node) -> float:
    node = row.at("info", "timings", "request_start")
    return (row.at("start_time") if node.value is None else node).number()


def _read_end_s(row: Node) -> float:
    node = row.at("info", "timings", "request_end")
    return (row.at("end_time") if node.value is None else node).number()


def _read_scheduled_start_s(row: Node) -> float | None:
    """Return the scheduled start in s; `None` if unknown, for which version 0.3 writes -1."""
    node = row.at("info", "timings", "targeted_start")
    if node.value is None:
        node = row.at("scheduler_info", "targeted_start_time")
    return None if node.value in (None, -1) else node.number()


def _read_latencies(metrics: Node) -> dict[str, dict[str, float]]:
    tool_names = {"latency": "request_latency", "ttft": "time_to_first_token_ms", "tpot": "inter_token_latency_ms"}
    latencies_s = {}
    for metric, tool_name in tool_names.items():
        summary, unit_s = metrics.at(tool_name, "successful"), 1.0 if metric == "latency" else 1e-3
        percentiles = read_aggregates(summary.at("percentiles"), _PERCENTILES)
        latencies_s[metric] = convert_to_seconds(
            percentiles | read_aggregates(summary, {"mean": "mean", "max": "max"}), unit_s
        )
    return drop_empty(latencies_s)
