"""Requests of a stage as other tools record them: latencies start at the send, and there is no
scheduled start.

The module also contains the statistics that tools compute (the mean, and percentiles by different
methods), and Sizewise's own metrics for comparison."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from app.analysis.columns import Floats, Ints, Mask, Nanoseconds
from app.analysis.rows import StageRows, TokenRows
from app.records.definitions import AGGREGATES, TOOL_METRICS, ToolMetrics
from app.records.metrics import PERCENTILES
from app.records.result import Estimate, Stage

Aggregates = dict[str, Estimate]

LINEAR_PERCENTILES_NOTE = "percentiles are interpolated linearly between the two nearest values, even in small samples"


def compute_linear_percentiles(values: Floats, aggregate_names: tuple[str, ...] = AGGREGATES) -> Aggregates:
    """Compute the mean and percentiles of the values; NaN values are ignored. Percentiles use
    NumPy's default method: linear interpolation between the values next to rank (n − 1) q."""
    present_values = values[~np.isnan(values)]
    if not present_values.size:
        return withhold_aggregates("no response has this metric", aggregate_names)
    return {
        name: Estimate(
            float(present_values.mean() if name == "mean" else np.quantile(present_values, PERCENTILES[name])),
            n=present_values.size,
        )
        for name in aggregate_names
    }


def compute_weighted_percentiles(values: Floats, weights: Floats) -> Aggregates:
    """Compute the weighted mean and weighted percentiles. The q-th percentile is the smallest value
    at which the cumulative weight reaches q.

    Normalized weights are summed in floating point, in order of the distinct values, as GuideLLM
    does. The order affects the rounding error, which decides the result if a cumulative weight is
    exactly q in theory."""
    distinct_values, value_index = np.unique(values[weights > 0], return_inverse=True)
    if not distinct_values.size:
        return withhold_aggregates("no response has this metric")
    total_weights = np.bincount(value_index, weights[weights > 0])
    normalized_weights = total_weights / total_weights.sum()
    cumulative_weights = np.cumsum(normalized_weights)

    def compute_aggregate(name: str) -> float:
        if name == "mean":
            return float(np.sum(distinct_values * normalized_weights))
        index = int(np.searchsorted(cumulative_weights, PERCENTILES[name], side="left"))
        return float(distinct_values[min(index, distinct_values.size - 1)])

    return {name: Estimate(compute_aggregate(name), n=int(np.count_nonzero(weights > 0))) for name in AGGREGATES}


def withhold_aggregates(reason: str, aggregate_names: tuple[str, ...] = AGGREGATES) -> Aggregates:
    return dict.fromkeys(aggregate_names, Estimate(None, reason=reason))


def compute_rate(amount: float, start_ns: int, end_ns: int) -> Aggregates:
    if end_ns <= start_ns:
        return withhold_aggregates("the duration is 0", ("value",))
    return {"value": Estimate(amount / ((end_ns - start_ns) / 1e9))}


@dataclass(frozen=True)
class Deltas:
    """All non-empty chunks of a stage, grouped by response and in order of arrival. For each chunk,
    `response_index` is the index of its response, and `times_ns` the time at which it was
    received."""

    response_index: Ints
    times_ns: Nanoseconds
    tokens: Ints
    """Number of tokens in each chunk; 0 if unknown."""

    def select(self, mask: Mask) -> Deltas:
        return Deltas(self.response_index[mask], self.times_ns[mask], self.tokens[mask])

    def compute_gaps_ms(self) -> Floats:
        """Compute the gaps in ms between successive chunks of the same response, pooled over all
        responses."""
        return np.asarray(np.diff(self.times_ns)[np.diff(self.response_index) == 0] / 1e6)

    def count_by_response(self, response_count: int) -> Ints:
        """Count the chunks of each response, as an array of length `response_count`."""
        return np.bincount(self.response_index, minlength=response_count)


@dataclass(frozen=True)
class ObservedRequests:
    """Requests of a stage, as arrays with one entry per successful request. An unknown timestamp is
    0; an unknown count is NaN."""

    stage_start_ns: int
    first_sent_ns: int
    last_end_ns: int
    """Time in ns at which the last request ended, including failed requests."""
    failed_count: int
    failed_delta_count: int
    sent_ns: Nanoseconds
    end_ns: Nanoseconds
    """Time in ns at which each response was complete, including data after the last token."""
    last_token_ns: Nanoseconds
    """Time in ns of the last token of each response; end of the response if token times are
    unknown."""
    first_event_ns: Nanoseconds
    first_token_ns: Nanoseconds
    first_output_ns: Nanoseconds
    tokens_out: Floats
    deltas: Deltas

    @property
    def response_count(self) -> int:
        return self.sent_ns.size

    @property
    def is_streamed(self) -> bool:
        return bool(np.any(self.first_token_ns > 0))

    @property
    def has_token_counts(self) -> bool:
        return not np.isnan(self.tokens_out).all()

    def compute_ms_since_send(self, times_ns: Nanoseconds) -> Floats:
        """Convert timestamps to ms after the send of each request; NaN for unknown timestamps."""
        return np.where(times_ns > 0, (times_ns - self.sent_ns) / 1e6, np.nan)


