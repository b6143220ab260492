"""Compute what a target's servers counted during a stage, and compare it with what the client
measured."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence

import numpy as np

from app.analysis.counter_readings import find_reading_break
from app.analysis.rows import StageRows
from app.analysis.validity import check_upper_limit, compute_cache_increases
from app.records.llm_servers import LatencySeries, iterate_latency_series, list_series
from app.records.result import Check
from app.records.server_counters import (
    LATENCY_NAMES,
    CountersRefusal,
    LatencyComparison,
    LatencyHistogram,
    ServerCounters,
    ServerLatencyKind,
)
from app.records.telemetry import Samples

_MAX_OTHER_SHARE = 0.01
_MAX_LAG_SHARE, _MIN_LAG = 0.1, 2
"""Share and number of answered requests that a server's counters may lack, because they lag behind
its responses. The larger of the two is tolerated."""
_KINDS_OF_REQUESTS: tuple[ServerLatencyKind, ...] = ("ttft", "queue", "prefill", "e2e")
"""Latencies that have one value per request."""


def compute_server_counters(
    samples_before: Sequence[Samples | None], samples_after: Sequence[Samples | None]
) -> ServerCounters | None:
    """Compute the increase of the counters between two readings, summed over the servers of the
    target.

    Each sequence contains one reading per server, in the same order. Return None unless every
    server was read both times, or if no known counter increased. A counter that decreased is
    unknown. If two readings are not of the same process, the result contains only the reason."""
    readings = [
        (before, after)
        for before, after in zip(samples_before, samples_after, strict=False)
        if before is not None and after is not None
    ]
    if not readings or len(readings) != len(samples_before) or len(readings) != len(samples_after):
        return None
    breaks = [refusal for reading in readings if (refusal := find_reading_break(*reading)) is not None]
    if breaks:
        return ServerCounters(refusal=breaks[0]) if _has_known_counter(samples_after) else None
    pairs = [(before.totals, after.totals) for before, after in readings]

    def compute_increase(names: Sequence[str]) -> int | None:
        increases = [_find_increase(*pair, names) for pair in pairs]
        known_increases = [increase for increase in increases if increase is not None]
        return round(sum(known_increases)) if len(known_increases) == len(increases) else None

    latencies: dict[ServerLatencyKind, LatencyHistogram] = {}
    for kind in LATENCY_NAMES:
        histogram = _find_histogram(samples_before, samples_after, iterate_latency_series(kind))
        if histogram is not None:
            latencies[kind] = histogram
    cache_increases = [compute_cache_increases(*pair) for pair in zip(samples_before, samples_after, strict=True)]
    has_cache_counters = None not in cache_increases
    cached, looked_up = np.sum([increases or (0.0, 0.0) for increases in cache_increases], axis=0)
    counters = ServerCounters(
        requests=compute_increase(list_series("requests")),
        input_tokens=compute_increase(list_series("input_tokens")),
        cached_input_tokens=round(cached) if has_cache_counters else None,
        looked_up_input_tokens=round(looked_up) if has_cache_counters else None,
        output_tokens=compute_increase(list_series("output_tokens")),
        preemptions=compute_increase(list_series("preemptions")),
        latencies=latencies,
    )
    counts = (counters.requests, counters.input_tokens, counters.looked_up_input_tokens, counters.output_tokens)
    return counters if any(counts) or latencies else None


def _has_known_counter(samples: Sequence[Samples | None]) -> bool:
    """Return whether a server exposes any of the counters that are compared with the client."""
    names = {
        *list_series("requests"), *list_series("input_tokens"), *list_series("output_tokens"),
        *list_series("preemptions"),
        *(series.number for kind in LATENCY_NAMES for series in iterate_latency_series(kind)),
    }  # fmt: skip
    return any(reading is not None and not names.isdisjoint(reading.totals) for reading in samples)


def _find_increase(before: dict[str, float], after: dict[str, float], names: Sequence[str]) -> float | None:
    """Return the increase of the first of the counters that the server exposes; None if there is
    none, or if it decreased. A labeled counter is not exposed before its first event, so a missing
    earlier value counts as 0."""
    for name in names:
        if name in after:
            increase = after[name] - before.get(name, 0.0)
            return increase if math.isfinite(increase) and increase >= 0 else None
    return None


def _find_histogram(
    samples_before: Sequence[Samples | None], samples_after: Sequence[Samples | None], series: Iterable[LatencySeries]
) -> LatencyHistogram | None:
    """Return the first of the histograms that received values on every server."""
    for names in series:
        total = count = 0.0
        buckets: dict[float, float] = {}
        is_known = True
        for before, after in zip(samples_before, samples_after, strict=True):
            assert before is not None
            assert after is not None
            total_increase = _find_increase(before.totals, after.totals, (names.total,))
            count_increase = _find_increase(before.totals, after.totals, (names.number,))
            if total_increase is None or count_increase is None:
                is_known = False
                break
            total, count = total + total_increase, count + count_increase
            earlier_buckets = before.buckets.get(names.buckets, {})
            for bound, cumulative_count in after.buckets.get(names.buckets, {}).items():
                increase = cumulative_count - earlier_buckets.get(bound, 0.0)
                buckets[bound] = buckets.get(bound, 0.0) + increase
        if is_known and round(count) > 0:
            bounds = sorted(bound for bound in buckets if math.isfinite(bound))
            increases = np.diff([0.0, *(buckets[bound] for bound in bounds)])
            has_buckets = bool(np.all(increases >= 0))
            return LatencyHistogram(
                count=round(count),
                mean_ms=total / count * names.unit_ms,
                upper_bounds_ms=tuple(bound * names.unit_ms for bound in bounds) if has_buckets else (),
                bucket_counts=tuple(round(increase) for increase in increases) if has_buckets else (),
            )
    return None


def compute_quantile_bounds_ms(histogram: LatencyHistogram, share: float) -> tuple[float, float | None] | None:
    """Return the bounds of the bucket that contains the quantile `share` (0 to 1) of a histogram,
    in ms; None as the upper bound if the quantile is above the last bound. Return None without
    buckets."""
    if not histogram.bucket_counts:
        return None
    rank, cumulative_count, lower_ms = max(1, math.ceil(share * histogram.count)), 0, 0.0
    for bound_ms, count in zip(histogram.upper_bounds_ms, histogram.bucket_counts, strict=True):
        cumulative_count += count
        if cumulative_count >= rank:
            return lower_ms, bound_ms
        lower_ms = bound_ms
    return lower_ms, None


def compare_latencies(rows: StageRows, counters: ServerCounters) -> tuple[LatencyComparison, ...]:
    """Compare the server's mean latencies with the client's, from the send of each request. `rows`
    contains all requests of the stage, as a server counts those of the lead-in and drain too."""
    client_means = dict(_iterate_client_means(rows.filter(rows.is_success)))
    comparisons = []
    for kind, histogram in counters.latencies.items():
        client_ms, client_count = client_means.get(kind, (None, None))
        p95_ms = compute_quantile_bounds_ms(histogram, 0.95)
        comparisons.append(LatencyComparison(kind, histogram.mean_ms, histogram.count, client_ms, client_count, p95_ms))
    return tuple(comparisons)


def _iterate_client_means(rows: StageRows) -> Iterator[tuple[ServerLatencyKind, tuple[float, int]]]:
    """Yield the mean in ms and the number of values of each latency that the client can measure."""
    tokens = rows.tokens
    if rows.sent_ns.size:
        yield "e2e", (float(np.mean(rows.end_ns - rows.sent_ns)) / 1e6, rows.sent_ns.size)
    if tokens is None or not (has_token := tokens.first_token_ns > 0).any():
        return
    yield "ttft", (float(np.mean((tokens.first_token_ns - rows.sent_ns)[has_token])) / 1e6, int(has_token.sum()))
    has_gaps = has_token & (np.nan_to_num(tokens.tokens_out) > 1)
    if has_gaps.any():
        gap_count = float((tokens.tokens_out[has_gaps] - 1).sum())
        total_ns = int((tokens.last_token_ns - tokens.first_token_ns)[has_gaps].sum())
        yield "itl", (total_ns / gap_count / 1e6, round(gap_count))


def refuse_by_counts(counters: ServerCounters, sent_count: int, answered_count: int) -> ServerCounters:
    """Return the counters with their number of requests only, and the reason, if that number cannot
    be that of the stage; otherwise unchanged.

    The stage sent `sent_count` requests, and the client received responses to `answered_count` of
    them. A server's counters may lag a little behind its responses."""
    numbers = [counters.requests] if counters.requests is not None else []
    numbers = numbers or [latency.count for kind, latency in counters.latencies.items() if kind in _KINDS_OF_REQUESTS]
    if not numbers:
        return counters
    refusal: CountersRefusal | None = None
    if _compute_other_share(max(numbers), sent_count) > _MAX_OTHER_SHARE:
        refusal = "more_than_sent"
    elif max(numbers) < answered_count - max(_MIN_LAG, _MAX_LAG_SHARE * answered_count):
        refusal = "fewer_than_answered"
    return counters if refusal is None else ServerCounters(requests=counters.requests, refusal=refusal)


def _compute_other_share(counted: int, sent_count: int) -> float:
    """Return the share of the counted requests that the run did not send."""
    return max(0, counted - sent_count) / counted if counted else 0.0


def check_other_clients(sent_count: int, counters: ServerCounters) -> Check | None:
    """Check that the target's servers completed no more requests than the run sent. Return None if
    the servers do not count requests."""
    if not counters.requests:
        return None
    return check_upper_limit(
        "other_clients",
        _compute_other_share(counters.requests, sent_count),
        unit="share",
        warn=_MAX_OTHER_SHARE,
        hint=f"The server counted {counters.requests:,} requests, but the run sent {sent_count:,}. Other clients "
        "used the server at the same time, so its latency is not that of this load alone, or a load balancer answered "
        "with the counters of another replica. Measure one replica without other clients.",
    )
