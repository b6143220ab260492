"""Token metrics of a stage: time to first token, time between tokens, token counts and token
rates."""

from __future__ import annotations

import numpy as np

from app.analysis.columns import Floats, Mask
from app.analysis.estimates import (
    BATCH_COUNT,
    compute_distribution,
    count_batches,
    estimate_proportion,
    estimate_rate,
    estimate_rate_of_amounts,
)
from app.analysis.rows import Chunks, StageRows, TokenRows
from app.analysis.spans import NO_SCHEDULED_START, compute_durations_ms
from app.analysis.token_samples import build_sample_from_rows
from app.records.estimate import TokenSample
from app.records.metrics import DISTRIBUTION_AGGREGATES
from app.records.result import Estimate, TokenTotals

Metrics = dict[str, dict[str, Estimate]]

_TOKEN_DURATION_METRICS = ("ttft_ms", "ttft_service_ms", "ttfo_ms", "tpot_ms")
_NOT_REPORTED = (
    "the server does not report the number of tokens per chunk; see inter-chunk latency (ICL), or set "
    "workload.extra_body.stream_options.continuous_usage_stats to true if the server supports it, as vLLM does"
)


def compute_token_metrics(rows: StageRows, bounds_ns: tuple[int, int], all_rows: StageRows) -> Metrics:
    """Compute the token metrics of successful responses; metrics without data are omitted.

    `rows` contains the rows of the stage. `all_rows` also contains the rows before and after the
    stage: their tokens count for the token rate if the tokens arrived within `bounds_ns`."""
    success_rows = rows.filter(rows.is_success)
    tokens = success_rows.tokens
    if tokens is None:
        return {}
    if tokens.has_messages:
        return _build_message_metrics(success_rows, tokens, all_rows, bounds_ns)
    metrics: Metrics = {}
    if np.any(tokens.first_token_ns > 0):
        metrics |= _build_duration_metrics(success_rows)
    if tokens.chunks is not None:
        metrics |= _build_chunk_metrics(tokens, tokens.chunks)
    for name, counts in (
        ("output_tokens", tokens.tokens_out),
        ("input_tokens", tokens.tokens_in),
        ("reasoning_tokens", tokens.tokens_reasoning),
    ):
        if not np.isnan(counts).all():
            metrics[name] = compute_distribution(counts)
    is_cached_known = ~np.isnan(tokens.tokens_cached) & ~np.isnan(tokens.tokens_in)
    if (input_count := int(tokens.tokens_in[is_cached_known].sum())) > 0:
        cached_count = min(int(tokens.tokens_cached[is_cached_known].sum()), input_count)
        metrics["cached_input_share"] = {"value": Estimate(cached_count / input_count, n=int(is_cached_known.sum()))}
    if "output_tokens" in metrics:
        metrics |= _build_normalized_metrics(success_rows, tokens)
        output_rate = estimate_output_rate(all_rows.filter(all_rows.is_success), bounds_ns)
        assert output_rate is not None
        metrics["output_tokens_per_s"] = {"value": output_rate}
    return metrics


def _build_message_metrics(
    success_rows: StageRows, tokens: TokenRows, all_rows: StageRows, bounds_ns: tuple[int, int]
) -> Metrics:
    """Compute the metrics of streams of messages. As with tokens, the rate counts the messages that
    arrived within `bounds_ns`."""
    assert tokens.chunks is not None
    first_ms = compute_durations_ms(success_rows, "first_message_ms")
    metrics = {
        "first_message_ms": withhold_distribution(NO_SCHEDULED_START)
        if first_ms is None
        else compute_distribution(first_ms),
        "response_messages": compute_distribution(tokens.chunks.counts[tokens.chunk_index].astype(np.float64)),
    }
    if (gaps_ms := _compute_gaps_ms(tokens, tokens.chunks)).size:
        metrics["message_gap_ms"] = compute_distribution(gaps_ms)
    all_tokens = all_rows.filter(all_rows.is_success).tokens
    assert all_tokens is not None
    assert all_tokens.chunks is not None
    is_counted = np.repeat(_select_chunk_rows(all_tokens, all_tokens.chunks), all_tokens.chunks.counts)
    metrics["messages_per_s"] = {"value": estimate_rate(np.sort(all_tokens.chunks.times_ns[is_counted]), bounds_ns)}
    return metrics


def _select_chunk_rows(tokens: TokenRows, chunks: Chunks) -> Mask:
    """Return a mask over the responses of `chunks`, which is true for those of the selected rows."""
    is_selected = np.zeros(chunks.counts.size, dtype=bool)
    is_selected[tokens.chunk_index] = True
    return is_selected


