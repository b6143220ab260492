"""Read results of `vllm bench serve --save-result` and `--append-result`, with or without
`--save-detailed`.

Each result is one load point; a file written with `--append-result` contains several JSON objects
in sequence. Aggregates are in milliseconds, per-request lists in seconds.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence

from app.analysis.token_samples import build_sample_from_rows
from app.records.estimate import TokenSample
from app.records.planning_inputs import CurvePrecision, ImportedCurve, MeasuredLoadPoint
from app.storage.foreign.aggregates import (
    FROM_SEND_NOTE,
    UNLIMITED_RATE_NOTE,
    compute_aggregates,
    convert_to_seconds,
    drop_empty,
    find_lowest_precision,
    format_percentile_name,
    require_single_value,
)
from app.storage.foreign.documents import ForeignDocument, build_file_error
from app.storage.foreign.node import Node, check_same_length

TOOL = "vllm bench serve"
_AGGREGATE = re.compile(r"(mean|median|p\d{1,3}(?:\.\d{1,6})?)_(ttft|tpot|itl|e2el|e2el_including_client_queue)_ms")
_GAPS_NOTE = (
    "ITL is the gap between stream chunks, pooled over all requests; TTFT ends at the first chunk, even an empty one"
)
_CONCURRENCY_LIMIT_NOTE = "the rate was limited by max_concurrency, and latency excludes the wait for a free slot"
_QUEUE_NOTE = (
    "if max_concurrency limited the rate, latency includes the wait for a free slot, but vllm's own TTFT does not"
)
_NO_LATENCY_NOTE = (
    "the file has no end-to-end latency; run vllm with --percentile-metrics ttft,tpot,itl,e2el or --save-detailed"
)


def recognizes(document: ForeignDocument) -> bool:
    return bool(document.values) and all(
        isinstance(value, dict) and {"model_id", "num_prompts", "request_throughput", "completed"} <= value.keys()
        for value in document.values
    )


def read(documents: tuple[ForeignDocument, ...]) -> ImportedCurve:
    named_nodes = [(document.name, Node(value, document.name)) for document in documents for value in document.values]
    results = [_build_load_point(name, point) for name, point in named_nodes]
    notes = [note for _, _, point_notes in results for note in point_notes]
    return ImportedCurve(
        tool=TOOL,
        model=require_single_value("model", ((name, point.at("model_id").text()) for name, point in named_nodes)),
        precision=find_lowest_precision([precision for _, precision, _ in results]),
        load_points=tuple(load_point for load_point, _, _ in results),
        notes=tuple(notes),
    )


def _build_load_point(name: str, point: Node) -> tuple[MeasuredLoadPoint, CurvePrecision, list[str]]:
    if point.at("ramp_up_strategy").value is not None:
        raise build_file_error(name, "its rate ramped up, so it is not a single load point")
    rate_per_s, client_count = _read_rate(point.at("request_rate")), point.at("max_concurrency").number_or_none()
    completed_count = point.at("completed").count()
    has_concurrency_limit = rate_per_s is not None and client_count is not None
    latencies_s, precision, has_queue = _build_latencies(name, point, completed_count, has_concurrency_limit)
    burstiness = point.at("burstiness").number_or_none()
    load_point = MeasuredLoadPoint(
        offered_per_s=rate_per_s,
        clients=client_count if rate_per_s is None else None,
        achieved_per_s=point.at("request_throughput").number(),
        duration_s=point.at("duration").number(),
        completed=completed_count,
        failed=_count_failed(point, completed_count),
        latencies_s=latencies_s,
        input_tokens_mean=_compute_tokens_per_request(point.at("total_input_tokens"), completed_count),
        output_tokens_mean=_compute_tokens_per_request(point.at("total_output_tokens"), completed_count),
        gaps="random" if burstiness in (None, 1.0) else "other",
        lengths=_build_token_sample(point),
    )
    notes = [
        FROM_SEND_NOTE if rate_per_s is not None and not has_queue else None,
        _GAPS_NOTE if "itl" in latencies_s or "ttft" in latencies_s else None,
        (_QUEUE_NOTE if has_queue else _CONCURRENCY_LIMIT_NOTE) if has_concurrency_limit else None,
        UNLIMITED_RATE_NOTE if rate_per_s is None and client_count is None else None,
        None if "latency" in latencies_s or not completed_count else _NO_LATENCY_NOTE,
        f"arrivals had gamma-distributed gaps with burstiness {burstiness:g} (1 is Poisson)"
        if burstiness not in (None, 1.0)
        else None,
    ]
    return load_point, precision, [note for note in notes if note is not None]


def _read_rate(node: Node) -> float | None:
    """Return the request rate; `None` for "inf", which means that requests are sent as fast as the
    concurrency limit allows."""
    if node.value in (None, "inf", math.inf):
        return None
    return node.number()


def _count_failed(point: Node, completed_count: int) -> int | None:
    """Return the number of failed requests. Older versions report only successful requests."""
    failed_count = point.at("failed").count_or_none()
    prompt_count = point.at("num_prompts").count_or_none()
    return max(0, prompt_count - completed_count) if failed_count is None and prompt_count is not None else failed_count


def _compute_tokens_per_request(total_node: Node, completed_count: int) -> float | None:
    token_count = total_node.number_or_none()
    return token_count / completed_count if token_count and completed_count else None


def _build_token_sample(point: Node) -> TokenSample | None:
    """Return the token counts of successful requests; `None` without --save-detailed. Failed
    requests are excluded because they have no output tokens."""
    input_lengths, output_lengths = (
        point.at(key).numbers() if isinstance(point.at(key).value, list) else []
        for key in ("input_lens", "output_lens")
    )
    pairs = [pair for pair in zip(input_lengths, output_lengths, strict=False) if min(pair) > 0]
    return (
        build_sample_from_rows(*zip(*pairs, strict=True))
        if pairs and len(input_lengths) == len(output_lengths)
        else None
    )


def _build_latencies(
    name: str, point: Node, completed_count: int, has_concurrency_limit: bool
) -> tuple[dict[str, dict[str, float]], CurvePrecision, bool]:
    """Return the latencies, their precision, and whether the latencies include queueing in the
    client."""
    aggregates, has_queue = _read_metric_aggregates(point, has_concurrency_limit)
    if not completed_count:
        return {}, "aggregates", False
    request_latencies = _compute_latencies_from_requests(name, point, completed_count, has_concurrency_limit)
    if request_latencies is None:
        return aggregates, "aggregates", has_queue
    latencies_s, has_queue = request_latencies
    # Without --save-detailed, only the latency lists are stored; all other metrics are taken from
    # the aggregates.
    precision: CurvePrecision = "requests" if aggregates.keys() <= latencies_s.keys() else "aggregates"
    return aggregates | latencies_s, precision, has_queue


def _read_metric_aggregates(point: Node, has_concurrency_limit: bool) -> tuple[dict[str, dict[str, float]], bool]:
    aggregates_by_metric: dict[str, dict[str, float]] = {}
    for key in point.table():
        if match := _AGGREGATE.fullmatch(key):
            aggregate, metric = match.groups()
            aggregate_name = {"mean": "mean", "median": "p50"}.get(aggregate) or format_percentile_name(
                float(aggregate[1:])
            )
            aggregates_by_metric.setdefault(metric, {})[aggregate_name] = point.at(key).number()
    latencies_with_queue_ms, latencies_from_send_ms = (
        aggregates_by_metric.pop("e2el_including_client_queue", {}),
        aggregates_by_metric.pop("e2el", {}),
    )
    has_queue = has_concurrency_limit and bool(latencies_with_queue_ms)
    aggregates_by_metric_s = {
        metric: convert_to_seconds(aggregates, 1e-3) for metric, aggregates in aggregates_by_metric.items()
    }
    return drop_empty(
        {
            "latency": convert_to_seconds(latencies_with_queue_ms if has_queue else latencies_from_send_ms, 1e-3),
            **aggregates_by_metric_s,
        }
    ), has_queue


def _compute_latencies_from_requests(
    name: str, point: Node, completed_count: int, has_concurrency_limit: bool
) -> tuple[dict[str, dict[str, float]], bool] | None:
    """Compute latencies from the per-request lists.

    Return `None` if the file has no such lists, or if it is unclear which requests succeeded.
    """
    ttfts_s, latencies_s, queue_times_s = (point.at(key).numbers() for key in ("ttfts", "latencies", "queue_times"))
    itls_s = [node.numbers() for node in point.at("itls").items()]
    output_lengths = point.at("output_lens").numbers() if isinstance(point.at("output_lens").value, list) else []
    if not latencies_s and ttfts_s and itls_s:
        check_same_length(name, {"ttfts": ttfts_s, "itls": itls_s})
        latencies_s = [ttft_s + sum(gaps_s) for ttft_s, gaps_s in zip(ttfts_s, itls_s, strict=True)]
    if not latencies_s:
        return None
    lists: dict[str, Sequence[object]] = {
        "latencies": latencies_s,
        "ttfts": ttfts_s,
        "itls": itls_s,
        "output_lens": output_lengths,
        "queue_times": queue_times_s,
    }
    check_same_length(name, {key: values for key, values in lists.items() if values})
    successful_indices = _find_successful_indices(point, latencies_s, completed_count)
    if successful_indices is None:
        return None
    has_queue = has_concurrency_limit and bool(queue_times_s)
    delays_s = queue_times_s if has_queue else [0.0] * len(latencies_s)
    tpots_s = [
        (latencies_s[i] - ttfts_s[i]) / (output_lengths[i] - 1)
        for i in successful_indices
        if ttfts_s and output_lengths and output_lengths[i] > 1 and latencies_s[i] >= ttfts_s[i] > 0
    ]
    latencies_by_metric = {
        "latency": compute_aggregates(latencies_s[i] + delays_s[i] for i in successful_indices),
        "ttft": compute_aggregates(ttfts_s[i] + delays_s[i] for i in successful_indices) if any(ttfts_s) else {},
        "tpot": compute_aggregates(tpots_s),
        "itl": compute_aggregates(gap_s for i in successful_indices if itls_s for gap_s in itls_s[i]),
    }
    return drop_empty(latencies_by_metric), has_queue


def _find_successful_indices(point: Node, latencies: list[float], completed_count: int) -> list[int] | None:
    """Return the indices of successful requests: requests without an error or, if the file has no
    errors, requests with a latency."""
    errors = [node.value for node in point.at("errors").items()]
    error_free_indices = [i for i, error in enumerate(errors) if error in ("", None)]
    indices_with_latency = [i for i, latency in enumerate(latencies) if latency > 0]
    candidates = [error_free_indices, indices_with_latency] if len(errors) == len(latencies) else [indices_with_latency]
    return next((indices for indices in candidates if len(indices) == completed_count), None)
