"""Compute durations of individual requests, for distributions and for comparison with SLO
limits."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from app.analysis.columns import Floats, Mask, Nanoseconds
from app.analysis.objectives import select_run_objectives
from app.analysis.rows import MediaRows, StageRows, TokenRows
from app.records.result import Objective

SCHEDULED_START_METRICS = (
    "latency_ms", "first_byte_ms", "send_lag_ms", "ttft_ms", "ttfo_ms", "ttfa_ms", "first_message_ms",
)  # fmt: skip
"""Metrics that are computed from the scheduled start of a request."""
NO_SCHEDULED_START = "the scheduled start is unknown"
_OPTIONAL_METRICS = ("tpot_ms",)
"""Metrics whose limit a response can meet without having a value: a response of one token has no
time per output token."""


def compute_durations_ms(rows: StageRows, metric: str) -> Floats | None:
    """Return the values of a latency metric in ms, one per request; NaN for a request without a
    value.

    Return `None` if no request can have a value, or if the metric is not a duration of a
    request."""
    if metric in SCHEDULED_START_METRICS and not rows.has_all_scheduled_starts:
        return None
    if metric in _DURATION_FUNCTIONS:
        return _DURATION_FUNCTIONS[metric](rows)
    if metric in _MEDIA_DURATION_FUNCTIONS:
        return None if rows.media is None else _MEDIA_DURATION_FUNCTIONS[metric](rows, rows.media)
    if rows.tokens is None or metric not in _TOKEN_DURATION_FUNCTIONS:
        return None
    return _TOKEN_DURATION_FUNCTIONS[metric](rows, rows.tokens)


def find_requests_within_limits(rows: StageRows, slo: Sequence[Objective]) -> Mask:
    """Return a mask of the requests that succeeded within all latency limits of the SLO. Each limit
    is applied to each request, even if it is set on an aggregate such as p95. To the requests of a
    class with own limits, only these limits are applied.

    A response without a first token does not meet a limit on the time to first token, and one
    without audio does not meet a limit on the time to first audio."""
    limits = [
        objective for objective in slo if objective.metric in LIMIT_METRICS and objective.comparator in ("<", "<=")
    ]
    is_within_limits = _find_rows_within(rows, select_run_objectives(limits))
    if rows.classes is not None:
        for name in {objective.request_class for objective in limits} & set(rows.classes.categories):
            is_in_class = rows.classes.equals(str(name))
            class_limits = [objective for objective in limits if objective.request_class == name]
            is_within_limits[is_in_class] = _find_rows_within(rows.filter(is_in_class), class_limits)
    return is_within_limits


def _find_rows_within(rows: StageRows, limits: Sequence[Objective]) -> Mask:
    is_within_limits = rows.is_success.copy()
    for objective in limits:
        values_ms = compute_durations_ms(rows, objective.metric)
        is_within_limits &= is_within_limit(objective, values_ms, len(is_within_limits))
    return is_within_limits


def is_within_limit(objective: Objective, values_ms: Floats | None, count: int) -> Mask:
    """Return a mask of the values that are within the limit of the objective. A missing value is
    within the limit only for metrics that a response can lack."""
    if values_ms is None:
        return np.zeros(count, dtype=bool)
    with np.errstate(invalid="ignore"):
        is_within: Mask = values_ms < objective.limit if objective.comparator == "<" else values_ms <= objective.limit
    return is_within | np.isnan(values_ms) if objective.metric in _OPTIONAL_METRICS else is_within


def _compute_elapsed_ms(start_ns: Nanoseconds, end_ns: Nanoseconds, is_known: Mask) -> Floats:
    elapsed_ms: Floats = (end_ns - start_ns) / 1e6
    if not is_known.all():
        elapsed_ms[~is_known] = np.nan
    return elapsed_ms


def _compute_tpot_ms(tokens: TokenRows) -> Floats:
    """Compute the time per output token in ms: (last token − first token)/(tokens − 1). The time is
    NaN for fewer than two tokens, or if all tokens arrived at the same time.

    Tokens after the last chunk, such as an end-of-sequence token without text, have no time and do
    not count, if the numbers of tokens of all chunks are known."""
    first_ns, last_ns = tokens.first_token_ns, tokens.last_token_ns
    counts = tokens.tokens_out
    if tokens.chunks is not None and tokens.chunks.tokens is not None:
        counts = np.where(np.isnan(counts), counts, np.fmin(counts, tokens.chunks.sum_tokens()[tokens.chunk_index]))
    is_known = (first_ns > 0) & (last_ns > first_ns) & (counts >= 2)
    gap_counts = np.where(is_known, counts - 1, 1)
    return np.where(is_known, (last_ns - first_ns) / 1e6 / gap_counts, np.nan)


def _compute_first_message_ms(rows: StageRows, tokens: TokenRows) -> Floats:
    first_ns = tokens.find_first_message_ns()
    return _compute_elapsed_ms(rows.scheduled_ns, first_ns, first_ns > 0)


_DURATION_FUNCTIONS: dict[str, Callable[[StageRows], Floats]] = {
    "latency_ms": lambda rows: _compute_elapsed_ms(rows.scheduled_ns, rows.end_ns, rows.end_ns > 0),
    "service_ms": lambda rows: _compute_elapsed_ms(rows.sent_ns, rows.end_ns, rows.was_sent & (rows.end_ns > 0)),
    "first_byte_ms": lambda rows: _compute_elapsed_ms(rows.scheduled_ns, rows.first_byte_ns, rows.has_first_byte),
    "send_lag_ms": lambda rows: _compute_elapsed_ms(rows.scheduled_ns, rows.sent_ns, rows.was_sent),
}
_TOKEN_DURATION_FUNCTIONS: dict[str, Callable[[StageRows, TokenRows], Floats]] = {
    "ttft_ms": lambda rows, tokens: _compute_elapsed_ms(
        rows.scheduled_ns, tokens.first_token_ns, tokens.first_token_ns > 0
    ),
    "ttft_service_ms": lambda rows, tokens: _compute_elapsed_ms(
        rows.sent_ns, tokens.first_token_ns, tokens.first_token_ns > 0
    ),
    "ttfo_ms": lambda rows, tokens: _compute_elapsed_ms(
        rows.scheduled_ns, tokens.first_output_ns, tokens.first_output_ns > 0
    ),
    "tpot_ms": lambda _, tokens: _compute_tpot_ms(tokens),
    "first_message_ms": lambda rows, tokens: _compute_first_message_ms(rows, tokens),
}
_MEDIA_DURATION_FUNCTIONS: dict[str, Callable[[StageRows, MediaRows], Floats]] = {
    "ttfa_ms": lambda rows, media: _compute_elapsed_ms(
        np.where(media.input_end_ns > 0, media.input_end_ns, rows.scheduled_ns),
        media.first_audio_ns,
        media.first_audio_ns > 0,
    ),
    "response_ms": lambda rows, media: _compute_elapsed_ms(
        media.input_end_ns, rows.end_ns, (media.input_end_ns > 0) & (rows.end_ns > 0)
    ),
}
RESPONSE_METRICS = tuple(name for name in _DURATION_FUNCTIONS if name != "send_lag_ms")
"""Metrics of a duration that every response has."""
LIMIT_METRICS = (*RESPONSE_METRICS, *_TOKEN_DURATION_FUNCTIONS, *_MEDIA_DURATION_FUNCTIONS)
"""Metrics of a request's duration. Each request's value can be compared with the limit of an
objective."""
