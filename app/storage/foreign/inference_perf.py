"""Read inference-perf results: one load point per `stage_N_lifecycle_metrics.json`, and the
summary. Times are in seconds."""

from __future__ import annotations

from app.analysis.token_samples import build_sample_from_percentiles
from app.records.planning_inputs import ImportedCurve, MeasuredLoadPoint
from app.storage.foreign.aggregates import (
    FROM_SEND_NOTE,
    convert_to_seconds,
    drop_empty,
    format_percentile_name,
    read_aggregates,
)
from app.storage.foreign.documents import ForeignDocument, build_file_error
from app.storage.foreign.node import Node

TOOL = "inference-perf"
_METRICS = {
    "latency": "request_latency",
    "ttft": "time_to_first_token",
    "tpot": "time_per_output_token",
    "itl": "inter_token_latency",
}
_AGGREGATES = {"mean": "mean", "max": "max", "median": "p50"} | {
    f"p{p:g}": format_percentile_name(p) for p in (50, 90, 95, 99, 99.9)
}
_MAX_PLAUSIBLE_S = 1e6
_ITL_NOTE = "ITL is the gap between tokens; tokens of the same chunk have no gap"
_SUMMARY_NOTE = "the file is a summary of all stages, which is a load point only for a run with one stage"
_IGNORED_SUMMARY_NOTE = "the summary of all stages is ignored, because it is not a load point"


def recognizes(document: ForeignDocument) -> bool:
    value = document.value
    return isinstance(value, dict) and {"load_summary", "successes", "failures"} <= value.keys()


def read(documents: tuple[ForeignDocument, ...]) -> ImportedCurve:
    for document in documents:
        if document.name.startswith("adapter_"):
            raise build_file_error(
                document.name, "it covers the requests of one adapter, which are only part of the load"
            )
    load_nodes = [Node(document.value, document.name) for document in documents]
    stage_nodes = [
        load_node for load_node in load_nodes if load_node.at("load_summary", "requested_rate").value is not None
    ]
    notes = [FROM_SEND_NOTE]
    if len(stage_nodes) < len(load_nodes):
        if not stage_nodes and len(load_nodes) > 1:
            raise build_file_error(
                documents[0].name,
                "it is one of several summaries of different runs",
                "Use the stage files of one run instead.",
            )
        notes.append(_IGNORED_SUMMARY_NOTE if stage_nodes else _SUMMARY_NOTE)
    used_nodes = stage_nodes or load_nodes
    load_points = [_build_load_point(load_node) for load_node in used_nodes]
    notes += [_ITL_NOTE] * any("itl" in load_point.latencies_s for load_point in load_points) + _build_delay_notes(
        used_nodes
    )
    return ImportedCurve(tool=TOOL, precision="aggregates", load_points=tuple(load_points), notes=tuple(notes))


def _build_load_point(load_node: Node) -> MeasuredLoadPoint:
    load_summary, successes = load_node.at("load_summary"), load_node.at("successes")
    client_count = load_summary.at("concurrency").number_or_none()
    completed_count = successes.at("count").count()
    achieved_per_s = successes.at("throughput", "requests_per_sec").number()
    duration_s = load_node.at("benchmark_time_seconds").number_or_none()
    return MeasuredLoadPoint(
        offered_per_s=None if client_count is not None else load_summary.at("requested_rate").number_or_none() or None,
        clients=client_count,
        achieved_per_s=achieved_per_s,
        duration_s=duration_s
        if duration_s is not None
        else completed_count / achieved_per_s
        if achieved_per_s
        else None,
        completed=completed_count,
        failed=load_node.at("failures", "count").count(),
        latencies_s=_read_latencies(successes.at("latency")),
        input_tokens_mean=_read_first_mean(successes.at("prompt_tokens"), successes.at("prompt_len")),
        output_tokens_mean=_read_first_mean(successes.at("output_tokens"), successes.at("output_len")),
        lengths=build_sample_from_percentiles(
            _read_first_aggregates(successes.at("prompt_tokens"), successes.at("prompt_len")),
            _read_first_aggregates(successes.at("output_tokens"), successes.at("output_len")),
        ),
    )


def _read_latencies(latency: Node) -> dict[str, dict[str, float]]:
    return drop_empty(
        {
            metric: convert_to_seconds(read_aggregates(latency.at(key), _AGGREGATES), 1.0)
            for metric, key in _METRICS.items()
        }
    )


def _read_first_mean(*summaries: Node) -> float | None:
    means = (summary.at("mean").number_or_none() for summary in summaries)
    return next((mean for mean in means if mean), None)


def _read_first_aggregates(*summaries: Node) -> dict[str, float]:
    return next(
        (aggregates for aggregates in (read_aggregates(summary, _AGGREGATES) for summary in summaries) if aggregates),
        {},
    )


def _build_delay_notes(load_nodes: list[Node]) -> list[str]:
    """Return a note on the delay of the load generator in open-loop stages; empty if there was no
    delay.

    Closed-loop stages are excluded, because their schedule depends on the clients.
    """
    load_summaries = [load_node.at("load_summary") for load_node in load_nodes]
    delays_s = [
        load_summary.at("schedule_delay", "p99").value
        for load_summary in load_summaries
        if load_summary.at("concurrency").value is None
    ]
    max_delay_s = max(
        (delay_s for delay_s in delays_s if isinstance(delay_s, float) and 0 < delay_s < _MAX_PLAUSIBLE_S), default=0.0
    )
    return (
        [f"the load generator sent requests late (p99 schedule delay up to {max_delay_s:.3g} s)"] if max_delay_s else []
    )
