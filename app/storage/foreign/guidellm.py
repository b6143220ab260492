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
from app.storage.foreign.documents import ForeignDocument, file_error
from app.storage.foreign.node import Node

TOOL = "GuideLLM"
_PERCENTILES = {"p50": "p50", "p90": "p90", "p95": "p95", "p99": "p99", "p999": "p99_9"}
_FROM_INTENDED = (
    "latency and TTFT of rate stages are measured from the scheduled start, using the requests in the report"
)
_TPOT = "TPOT is GuideLLM's inter-token latency; GuideLLM's own aggregates are weighted by tokens"
_CUT = "percentiles exclude requests in flight at the end of a stage"
_CAPPED = "the rate was limited by max_concurrency"


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
            raise file_error(document.name, "its list of benchmarks is empty")
        for benchmark in benchmarks:
            models.append((document.name, _model(report, benchmark)))
            load_point, precision, point_notes = _load_point(document.name, benchmark)
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


def _model(report: Node, benchmark: Node) -> str | None:
    candidates = (
        benchmark.at("config", "backend", "model"),
        benchmark.at("worker", "backend_model"),
        report.at("config", "spec", "backend", "model"),
        report.at("args", "model"),
    )
    return next(
        (candidate.text() for candidate in candidates if isinstance(candidate.value, str) and candidate.value), None
    )


def _load_point(name: str, benchmark: Node) -> tuple[MeasuredLoadPoint, CurvePrecision, list[str]]:
    strategy = benchmark.at("config", "strategy")
    if strategy.value is None:
        strategy = benchmark.at("args", "strategy")  # version 0.3
    rate, clients, notes = _load(name, strategy)
    metrics, totals = benchmark.at("metrics"), _totals(benchmark)
    completed = totals.at("successful").count()
    duration = benchmark.at("duration").number_or_none()
    per_s = metrics.at("requests_per_second", "successful", "mean").number_or_none()
    if per_s is None:
        per_s = completed / duration if duration else 0.0
    rows = _window(benchmark, completed)
    is_intended = rate is not None and bool(rows) and all(_target(row) is not None for row in rows)
    latencies = _from_requests(rows, is_intended=is_intended) if rows else _from_aggregates(metrics)
    notes += [_FROM_INTENDED if is_intended else FROM_SEND_NOTE] * (rate is not None)
    notes += [_TPOT] * ("tpot" in latencies) + [_CUT] * bool(totals.at("incomplete").count_or_none())
    load_point = MeasuredLoadPoint(
        offered_per_s=rate,
        clients=clients,
        achieved_per_s=per_s,
        duration_s=duration,
        completed=completed,
        failed=totals.at("errored").count_or_none(),
        latencies_s=latencies if completed else {},
        gaps="even" if strategy.at("type_").value == "constant" else "random",
        input_tokens_mean=metrics.at("prompt_token_count", "successful", "mean").number_or_none() or None,
        output_tokens_mean=metrics.at("output_token_count", "successful", "mean").number_or_none() or None,
        lengths=_lengths(rows, metrics),
    )
    return load_point, "requests" if rows else "aggregates", notes


def _lengths(rows: list[Node], metrics: Node) -> TokenSample | None:
    pairs = [[row.at(f"{side}_tokens").number_or_none() for side in ("prompt", "output")] for row in rows]
    counted = [(input_tokens, output_tokens) for input_tokens, output_tokens in pairs if input_tokens and output_tokens]
    if counted and len(counted) == len(rows):
        return build_sample_from_rows(*zip(*counted, strict=True))
    summaries = [metrics.at(f"{side}_token_count", "successful") for side in ("prompt", "output")]
    return build_sample_from_percentiles(
        *(
            read_aggregates(summary.at("percentiles"), _PERCENTILES) | read_aggregates(summary, {"mean": "mean"})
            for summary in summaries
        )
    )


def _totals(benchmark: Node) -> Node:
    totals = benchmark.at("metrics", "request_totals")
    return benchmark.at("request_totals") if totals.value is None else totals


def _load(name: str, strategy: Node) -> tuple[float | None, float | None, list[str]]:
    """Return the request rate, the number of clients, and notes on the load. At least one of rate
    and clients is `None`."""
    kind, cap = strategy.at("type_").text(), strategy.at("max_concurrency").number_or_none()
    if kind in ("constant", "poisson"):
        return strategy.at("rate").number(), None, [_CAPPED] * (cap is not None)
    if kind == "synchronous":
        return None, 1.0, []
    if kind == "concurrent":
        return None, strategy.at("streams").number(), []
    if kind == "throughput":
        return None, cap, [] if cap else [UNLIMITED_RATE_NOTE]
    raise file_error(
        name, f"its strategy {kind or '(none)'} is not a constant load", "Use a report of rates, streams or sweeps."
    )


def _window(benchmark: Node, completed: int) -> list[Node]:
    """Return the successful requests that the tool's own metrics are based on; empty if the report
    contains only some of these requests."""
    rows = list(benchmark.at("requests", "successful").items())
    start, end = (benchmark.at(key).number_or_none() for key in ("start_time", "end_time"))
    if len(rows) > completed and start is not None and end is not None:  # the rows include warm-up and cool-down
        rows = [row for row in rows if _sent(row) <= end and _ended(row) >= start]
    is_whole = bool(completed) and len(rows) == completed
    return rows if is_whole and all(row.at("request_latency").value is not None for row in rows) else []


def _from_requests(rows: list[Node], *, is_intended: bool) -> dict[str, dict[str, float]]:
    latencies, firsts, tpots = [], [], []
    for row in rows:
        sent = _sent(row)
        late = max(0.0, sent - (_target(row) or sent)) if is_intended else 0.0
        latencies.append(row.at("request_latency").number() + late)
        first = row.at("time_to_first_token_ms").number_or_none()
        if first:
            firsts.append(first * 1e-3 + late)
        gap, tokens = row.at("inter_token_latency_ms").number_or_none(), row.at("output_tokens").number_or_none()
        if gap is not None and tokens is not None and tokens > 1:
            tpots.append(gap * 1e-3)
    has_firsts = len(firsts) == len(rows)
    return drop_empty(
        {
            "latency": compute_aggregates(latencies),
            "ttft": compute_aggregates(firsts) if has_firsts else {},
            "tpot": compute_aggregates(tpots),
        }
    )


def _sent(row: Node) -> float:
    node = row.at("info", "timings", "request_start")
    return (row.at("start_time") if node.value is None else node).number()


def _ended(row: Node) -> float:
    node = row.at("info", "timings", "request_end")
    return (row.at("end_time") if node.value is None else node).number()


def _target(row: Node) -> float | None:
    """Return the scheduled send time. Version 0.3 writes -1 for an unknown time."""
    node = row.at("info", "timings", "targeted_start")
    if node.value is None:
        node = row.at("scheduler_info", "targeted_start_time")
    return None if node.value in (None, -1) else node.number()


def _from_aggregates(metrics: Node) -> dict[str, dict[str, float]]:
    tool_names = {"latency": "request_latency", "ttft": "time_to_first_token_ms", "tpot": "inter_token_latency_ms"}
    latencies = {}
    for metric, tool_name in tool_names.items():
        summary, unit_s = metrics.at(tool_name, "successful"), 1.0 if metric == "latency" else 1e-3
        levels = read_aggregates(summary.at("percentiles"), _PERCENTILES)
        latencies[metric] = convert_to_seconds(
            levels | read_aggregates(summary, {"mean": "mean", "max": "max"}), unit_s
        )
    return drop_empty(latencies)
