"""Break the latency of requests down into the parts in which the time was spent.

The client's parts follow from the times of each request. The server's parts come from what the
server reports with each response, or else from the means of its counters."""

from __future__ import annotations

import math
from typing import Literal, NamedTuple

import numpy as np
import pandas as pd

from app.analysis.columns import Floats, Ints
from app.analysis.rows import StageRows, TokenRows
from app.records.breakdown import SERVER_PARTS, Evidence, LatencyBreakdown, LatencyPart
from app.records.server_counters import LatencyComparison, ServerLatencyKind

_Aggregate = Literal["mean", "p50", "p95", "p99", "request"]
_BANDS: tuple[tuple[_Aggregate, float, float], ...] = (("p50", 0.45, 0.55), ("p95", 0.94, 0.96), ("p99", 0.985, 0.995))
"""Ranks of the requests around each percentile, as shares of all requests."""
_MIN_STALL_RATIO = 3.0
_MIN_STALL_MS = 1.0
"""A gap between chunks is a stall if it exceeds the response's median gap by this factor and by this
time. Chunks that were read together have no gap."""
_MIN_GAPS = 3
_MAX_CHUNKS = 1_000_000
"""Maximum number of chunks to examine. Of longer stages, every k-th request is examined."""


class _RequestParts(NamedTuple):
    """Parts of each request in ms; NaN where unknown."""

    latency_ms: Floats
    ttft_ms: Floats
    parts_ms: dict[LatencyPart, Floats]


def break_down_latency(
    rows: StageRows,
    all_rows: StageRows,
    comparisons: tuple[LatencyComparison, ...],
    round_trip_ms: float | None = None,
) -> tuple[LatencyBreakdown, ...]:
    """Break down the mean latency of the successful requests, and the latency around p50, p95 and
    p99.

    `rows` contains the requests of the stage, and `all_rows` those of its lead-in too. If the
    server's parts are known only as means from its counters (`comparisons`), the breakdown of the
    mean covers `all_rows`, as the counters do, and the server's parts of percentiles are unknown.

    The network part is the lowest round-trip time of the connections, which every request takes at
    least. Delays above it are in the unknown part. If some responses have tokens, the breakdown
    covers these only, because the others have no first token.
    """
    success_rows = _sample(_select_explained(rows))
    if not success_rows.sent_ns.size:
        return ()
    requests = _compute_parts(success_rows, round_trip_ms)
    has_request_evidence = any(
        not np.isnan(values).all() for part, values in requests.parts_ms.items() if part in SERVER_PARTS
    )
    stage_parts_ms = {} if has_request_evidence else _derive_server_parts_ms(comparisons)
    evidence: Evidence | None = "requests" if has_request_evidence else "stage" if stage_parts_ms else None
    mean_requests = _compute_parts(_sample(_select_explained(all_rows)), round_trip_ms) if stage_parts_ms else requests
    breakdowns = [_build_breakdown("mean", mean_requests, slice(None), stage_parts_ms, evidence)]
    order = np.argsort(requests.latency_ms, kind="stable")
    for aggregate, low, high in _BANDS:
        first = min(math.floor(low * order.size + 1e-9), order.size - 1)
        band = order[first : max(first + 1, math.ceil(high * order.size - 1e-9))]
        breakdowns.append(_build_breakdown(aggregate, requests, band, {}, "requests" if has_request_evidence else None))
    return tuple(breakdowns)


def break_down_request(rows: StageRows, number: int, round_trip_ms: float | None = None) -> LatencyBreakdown:
    """Break down the latency of one request. `number` is its position in the rows. The request must
    have been successful."""
    is_selected = np.arange(rows.sent_ns.size) == number
    requests = _compute_parts(rows.filter(is_selected), round_trip_ms)
    has_evidence = any(not np.isnan(values).all() for part, values in requests.parts_ms.items() if part in SERVER_PARTS)
    return _build_breakdown("request", requests, slice(None), {}, "requests" if has_evidence else None)


def find_slowest_requests(rows: StageRows, count: int) -> list[int]:
    """Return the positions of the successful requests with the highest latency, slowest first."""
    positions = np.flatnonzero(rows.is_success)
    start_ns = np.where(rows.has_scheduled_start, rows.scheduled_ns, rows.sent_ns)
    order = np.argsort(-(rows.end_ns - start_ns)[positions], kind="stable")
    return [int(position) for position in positions[order[:count]]]


def _select_explained(rows: StageRows) -> StageRows:
    """Return the rows of the successful requests, without responses that have no token if others
    have one."""
    success_rows = rows.filter(rows.is_success)
    if success_rows.tokens is None:
        return success_rows
    has_token = success_rows.tokens.first_token_ns > 0
    return success_rows.filter(has_token) if has_token.any() else success_rows


def _sample(rows: StageRows) -> StageRows:
    """Return every k-th row, so that the rows have at most `_MAX_CHUNKS` chunks."""
    tokens = rows.tokens
    chunk_count = 0 if tokens is None or tokens.chunks is None else int(tokens.chunks.counts[tokens.chunk_index].sum())
    step = math.ceil(chunk_count / _MAX_CHUNKS)
    return rows if step <= 1 else rows.filter(np.arange(rows.sent_ns.size) % step == 0)