def _compute_gaps_ms(tokens: TokenRows, chunks: Chunks) -> Floats:
    is_follower = _find_followers(chunks, _select_chunk_rows(tokens, chunks))
    gaps_ms: Floats = np.diff(chunks.times_ns)[is_follower] / 1e6
    return gaps_ms


def _build_normalized_metrics(success_rows: StageRows, tokens: TokenRows) -> Metrics:
    """Compute the latency per output token and the output throughput per user, once per response."""
    metrics: Metrics = {}
    latency_ms = compute_durations_ms(success_rows, "latency_ms")
    has_tokens = np.nan_to_num(tokens.tokens_out) > 0
    if latency_ms is None:
        metrics["latency_per_token_ms"] = withhold_distribution(NO_SCHEDULED_START)
    elif has_tokens.any():
        metrics["latency_per_token_ms"] = compute_distribution(latency_ms[has_tokens] / tokens.tokens_out[has_tokens])
    tpot_ms = compute_durations_ms(success_rows, "tpot_ms")
    if tpot_ms is not None and (is_spread := np.nan_to_num(tpot_ms) > 0).any():
        metrics["user_tokens_per_s"] = compute_distribution(1e3 / tpot_ms[is_spread])
    return metrics


def estimate_token_goodput(
    good_rows: StageRows, bounds_ns: tuple[int, int], *, is_closed_loop: bool
) -> Estimate | None:
    """Estimate the output tokens per second of the responses within all limits of the SLO; `None` if
    no response has a token count. In an open loop, all tokens count at the scheduled start of their
    request. In a closed loop, they count as in the output throughput."""
    tokens = good_rows.tokens
    if tokens is None or (tokens.tokens_out.size and np.isnan(tokens.tokens_out).all()):
        return None
    if is_closed_loop:
        return _estimate_spread_rate(good_rows, tokens, bounds_ns)
    edges_ns = np.linspace(*bounds_ns, BATCH_COUNT + 1)
    counts, _ = np.histogram(good_rows.scheduled_ns, edges_ns, weights=np.nan_to_num(tokens.tokens_out))
    return estimate_rate_of_amounts(counts, (bounds_ns[1] - bounds_ns[0]) / 1e9)


def sample_tokens(rows: StageRows) -> TokenSample | None:
    """Sample the input and output lengths of successful requests; `None` if the server does not
    report both."""
    tokens = rows.filter(rows.is_success).tokens
    return None if tokens is None else build_sample_from_rows(tokens.tokens_in, tokens.tokens_out)


def count_tokens(rows: StageRows) -> TokenTotals | None:
    """Count the tokens of successful requests; `None` if the responses have no tokens."""
    tokens = rows.filter(rows.is_success).tokens
    if tokens is None:
        return None
    totals = (
        None if np.isnan(counts).all() else int(np.nansum(counts))
        for counts in (tokens.tokens_in, tokens.tokens_cached, tokens.tokens_out)
    )
    input_count, cached_count, output_count = totals
    return TokenTotals(tokens.tokens_out.size, input_count, cached_count, output_count)


def count_token_batches(success_rows: StageRows) -> int:
    """Return the number of batches of responses that count as independent, given how long a request
    of a language model stays."""
    if success_rows.tokens is None or not success_rows.sent_ns.size:
        return BATCH_COUNT
    duration_s = float(success_rows.sent_ns.max() - success_rows.sent_ns.min()) / 1e9
    return count_batches(duration_s, float(np.mean(success_rows.end_ns - success_rows.sent_ns)) / 1e9)


def _build_duration_metrics(success_rows: StageRows) -> Metrics:
    metrics: Metrics = {}
    batch_count = count_token_batches(success_rows)
    for name in _TOKEN_DURATION_METRICS:
        values_ms = compute_durations_ms(success_rows, name)
        metrics[name] = (
            withhold_distribution(NO_SCHEDULED_START)
            if values_ms is None
            else compute_distribution(values_ms, batch_count)
        )
    if success_rows.tokens is not None and np.isnan(success_rows.tokens.tokens_out).all():
        metrics["tpot_ms"] = withhold_distribution("the server does not report token counts")
    return metrics


def withhold_distribution(reason: str) -> dict[str, Estimate]:
    """Build a distribution whose aggregates are all withheld, with the given reason."""
    return dict.fromkeys(DISTRIBUTION_AGGREGATES, Estimate(None, reason=reason))


