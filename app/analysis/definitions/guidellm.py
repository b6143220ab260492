"""Metric definitions of GuideLLM 0.7.

The definitions are those of the vllm-project/guidellm repository at ee7a774 (12 commits after
v0.7.3), under `src/guidellm`: `schemas/request_stats.py` (latencies of a request),
`benchmark/schemas/metrics.py` (requests and weights), `schemas/statistics.py` (percentiles, rates),
`benchmark/schemas/accumulator.py` (measured duration), `backends/openai/http.py` (timestamps),
`benchmark/outputs/console.py` (console output).

- TTFT is the time from the send to the first chunk with content, reasoning or a tool call. TTFT is
  0 for a successful response without such a chunk.
- ITL is (last token − first token)/(tokens − 1), one value per response, weighted by tokens − 1.
  TPOT is (last token − send)/tokens, weighted by tokens. All other metrics have equal weights.
- Latencies cover successful requests. Rates cover all requests, including failed requests with
  partial responses, from the start of the first request to the end of the last. --warmup and
  --cooldown shorten this period; both are off by default.
- The q-th percentile is the smallest value at which the cumulative weight reaches q; the console
  shows median and p95.
"""

from __future__ import annotations

import numpy as np

from app.analysis.definitions.requests import Aggregates, ObservedRequests, compute_rate, compute_weighted_percentiles
from app.records.definitions import ToolMetrics

_EXPLANATIONS = {
    "ttft_ms": "from send to the first non-empty delta, including reasoning; 0 for a response without one",
    "itl_ms": (
        "(last − first token)/(tokens − 1), once per response, weighted by tokens − 1; called TPOT by other tools"
    ),
    "tpot_ms": "(last token − send)/tokens, weighted by tokens; includes the time to first token",
    "e2e_ms": "from send to the end of the stream, including data after the last token (printed in seconds)",
    "requests_per_s": (
        "all finished requests, including failed ones, divided by the time from the first send to the last end"
    ),
    "output_tokens_per_s": (
        "tokens of these requests divided by the same duration; for a failed request, the deltas received"
    ),
}
_NOTES = (
    "a percentile is an observed value: the smallest one at which the cumulative weight reaches it",
    "no requests are trimmed: --warmup and --cooldown are off by default",
    "with --max-seconds, GuideLLM stops at that time and cancels requests in flight; here the drain is included",
)


def compute_guidellm_metrics(requests: ObservedRequests) -> ToolMetrics:
    tokens = np.nan_to_num(requests.tokens_out)
    metrics = {
        "e2e_ms": compute_weighted_percentiles(
            requests.compute_ms_since_send(requests.end_ns), np.ones(requests.response_count)
        )
    }
    if requests.is_streamed:
        metrics |= _compute_streamed_metrics(requests, tokens)
    bounds_ns = requests.first_sent_ns, requests.last_end_ns
    metrics["requests_per_s"] = compute_rate(requests.response_count + requests.failed_count, *bounds_ns)
    if requests.has_token_counts:
        metrics["output_tokens_per_s"] = compute_rate(float(tokens.sum()) + requests.failed_delta_count, *bounds_ns)
    return ToolMetrics(
        tool="GuideLLM",
        source="0.7.3 (ee7a774), src/guidellm/schemas and benchmark/schemas",
        requests=requests.response_count,
        metrics=metrics,
        explanations=_EXPLANATIONS,
        notes=_NOTES,
    )


def _compute_streamed_metrics(requests: ObservedRequests, tokens: np.ndarray) -> dict[str, Aggregates]:
    has_token = requests.first_token_ns > 0
    first_ms = np.nan_to_num(requests.compute_ms_since_send(requests.first_token_ns))
    last_ms = requests.compute_ms_since_send(requests.last_token_ns)
    gap_counts = np.maximum(tokens - 1, 0)
    itl_ms = np.where(has_token & (gap_counts > 0), (last_ms - first_ms) / np.maximum(gap_counts, 1), 0.0)
    return {
        "ttft_ms": compute_weighted_percentiles(first_ms, np.ones(requests.response_count)),
        "itl_ms": compute_weighted_percentiles(itl_ms, gap_counts),
        "tpot_ms": compute_weighted_percentiles(last_ms / np.maximum(tokens, 1), tokens),
    }