def observe_requests(rows: StageRows, stage_start_ns: int) -> ObservedRequests:
    """Build the observed requests of a stage from `rows`, which must not include the lead-in.
    Requests that were never sent are dropped, because other tools do not record them."""
    sent_rows = rows.filter(rows.was_sent & (rows.end_ns > 0))
    success_rows = sent_rows.filter(sent_rows.is_success)
    all_end_ns = sent_rows.end_ns if sent_rows.tokens is None else sent_rows.tokens.complete_ns
    failed_tokens, tokens = sent_rows.filter(sent_rows.is_failed).tokens, success_rows.tokens
    zeros = np.zeros(success_rows.sent_ns.size, dtype=np.int64)
    deltas = _build_deltas(tokens)
    return ObservedRequests(
        stage_start_ns=stage_start_ns,
        first_sent_ns=int(sent_rows.sent_ns.min(initial=np.iinfo(np.int64).max)),
        last_end_ns=int(all_end_ns.max(initial=0)),
        failed_count=int(np.count_nonzero(sent_rows.is_failed)),
        failed_delta_count=_build_deltas(failed_tokens).times_ns.size,
        sent_ns=success_rows.sent_ns,
        end_ns=success_rows.end_ns if tokens is None else tokens.complete_ns,
        last_token_ns=success_rows.end_ns,
        first_event_ns=zeros if tokens is None else tokens.first_event_ns,
        first_token_ns=zeros if tokens is None else tokens.first_token_ns,
        first_output_ns=zeros if tokens is None else tokens.first_output_ns,
        tokens_out=np.full(success_rows.sent_ns.size, np.nan) if tokens is None else tokens.tokens_out,
        deltas=deltas,
    )


def _build_deltas(tokens: TokenRows | None) -> Deltas:
    if tokens is None or tokens.chunks is None or tokens.has_messages:
        return Deltas(*(np.zeros(0, dtype=np.int64) for _ in range(3)))
    chunks, counts = tokens.chunks, tokens.chunks.counts
    row_response_indices = np.full(counts.size, -1)
    row_response_indices[tokens.chunk_index] = np.arange(tokens.chunk_index.size)
    response_index = np.repeat(row_response_indices, counts)
    reported_tokens = (
        np.zeros(response_index.size, np.int64) if chunks.tokens is None else chunks.tokens.astype(np.int64)
    )
    deltas = Deltas(response_index, chunks.times_ns, reported_tokens).select(response_index >= 0)
    # if a response has as many tokens as chunks, each chunk holds one token
    has_one_token_per_chunk = ~tokens.is_counted_by_chunks & (
        tokens.tokens_out == deltas.count_by_response(tokens.chunk_index.size)
    )
    return Deltas(
        deltas.response_index,
        deltas.times_ns,
        np.where(has_one_token_per_chunk[deltas.response_index], 1, np.maximum(deltas.tokens, 0)),
    )


_OWN_METRICS = {
    "ttft_ms": "ttft_ms",
    "itl_ms": "itl_ms",
    "icl_ms": "icl_ms",
    "tpot_ms": "tpot_ms",
    "e2e_ms": "latency_ms",
    "requests_per_s": "completed_per_s",
    "output_tokens_per_s": "output_tokens_per_s",
}
_EXPLANATIONS = {
    "ttft_ms": "from the scheduled start to the first non-empty delta, including reasoning",
    "itl_ms": "gaps between tokens, pooled; a delta of k tokens counts as k gaps of 1/k each",
    "icl_ms": "gaps between deltas as received, pooled",
    "tpot_ms": "(last − first token)/(tokens − 1), once per response",
    "e2e_ms": "from the scheduled start to the last token, including any delay before the send",
    "requests_per_s": (
        "successful requests that ended within the measurement window (without the drain), divided by its length"
    ),
    "output_tokens_per_s": (
        "tokens received within the measurement window (spread evenly over a response), divided by its length"
    ),
}
_NOTES = ("percentiles are observed values; n/a if there are too few for a confidence interval",)


def compute_own_metrics(stage: Stage) -> ToolMetrics:
    return ToolMetrics(
        tool="Sizewise",
        source="docs/reference/metrics.md",
        requests=stage.completed,
        metrics={name: estimates for name in TOOL_METRICS if (estimates := _find_own_estimates(stage, name))},
        explanations=_EXPLANATIONS,
        notes=_NOTES,
    )


def _find_own_estimates(stage: Stage, name: str) -> Aggregates:
    estimates = stage.metrics.get(_OWN_METRICS.get(name, ""), {})
    return {aggregate: estimates[aggregate] for aggregate in (*AGGREGATES, "value") if aggregate in estimates}
