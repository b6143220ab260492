"""Read AIPerf results: `profile_export_aiperf.json` (one load point) and `profile_export.jsonl`
(the requests of that load point).

Files in the same folder belong together: the JSON file contains load, model and version, and the
JSONL file contains exact latencies. Every value has a unit. In schema 1.2, the configuration was
moved from `loadgen` to `phases`.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import msgspec

from app.analysis.token_samples import build_sample_from_percentiles, build_sample_from_rows
from app.records.estimate import TokenSample
from app.records.planning_inputs import CurvePrecision, GapDistribution, ImportedCurve, MeasuredLoadPoint
from app.storage.foreign.aggregates import (
    FROM_SEND_NOTE,
    UNITS_S,
    compute_aggregates,
    compute_mean,
    convert_to_seconds,
    drop_empty,
    find_lowest_precision,
    read_aggregates,
    require_single_value,
)
from app.storage.foreign.documents import ForeignDocument, build_file_error
from app.storage.foreign.node import Node

TOOL = "AIPerf"
_METRICS = {"latency": "request_latency", "ttft": "time_to_first_token", "tpot": "inter_token_latency"}
_AGGREGATES = {"avg": "mean", "p50": "p50", "p90": "p90", "p95": "p95", "p99": "p99", "max": "max"}
_GAP_DISTRIBUTIONS: dict[str, GapDistribution] = {"poisson": "random", "constant": "even"}
_SUMMARY_KEYS = ("request_latency", "request_count", "error_request_count")
_TPOT_NOTE = "TPOT is AIPerf's inter-token latency: (latency - TTFT) / (tokens - 1) per request"
_CONCURRENCY_LIMIT_NOTE = "the rate was limited by a concurrency limit, and latency excludes the wait for a free slot"
_NO_SUMMARY_NOTE = "without profile_export_aiperf.json in the same folder, rate, concurrency and model are unknown"

_UNKNOWN_LOAD_NOTE = "a summary contains neither rate nor concurrency"


def recognizes(document: ForeignDocument) -> bool:
    return _is_summary(document) or _is_request_document(document)


def read(documents: tuple[ForeignDocument, ...]) -> ImportedCurve:
    rows = _group_by_folder(document for document in documents if not _is_summary(document))
    summaries = _group_by_folder(document for document in documents if _is_summary(document))
    models: list[tuple[str, str | None]] = []
    versions: set[str] = set()
    load_points: list[MeasuredLoadPoint] = []
    precisions: list[CurvePrecision] = []
    notes = [FROM_SEND_NOTE]
    for folder, document in summaries.items():
        summary = Node(document.value, document.name)
        models.append((document.name, _find_model(summary)))
        versions.update(filter(None, [summary.at("aiperf_version").text()]))
        load_point, point_notes = _build_load_point(document.name, summary)
        successful_rows = [row for row in _read_measured_requests(rows.pop(folder, None)) if _is_successful(row)]
        is_complete = bool(successful_rows) and len(successful_rows) == load_point.completed
        if is_complete:
            load_point = msgspec.structs.replace(
                load_point,
                latencies_s=_compute_latencies(successful_rows),
                lengths=_build_token_sample(successful_rows) or load_point.lengths,
            )
        elif successful_rows:
            count, total = len(successful_rows), load_point.completed
            point_notes = [
                *point_notes,
                f"the file of requests has {count} successful requests, but the summary has {total}, "
                "so the summary's aggregates are used",
            ]
        load_points.append(load_point)
        precisions.append("requests" if is_complete else "aggregates")
        notes += point_notes
    for document in rows.values():
        load_points.append(_build_load_point_from_requests(document))
        precisions.append("requests")
        notes.append(_NO_SUMMARY_NOTE)
    notes += [_TPOT_NOTE] * any("tpot" in load_point.latencies_s for load_point in load_points)
    return ImportedCurve(
        tool=TOOL,
        version=" and ".join(sorted(versions)) or None,
        model=require_single_value("model", models),
        precision=find_lowest_precision(precisions),
        load_points=tuple(load_points),
        notes=tuple(notes),
    )


def _is_summary(document: ForeignDocument) -> bool:
    value = document.value
    return (
        isinstance(value, dict)
        and any(isinstance(value.get(key), dict) and "unit" in value[key] for key in _SUMMARY_KEYS)
        and ("aiperf_version" in value or "input_config" in value)
    )


def _is_request_document(document: ForeignDocument) -> bool:
    return bool(document.values) and all(
        isinstance(value, dict) and isinstance(value.get("metadata"), dict) and "request_start_ns" in value["metadata"]
        for value in document.values
    )


def _group_by_folder(documents: Iterable[ForeignDocument]) -> dict[Path, ForeignDocument]:
    documents_by_folder: dict[Path, ForeignDocument] = {}
    for document in documents:
        if document.folder in documents_by_folder:
            raise build_file_error(
                document.name,
                f"it is in the same folder as {documents_by_folder[document.folder].name}, which has the same format",
                "Store the files of each load point in a separate folder.",
            )
        documents_by_folder[document.folder] = document
    return documents_by_folder


def _find_model(summary: Node) -> str | None:
    config = summary.at("input_config")
    names = [name.text() for name in config.at("endpoint", "model_names").items()]
    names += [model.at("name").text() for model in config.at("models", "items").items()]
    return ", ".join(name for name in names if name) or None


def _read_load(name: str, summary: Node) -> tuple[float | None, float | None, GapDistribution]:
    """Return the request rate, the concurrency, and the distribution of interarrival times at that
    rate."""
    config = summary.at("input_config")
    phases = [phase for phase in config.at("phases").items() if _is_measured(phase)]
    if len(phases) > 1:
        raise build_file_error(name, "it mixes several load phases", "Use the files in its folder phases/ instead.")
    load_settings = phases[0] if phases else config.at("loadgen")
    if load_settings.at("type").value in ("fixed_schedule", "user_centric"):
        raise build_file_error(name, "it replays a schedule, which is not a constant load")
    rate_per_s = load_settings.at("request_rate" if not phases else "rate").number_or_none()
    candidates = [load_settings.at(key).value for key in ("arrival_pattern", "request_rate_mode", "type")]
    pattern = next((candidate for candidate in candidates if isinstance(candidate, str)), "poisson")
    return rate_per_s, load_settings.at("concurrency").number_or_none(), _GAP_DISTRIBUTIONS.get(pattern, "other")


def _is_measured(phase: Node) -> bool:
    kind = phase.at("kind").value or phase.at("name").value
    return kind != "warmup"


def _build_load_point(name: str, summary: Node) -> tuple[MeasuredLoadPoint, list[str]]:
    rate_per_s, concurrency, gap_distribution = _read_load(name, summary)
    completed_count = summary.at("request_count", "avg").count_or_none()
    failed_count = summary.at("error_request_count", "avg").count_or_none()
    if completed_count is None and failed_count is not None:
        completed_count = 0  # no request succeeded
    duration_node, duration_s = summary.at("benchmark_duration"), None
    if duration_node.value is not None:
        duration_s = duration_node.at("avg").number() * _read_unit_s(duration_node)
    achieved_per_s = summary.at("request_throughput", "avg").number_or_none()
    if achieved_per_s is None and completed_count == 0:
        achieved_per_s = 0.0
    if achieved_per_s is None:
        raise summary.at("request_throughput", "avg").type_error("a number of requests per second")
    latencies_s = {}
    for metric, tool_metric in _METRICS.items():
        node = summary.at(tool_metric)
        latencies_s[metric] = (
            {} if node.value is None else convert_to_seconds(read_aggregates(node, _AGGREGATES), _read_unit_s(node))
        )
    load_point = MeasuredLoadPoint(
        offered_per_s=rate_per_s,
        clients=concurrency if rate_per_s is None else None,
        achieved_per_s=achieved_per_s,
        duration_s=duration_s,
        completed=completed_count,
        failed=failed_count or 0,
        latencies_s=drop_empty(latencies_s),
        input_tokens_mean=summary.at("input_sequence_length", "avg").number_or_none(),
        output_tokens_mean=summary.at("output_sequence_length", "avg").number_or_none(),
        lengths=build_sample_from_percentiles(
            read_aggregates(summary.at("input_sequence_length"), _AGGREGATES),
            read_aggregates(summary.at("output_sequence_length"), _AGGREGATES),
        ),
        gaps=gap_distribution,
    )
    notes = [_CONCURRENCY_LIMIT_NOTE] if rate_per_s is not None and concurrency is not None else []
    return load_point, notes if rate_per_s is not None or concurrency is not None else [_UNKNOWN_LOAD_NOTE]


def _read_unit_s(node: Node) -> float:
    unit = node.at("unit").text()
    if unit not in UNITS_S:
        raise node.at("unit").type_error("a unit of time")
    return UNITS_S[unit]


def _build_load_point_from_requests(document: ForeignDocument) -> MeasuredLoadPoint:
    rows = _read_measured_requests(document)
    successful_rows = [row for row in rows if _is_successful(row)]
    starts_ns = [row.at("metadata", "request_start_ns").number() for row in rows]
    ends_ns = [row.at("metadata", "request_end_ns").number() for row in rows]
    duration_s = (max(ends_ns) - min(starts_ns)) * 1e-9 if rows else 0.0
    if duration_s <= 0:
        raise build_file_error(document.name, "its requests have no duration")
    return MeasuredLoadPoint(
        offered_per_s=None,
        clients=None,
        achieved_per_s=len(successful_rows) / duration_s,
        duration_s=duration_s,
        completed=len(successful_rows),
        failed=len(rows) - len(successful_rows),
        latencies_s=_compute_latencies(successful_rows),
        input_tokens_mean=compute_mean(_read_values(successful_rows, "input_sequence_length")),
        output_tokens_mean=compute_mean(_read_values(successful_rows, "output_sequence_length")),
        lengths=_build_token_sample(successful_rows),
    )


def _read_measured_requests(document: ForeignDocument | None) -> list[Node]:
    """Return the requests of a document, excluding warm-up requests; empty if there is no
    document."""
    if document is None:
        return []
    rows = [Node(value, document.name, f"request {number}") for number, value in enumerate(document.values, 1)]
    return [row for row in rows if row.at("metadata", "benchmark_phase").value in (None, "profiling")]


def _is_successful(row: Node) -> bool:
    return row.at("error").value is None and not row.at("metadata", "was_cancelled").value


def _compute_latencies(successful_rows: list[Node]) -> dict[str, dict[str, float]]:
    latencies_s = {}
    for metric, tool_metric in _METRICS.items():
        nodes = [row.at("metrics", tool_metric) for row in successful_rows]
        latencies_s[metric] = compute_aggregates(
            node.at("value").number() * _read_unit_s(node) for node in nodes if node.value is not None
        )
    return drop_empty(latencies_s)


def _build_token_sample(successful_rows: list[Node]) -> TokenSample | None:
    input_lengths, output_lengths = (
        _read_values(successful_rows, f"{side}_sequence_length") for side in ("input", "output")
    )
    return (
        build_sample_from_rows(input_lengths, output_lengths)
        if len(input_lengths) == len(output_lengths) == len(successful_rows)
        else None
    )


def _read_values(rows: list[Node], tool_metric: str) -> list[float]:
    nodes = [row.at("metrics", tool_metric, "value") for row in rows]
    return [node.number() for node in nodes if node.value is not None]
