"""What a stage's answers say of tokens: times to and between them, counts, rates."""

from __future__ import annotations

import numpy as np

from app.analysis.columns import Floats, Mask, Nanoseconds
from app.analysis.estimates import BATCHES, distribution, rate_of_amounts, share
from app.analysis.rows import Chunks, StageRows, TokenRows
from app.analysis.spans import NOT_INTENDED, span_ms
from app.analysis.token_samples import sample_of_rows
from app.records.estimate import TokenSample
from app.records.metrics import DISTRIBUTION
from app.records.result import Estimate

Metrics = dict[str, dict[str, Estimate]]

_SPANS = ("ttft_ms", "ttft_service_ms", "ttfo_ms", "tpot_ms")
_NOT_TOLD = "the server does not say how many tokens a chunk holds: see icl_ms"


def token_metrics(rows: StageRows, window: tuple[int, int], every: StageRows) -> Metrics:
    """Of successful answers; nothing for what no answer tells of. `rows` are the stage's, `every` those before it and
    after it too: their tokens count for the rate as far as they came within `window`."""
    success = rows.where(rows.is_success)
    tokens = success.tokens
    if tokens is None:
        return {}
    metrics: Metrics = {}
    if np.any(tokens.first_token_ns > 0):
        metrics |= _span_metrics(success)
    if tokens.chunks is not None:
        metrics |= _chunk_metrics(tokens, tokens.chunks)
    for name, counts in (("output_tokens", tokens.tokens_out), ("input_tokens", tokens.tokens_in)):
        if not np.isnan(counts).all():
            metrics[name] = distribution(counts)
    if "output_tokens" in metrics:
        metrics["output_tokens_per_s"] = {"value": _output_rate(every.where(every.is_success), window)}
    return metrics


def token_sample(rows: StageRows) -> TokenSample | None:
    """Joint lengths of the requests that completed; None where the server does not count both."""
    tokens = rows.where(rows.is_success).tokens
    return None if tokens is None else sample_of_rows(tokens.tokens_in, tokens.tokens_out)


def _span_metrics(success: StageRows) -> Metrics:
    found: Metrics = {}
    for name in _SPANS:
        values_ms = span_ms(success, name)
        found[name] = withheld(NOT_INTENDED) if values_ms is None else distribution(values_ms)
    if success.tokens is not None and np.isnan(success.tokens.tokens_out).all():
        found["tpot_ms"] = withheld("the server does not count its tokens")
    return found


def withheld(reason: str) -> dict[str, Estimate]:
    """A distribution that cannot be had."""
    return dict.fromkeys(DISTRIBUTION, Estimate(None, reason=reason))


def _chunk_metrics(tokens: TokenRows, chunks: Chunks) -> Metrics:
    """Pooled over the answers as they lie in memory, in the order they ended: so that batches see what depends."""
    is_kept = np.zeros(chunks.counts.size, dtype=bool)
    is_kept[tokens.place] = True
    follows = _follows_another(chunks, is_kept)
    gaps_ms: Floats = np.diff(chunks.times_ns)[follows] / 1e6
    if not gaps_ms.size:
        return {}
    pooled = distribution(gaps_ms)
    read_together = int(np.count_nonzero(gaps_ms == 0))
    return {
        "icl_ms": pooled,
        "itl_ms": _token_gaps(tokens, chunks, follows, gaps_ms) or pooled,
        "coalesced_share": {"value": share(read_together, gaps_ms.size)},
    }


def share_read_together(rows: StageRows) -> float | None:
    """Of the chunks of successful answers, but the first of each: those that were read with the one before."""
    tokens = rows.where(rows.is_success).tokens
    if tokens is None or tokens.chunks is None:
        return None
    is_kept = np.zeros(tokens.chunks.counts.size, dtype=bool)
    is_kept[tokens.place] = True
    follows = _follows_another(tokens.chunks, is_kept)
    following = int(np.count_nonzero(follows))
    return int(np.count_nonzero((np.diff(tokens.chunks.times_ns) == 0) & follows)) / following if following else None


def _follows_another(chunks: Chunks, is_kept: Mask) -> Mask:
    """Of all chunks but the first: those of kept rows that are not the first of their row."""
    follows: Mask = np.ones(max(0, chunks.times_ns.size - 1), dtype=bool)
    firsts = chunks.offsets[1:-1]
    follows[firsts[(firsts > 0) & (firsts < chunks.times_ns.size)] - 1] = False
    if not is_kept.all():
        follows &= np.repeat(is_kept, chunks.counts)[1:]
    return follows


def _token_gaps(tokens: TokenRows, chunks: Chunks, follows: Mask, gaps_ms: Floats) -> dict[str, Estimate] | None:
    """The gaps between tokens, a chunk of k giving k of a k-th; None where every chunk holds one token."""
    is_told = _is_told(chunks)[tokens.place]
    counts = chunks.counts[tokens.place]
    is_single = ~tokens.is_counted_by_chunks & (tokens.tokens_out == counts)
    if np.any(~is_told & ~is_single & (counts > 1)):
        return withheld(_NOT_TOLD)
    if chunks.tokens is None or not is_told.any():
        return None
    held = np.where(chunks.tokens > 0, chunks.tokens, 1)[1:][follows]
    return None if np.all(held == 1) else distribution(np.repeat(gaps_ms / held, held))


def _is_told(chunks: Chunks) -> Mask:
    """Rows of which every chunk says how many tokens it holds."""
    if chunks.tokens is None:
        return np.zeros(chunks.counts.size, dtype=bool)
    untold: Nanoseconds = np.concatenate(([0], np.cumsum(chunks.tokens <= 0)))
    return np.asarray(untold[chunks.offsets[1:]] == untold[chunks.offsets[:-1]])


def _output_rate(answers: StageRows, window: tuple[int, int]) -> Estimate:
    """Tokens a second, those of an answer spread evenly from its first to its last."""
    tokens = answers.tokens
    assert tokens is not None
    counts = np.nan_to_num(tokens.tokens_out)
    first_ns = np.where(tokens.first_token_ns > 0, tokens.first_token_ns, answers.end_ns)
    length_ns = np.maximum(answers.end_ns - first_ns, 1)
    edges_ns = np.linspace(*window, BATCHES + 1)
    come = [float(counts @ np.clip((edge - first_ns) / length_ns, 0.0, 1.0)) for edge in edges_ns]
    return rate_of_amounts(np.diff(come), (window[1] - window[0]) / 1e9)