def _build_chunk_metrics(tokens: TokenRows, chunks: Chunks) -> Metrics:
    """Compute the metrics of gaps between chunks, pooled over all responses. The responses are in
    order of their ends, so that batch means reflect autocorrelation."""
    is_follower = _find_followers(chunks, _select_chunk_rows(tokens, chunks))
    gaps_ms: Floats = np.diff(chunks.times_ns)[is_follower] / 1e6
    if not gaps_ms.size:
        return {}
    gap_distribution = compute_distribution(gaps_ms)
    coalesced_count = int(np.count_nonzero(gaps_ms == 0))
    return {
        "icl_ms": gap_distribution,
        "itl_ms": _compute_token_gap_distribution(tokens, chunks, is_follower, gaps_ms) or gap_distribution,
        "coalesced_share": {"value": estimate_proportion(coalesced_count, gaps_ms.size)},
    }


def compute_coalesced_share(rows: StageRows) -> float | None:
    """Compute the proportion of chunks that were read together with the previous chunk of the same
    response. Only successful responses count; `None` without chunks of tokens."""
    tokens = rows.filter(rows.is_success).tokens
    if tokens is None or tokens.chunks is None or tokens.has_messages:
        return None
    is_follower = _find_followers(tokens.chunks, _select_chunk_rows(tokens, tokens.chunks))
    follower_count = int(np.count_nonzero(is_follower))
    return (
        int(np.count_nonzero((np.diff(tokens.chunks.times_ns) == 0) & is_follower)) / follower_count
        if follower_count
        else None
    )


def _find_followers(chunks: Chunks, is_selected: Mask) -> Mask:
    """Return a mask over all chunks except the first. The mask is true for chunks of selected rows
    that follow another chunk of the same row."""
    is_follower: Mask = np.ones(max(0, chunks.times_ns.size - 1), dtype=bool)
    first_indices = chunks.offsets[1:-1]
    is_follower[first_indices[(first_indices > 0) & (first_indices < chunks.times_ns.size)] - 1] = False
    if not is_selected.all():
        is_follower &= np.repeat(is_selected, chunks.counts)[1:]
    return is_follower


def _compute_token_gap_distribution(
    tokens: TokenRows, chunks: Chunks, is_follower: Mask, gaps_ms: Floats
) -> dict[str, Estimate] | None:
    """Compute the distribution of gaps between tokens: the gap before a chunk of k tokens counts as
    k gaps of 1/k of its length. Return `None` if every chunk holds one token."""
    is_reported = ~np.isnan(chunks.sum_tokens()[tokens.chunk_index])
    counts = chunks.counts[tokens.chunk_index]
    has_one_token_per_chunk = ~tokens.is_counted_by_chunks & (tokens.tokens_out == counts)
    if np.any(~is_reported & ~has_one_token_per_chunk & (counts > 1)):
        return withhold_distribution(_NOT_REPORTED)
    if chunks.tokens is None or not is_reported.any():
        return None
    tokens_per_chunk = np.where(chunks.tokens > 0, chunks.tokens, 1)[1:][is_follower]
    return (
        None
        if np.all(tokens_per_chunk == 1)
        else compute_distribution(np.repeat(gaps_ms / tokens_per_chunk, tokens_per_chunk))
    )


def estimate_output_rate(responses: StageRows, bounds_ns: tuple[int, int]) -> Estimate | None:
    """Estimate the output tokens per second within the window; `None` if no response has a token
    count. The tokens of a response are assumed to be evenly spaced between its first and last
    token."""
    tokens = responses.tokens
    if tokens is None or np.isnan(tokens.tokens_out).all():
        return None
    return _estimate_spread_rate(responses, tokens, bounds_ns)


def _estimate_spread_rate(responses: StageRows, tokens: TokenRows, bounds_ns: tuple[int, int]) -> Estimate:
    counts = np.nan_to_num(tokens.tokens_out)
    first_ns = np.where(tokens.first_token_ns > 0, tokens.first_token_ns, responses.end_ns)
    durations_ns = np.maximum(responses.end_ns - first_ns, 1)
    edges_ns = np.linspace(*bounds_ns, BATCH_COUNT + 1)
    received_tokens = [float(counts @ np.clip((edge_ns - first_ns) / durations_ns, 0.0, 1.0)) for edge_ns in edges_ns]
    return estimate_rate_of_amounts(np.diff(received_tokens), (bounds_ns[1] - bounds_ns[0]) / 1e9)
