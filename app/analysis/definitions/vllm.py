"""Metric definitions of vLLM bench serve.

The definitions are those of the vllm-project/vllm repository: `vllm/benchmarks/serve.py` at 009e6d4
(`calculate_metrics`, and `benchmark` for the duration of the throughput) and
`vllm/benchmarks/lib/endpoint_request_func.py` at 02cfb53 (the chat request).

- Latencies are measured from just before the send. A chunk counts if its `choices` are not empty,
  even without any text. TTFT ends at the first chunk, E2E at the last, and ITL pools the gaps
  between chunks.
- TPOT is (E2E − TTFT)/(tokens − 1), for responses with at least two tokens. Token counts come from
  the server's `usage`, or else from vLLM's tokenizer.
- Failed requests are excluded from all latencies. Throughput is averaged over the time from just
  before the scheduled start of the first request to the last response.
- Percentiles use NumPy's default; mean, median and p99 are printed by default, E2E only if
  requested.
"""

from __future__ import annotations

import numpy as np

from app.analysis.columns import Floats, Nanoseconds
from app.analysis.definitions.requests import (
    LINEAR_PERCENTILES_NOTE,
    Aggregates,
    ObservedRequests,
    compute_linear_percentiles,
    compute_rate,
    withhold_aggregates,
)
from app.records.definitions import ToolMetrics

_PRINTED_AGGREGATES = ("mean", "p50", "p99")
_NO_FIRST_EVENT = "these rows come from an older version of Sizewise, which did not record the first message"
_EXPLANATIONS = {
    "ttft_ms": "from send to the first message with choices, even if it only contains the role",
    "itl_ms": (
        "gaps between messages, pooled; the message with the role counts, and a message of k tokens counts once"
    ),
    "tpot_ms": "(E2E − TTFT)/(tokens − 1), once per response, from the first message with choices",
    "e2e_ms": "from send to the last message (here: the last token); printed with --percentile-metrics e2el",
    "requests_per_s": (
        "successful requests divided by the time from the start of the stage to the last response, including the drain"
    ),
    "output_tokens_per_s": "tokens of successful requests divided by the same duration",
}
_NOTES = (
    f"{LINEAR_PERCENTILES_NOTE}; p90 and p95 require --metric-percentiles",
    "empty chunks after the first, such as the one with the finish reason, are not recorded; vLLM counts them "
    "as messages, which adds to ITL, TPOT and E2E",
)


def compute_vllm_metrics(requests: ObservedRequests) -> ToolMetrics:
    e2e_ms = requests.compute_ms_since_send(requests.last_token_ns)
    metrics = {"e2e_ms": compute_linear_percentiles(e2e_ms, _PRINTED_AGGREGATES)}
    if requests.is_streamed:
        metrics |= _compute_streamed_metrics(requests, e2e_ms)
    bounds_ns = requests.stage_start_ns, requests.last_end_ns
    metrics["requests_per_s"] = compute_rate(requests.response_count, *bounds_ns)
    if requests.has_token_counts:
        metrics["output_tokens_per_s"] = compute_rate(float(np.nansum(requests.tokens_out)), *bounds_ns)
    return ToolMetrics(
        tool="vLLM",
        source="vllm bench serve at 009e6d4, vllm/benchmarks/serve.py",
        requests=requests.response_count,
        metrics=metrics,
        explanations=_EXPLANATIONS,
        notes=_NOTES,
    )


def _compute_streamed_metrics(requests: ObservedRequests, e2e_ms: Floats) -> dict[str, Aggregates]:
    if not np.any(requests.first_event_ns > 0):
        return dict.fromkeys(
            ("ttft_ms", "itl_ms", "tpot_ms"), withhold_aggregates(_NO_FIRST_EVENT, _PRINTED_AGGREGATES)
        )
    ttft_ms = requests.compute_ms_since_send(requests.first_event_ns)
    gap_counts = np.where(requests.tokens_out > 1, requests.tokens_out - 1, np.nan)
    return {
        "ttft_ms": compute_linear_percentiles(ttft_ms, _PRINTED_AGGREGATES),
        "itl_ms": compute_linear_percentiles(
            np.concatenate((requests.deltas.compute_gaps_ms(), _compute_gaps_to_first_delta_ms(requests))),
            _PRINTED_AGGREGATES,
        ),
        "tpot_ms": compute_linear_percentiles((e2e_ms - ttft_ms) / gap_counts, _PRINTED_AGGREGATES),
    }


def _compute_gaps_to_first_delta_ms(requests: ObservedRequests) -> Floats:
    """Compute the gaps, in ms, between an empty first chunk and the first chunk with content, for
    each response that starts with an empty chunk. There is no gap if both chunks were read
    together."""
    first_ns: Nanoseconds = requests.first_token_ns
    is_separate = (requests.first_event_ns > 0) & (first_ns > requests.first_event_ns)
    return np.asarray((first_ns - requests.first_event_ns)[is_separate] / 1e6)
