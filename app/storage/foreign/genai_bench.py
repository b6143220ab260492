"""Read genai-bench results: one JSON file per concurrency level, in the folder of an experiment.

The model is in `experiment_metadata.json` in the same folder. Latencies are in the unit
`_time_unit` of the file; older versions lack this key and use seconds.
"""

from __future__ import annotations

from app.analysis.token_samples import build_sample_from_rows
from app.records.estimate import TokenSample
from app.records.planning_inputs import CurvePrecision, ImportedCurve, MeasuredLoadPoint
from app.storage.foreign.aggregates import (
    FROM_SEND_NOTE,
    UNITS_S,
    compute_aggregates,
    convert_to_seconds,
    drop_empty,
    find_lowest_precision,
    read_aggregates,
    require_single_value,
)
from app.storage.foreign.documents import ForeignDocument, build_file_error
from app.storage.foreign.node import Node

TOOL = "genai-bench"
_METRICS = {"latency": "e2e_latency", "ttft": "ttft", "tpot": "tpot"}
_AGGREGATES = {name: name for name in ("mean", "p50", "p90", "p95", "p99", "max")}
_TRIMMED_NOTE = "latencies are the tool's own aggregates, which exclude the requests of warm-up and cool-down"
_TOLERANCE_S = 1e-6


def recognizes(document: ForeignDocument) -> bool:
    return _is_run(document) or _is_metadata(document)


def read(documents: tuple[ForeignDocument, ...]) -> ImportedCurve:
    runs = [document for document in documents if _is_run(document)]
    metadata_nodes = [Node(document.value, document.name) for document in documents if not _is_run(document)]
    scenario = require_single_value("traffic scenario", ((run.name, _read_scenario(run)) for run in runs))
    results = [_build_load_point(document) for document in runs]
    notes = [FROM_SEND_NOTE, *(note for _, _, point_notes in results for note in point_notes)]
    return ImportedCurve(
        tool=TOOL,
        version=" and ".join(sorted({text for node in metadata_nodes if (text := node.at("benchmark_version").text())}))
        or None,
        model=require_single_value(
            "model", (("experiment_metadata.json", node.at("model").text()) for node in metadata_nodes)
        ),
        precision=find_lowest_precision([precision for _, precision, _ in results] or ["aggregates"]),
        load_points=tuple(load_point for load_point, _, _ in results),
        notes=(*notes, f"the traffic scenario is {scenario}") if scenario else tuple(notes),
    )


def _is_run(document: ForeignDocument) -> bool:
    value = document.value
    return isinstance(value, dict) and isinstance(value.get("aggregated_metrics"), dict)


def _is_metadata(document: ForeignDocument) -> bool:
    value = document.value
    return isinstance(value, dict) and {"benchmark_version", "api_backend", "traffic_scenario"} <= value.keys()


def _read_scenario(run: ForeignDocument) -> str | None:
    return Node(run.value, run.name).at("aggregated_metrics", "scenario").text()


def _build_load_point(document: ForeignDocument) -> tuple[MeasuredLoadPoint, CurvePrecision, list[str]]:
    run = Node(document.value, document.name)
    metrics = run.at("aggregated_metrics")
    if metrics.at("iteration_type").value == "batch_size":
        raise build_file_error(document.name, "it varies the batch size instead of the load")
    time_unit = run.at("_time_unit").text() or "s"
    if time_unit not in UNITS_S:
        raise run.at("_time_unit").type_error("a unit of time")
    completed_count = metrics.at("num_completed_requests").count()
    latencies_s, precision, notes = _select_latencies(run, metrics, UNITS_S[time_unit])
    achieved_per_s = metrics.at("requests_per_second").number_or_none()
    if achieved_per_s is None:
        achieved_per_s = metrics.at("requests_per_minute").number() / 60
    load_point = MeasuredLoadPoint(
        offered_per_s=None,
        clients=metrics.at("num_concurrency").number(),
        achieved_per_s=achieved_per_s,
        duration_s=metrics.at("run_duration").number_or_none()
        or (completed_count / achieved_per_s if achieved_per_s else None),
        completed=completed_count,
        failed=metrics.at("num_error_requests").count(),
        latencies_s=latencies_s if completed_count else {},
        input_tokens_mean=metrics.at("stats", "num_input_tokens", "mean").number_or_none() or None,
        output_tokens_mean=metrics.at("stats", "num_output_tokens", "mean").number_or_none() or None,
        lengths=_build_token_sample(run),
    )
    return load_point, precision, notes


def _build_token_sample(run: Node) -> TokenSample | None:
    successful_rows = [
        row for row in run.at("individual_request_metrics").items() if row.at("error_code").value is None
    ]
    pairs = [[row.at(f"num_{side}_tokens").number_or_none() for side in ("input", "output")] for row in successful_rows]
    token_counts = [
        (input_tokens, output_tokens) for input_tokens, output_tokens in pairs if input_tokens and output_tokens
    ]
    return build_sample_from_rows(*zip(*token_counts, strict=True)) if token_counts else None


def _select_latencies(
    run: Node, metrics: Node, unit_s: float
) -> tuple[dict[str, dict[str, float]], CurvePrecision, list[str]]:
    """Return the latencies, their precision, and notes.

    If the means agree, the requests in the file are assumed to be the requests behind the tool's
    own aggregates, and the latencies are computed from these requests. Otherwise, the tool's own
    aggregates are returned.
    """
    tool_latencies = {
        metric: convert_to_seconds(read_aggregates(metrics.at("stats", key), _AGGREGATES), unit_s)
        for metric, key in _METRICS.items()
    }
    successful_rows = [
        row for row in run.at("individual_request_metrics").items() if row.at("error_code").value is None
    ]
    request_latencies = {
        metric: compute_aggregates(
            row.at(key).number() * unit_s for row in successful_rows if row.at(key).value is not None
        )
        for metric, key in _METRICS.items()
    }
    if not successful_rows:
        return drop_empty(tool_latencies), "aggregates", []
    if (
        abs(tool_latencies["latency"].get("mean", 0.0) - request_latencies["latency"].get("mean", 0.0))
        <= _TOLERANCE_S * unit_s
    ):
        return drop_empty(request_latencies), "requests", []
    return drop_empty(tool_latencies), "aggregates", [_TRIMMED_NOTE]
