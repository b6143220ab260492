"""Times of one request, one value each: what distributions are made of and limits are held against."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from app.analysis.columns import Floats, Mask, Nanoseconds
from app.analysis.rows import StageRows, TokenRows
from app.records.result import Objective

FROM_INTENDED = ("latency_ms", "first_byte_ms", "send_lag_ms", "ttft_ms", "ttfo_ms")
"""Times that cannot be known where the intended start is not."""
NOT_INTENDED = "the intended start is not known"
_MAY_LACK = ("tpot_ms",)
"""What an answer inside its limits need not have: an answer of one token has no time between tokens."""


def span_ms(rows: StageRows, metric: str) -> Floats | None:
    """NaN where a request has none; None where no request can have one, or it is no time of a request."""
    if metric in FROM_INTENDED and not rows.knows_intended:
        return None
    if metric in _SPANS:
        return _SPANS[metric](rows)
    if rows.tokens is None or metric not in _TOKEN_SPANS:
        return None
    return _TOKEN_SPANS[metric](rows, rows.tokens)


def is_inside(rows: StageRows, slo: Sequence[Objective]) -> Mask:
    """Answered with success and inside every limit on a request's times, whatever the aggregate it is set on.

    An answer without a first token is not inside a limit on the time to it.
    """
    inside = rows.is_success.copy()
    for objective in slo:
        if objective.metric in SPANS and objective.comparator in ("<", "<="):
            inside &= meets(objective, span_ms(rows, objective.metric), len(inside))
    return inside


def meets(objective: Objective, values_ms: Floats | None, n: int) -> Mask:
    """Which of the values are within the limit; of those that are lacking, only what may be lacking is."""
    if values_ms is None:
        return np.zeros(n, dtype=bool)
    with np.errstate(invalid="ignore"):
        met: Mask = values_ms < objective.limit if objective.comparator == "<" else values_ms <= objective.limit
    return met | np.isnan(values_ms) if objective.metric in _MAY_LACK else met


def _between(start_ns: Nanoseconds, end_ns: Nanoseconds, known: Mask) -> Floats:
    spans: Floats = (end_ns - start_ns) / 1e6
    if not known.all():
        spans[~known] = np.nan
    return spans


def _time_per_token(tokens: TokenRows) -> Floats:
    """(last − first)/(tokens − 1). None for fewer than two tokens, nor for those that came all at once."""
    first_ns, last_ns = tokens.first_token_ns, tokens.last_token_ns
    known = (first_ns > 0) & (last_ns > first_ns) & (tokens.tokens_out >= 2)
    gaps = np.where(known, tokens.tokens_out - 1, 1)
    return np.where(known, (last_ns - first_ns) / 1e6 / gaps, np.nan)


_SPANS: dict[str, Callable[[StageRows], Floats]] = {
    "latency_ms": lambda rows: _between(rows.intended_ns, rows.end_ns, rows.end_ns > 0),
    "service_ms": lambda rows: _between(rows.sent_ns, rows.end_ns, rows.was_sent & (rows.end_ns > 0)),
    "first_byte_ms": lambda rows: _between(rows.intended_ns, rows.first_byte_ns, rows.has_first_byte),
    "send_lag_ms": lambda rows: _between(rows.intended_ns, rows.sent_ns, rows.was_sent),
}
_TOKEN_SPANS: dict[str, Callable[[StageRows, TokenRows], Floats]] = {
    "ttft_ms": lambda rows, of: _between(rows.intended_ns, of.first_token_ns, of.first_token_ns > 0),
    "ttft_service_ms": lambda rows, of: _between(rows.sent_ns, of.first_token_ns, of.first_token_ns > 0),
    "ttfo_ms": lambda rows, of: _between(rows.intended_ns, of.first_output_ns, of.first_output_ns > 0),
    "tpot_ms": lambda _, of: _time_per_token(of),
}
SPANS = ("latency_ms", "service_ms", "first_byte_ms", *_TOKEN_SPANS)
"""The times of a request that an objective's limit can be held against, request by request."""