def _compute_parts(rows: StageRows, round_trip_ms: float | None) -> _RequestParts:
    """Split the latency of each request into parts, in ms. A part is NaN for the requests for which it is unknown.
    Latency starts at the scheduled start, or at the send if there is none."""
    count, tokens = rows.sent_ns.size, rows.tokens
    unknown = np.full(count, np.nan)
    complete_ns = rows.end_ns if tokens is None else np.maximum(tokens.complete_ns, rows.end_ns)
    start_ns = np.where(rows.has_scheduled_start, rows.scheduled_ns, rows.sent_ns)
    is_wait_known = not np.isnan(rows.connection_wait_ms).all()
    wait_ms = np.nan_to_num(rows.connection_wait_ms)
    parts_ms: dict[LatencyPart, Floats] = {"send_delay": (rows.sent_ns - start_ns) / 1e6 - wait_ms}
    if is_wait_known:
        parts_ms["connection"] = wait_ms
    if round_trip_ms is not None:
        parts_ms["network"] = np.full(count, round_trip_ms)
    if tokens is None:
        parts_ms |= {"queue": unknown, "processing": unknown}
        return _RequestParts((complete_ns - start_ns) / 1e6, unknown, parts_ms)
    has_token = tokens.first_token_ns > 0
    stalls_ms = _compute_stalls_ms(tokens)
    parts_ms |= {
        "queue": tokens.server_queue_ms,
        "prefill": tokens.server_prefill_ms,
        "decode": np.where(
            has_token, (tokens.last_token_ns - tokens.first_token_ns) / 1e6 - np.nan_to_num(stalls_ms), np.nan
        ),
        "stalls": stalls_ms,
        "tail": np.where(has_token, (complete_ns - tokens.last_token_ns) / 1e6, np.nan),
    }
    ttft_ms = np.where(has_token, (tokens.first_token_ns - start_ns) / 1e6, np.nan)
    return _RequestParts((complete_ns - start_ns) / 1e6, ttft_ms, parts_ms)


def _compute_stalls_ms(tokens: TokenRows) -> Floats:
    """Return the total excess of the stalls of each response over its median gap; NaN for responses
    with too few gaps."""
    count = tokens.chunk_index.size
    if tokens.chunks is None:
        return np.full(count, np.nan)
    starts, ends = tokens.chunks.offsets[tokens.chunk_index], tokens.chunks.offsets[tokens.chunk_index + 1]
    lengths = ends - starts
    row_of_chunk = np.repeat(np.arange(count), lengths)
    chunk_indices = np.arange(lengths.sum()) + np.repeat(
        starts - np.concatenate(([0], np.cumsum(lengths)[:-1])), lengths
    )
    times_ns = tokens.chunks.times_ns[chunk_indices]
    is_gap = row_of_chunk[1:] == row_of_chunk[:-1]
    gaps = pd.DataFrame({"row": row_of_chunk[1:][is_gap], "gap_ms": np.diff(times_ns)[is_gap] / 1e6})
    # chunks that were read together have no gap, and say nothing about the usual time between them
    median_ms = gaps["gap_ms"].where(gaps["gap_ms"] > 0).groupby(gaps["row"]).transform("median")
    excess_ms = gaps["gap_ms"] - median_ms
    is_stall = (gaps["gap_ms"] > _MIN_STALL_RATIO * median_ms) & (excess_ms > _MIN_STALL_MS)
    stalls_ms = excess_ms.where(is_stall, 0.0).groupby(gaps["row"]).sum().reindex(range(count), fill_value=np.nan)
    return np.where(lengths > _MIN_GAPS, stalls_ms.to_numpy(dtype=np.float64), np.nan)


def _derive_server_parts_ms(comparisons: tuple[LatencyComparison, ...]) -> dict[LatencyPart, float]:
    """Derive the mean server parts from the mean latencies of a server's counters. What a server
    does not report itself is a difference of two latencies that it reports. A latency that contains
    an unknown queue time is no part."""
    means_ms: dict[ServerLatencyKind, float] = {comparison.kind: comparison.server_ms for comparison in comparisons}
    queue_ms, ttft_ms, e2e_ms = means_ms.get("queue"), means_ms.get("ttft"), means_ms.get("e2e")
    parts_ms: dict[LatencyPart, float] = {}
    if queue_ms is not None:
        parts_ms["queue"] = queue_ms
    if "prefill" in means_ms:
        parts_ms["prefill"] = means_ms["prefill"]
    elif ttft_ms is not None and queue_ms is not None:
        parts_ms["prefill"] = ttft_ms - queue_ms
    if ttft_ms is None and "prefill" not in means_ms and e2e_ms is not None and queue_ms is not None:
        parts_ms["processing"] = e2e_ms - queue_ms
    return parts_ms


def _build_breakdown(
    aggregate: _Aggregate,
    requests: _RequestParts,
    selection: slice | Ints,
    stage_parts_ms: dict[LatencyPart, float],
    evidence: Evidence | None,
) -> LatencyBreakdown:
    def compute_mean(values: Floats) -> float | None:
        selected = values[selection]
        return None if np.isnan(selected).any() else float(selected.mean())

    def compute_stalls(stalls_ms: Floats) -> float | None:
        """Return the mean of the stalls. Those of responses with too few gaps are in their decode
        part; they are unknown if all responses have too few gaps."""
        selected = stalls_ms[selection]
        return None if np.isnan(selected).all() else float(np.nan_to_num(selected).mean())

    parts_ms = {part: compute_mean(values) for part, values in requests.parts_ms.items()}
    if "stalls" in parts_ms:
        parts_ms["stalls"] = compute_stalls(requests.parts_ms["stalls"])
    parts_ms |= stage_parts_ms
    latency_ms = float(requests.latency_ms[selection].mean())
    return LatencyBreakdown(
        aggregate=aggregate,
        requests=requests.latency_ms[selection].size,
        latency_ms=latency_ms,
        ttft_ms=compute_mean(requests.ttft_ms),
        parts_ms=parts_ms,
        unknown_ms=latency_ms - sum(part_ms for part_ms in parts_ms.values() if part_ms is not None),
        evidence=evidence,
    )
