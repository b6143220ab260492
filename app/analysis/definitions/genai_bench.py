"""Metric definitions of genai-bench 0.0.5.

The definitions are those of the sgl-project/genai-bench repository at 7fd04d8 (2 commits after v0.0.5):
`user/openai_user.py` (timestamps), `metrics/request_metrics_collector.py` (latencies of a request),
`metrics/aggregated_metrics_collector.py` (percentiles, trimming, rates) and `cli/cli.py` (the
duration of a run), under `genai_bench`.

- Latencies are measured from the call of `requests.post`. Each request opens a new connection,
  because no session is used.
- TTFT ends at the first chunk with content or reasoning, E2E at the end of the stream. TPOT is (E2E
  − TTFT)/(tokens − 1), for responses with at least two tokens and an E2E − TTFT of at least 1 ms.
- Failed requests are excluded from all latencies. Request and token rates count successful requests
  and are divided by the duration of the run, including its shutdown. --warmup-ratio and
  --cooldown-ratio exclude the first and last requests from latencies and token sums, but not from
  the request rate; neither is set by default.
- Percentiles use NumPy's default: p25, p50, p75, p90, p95 and p99 are saved.
"""

from __future__ import annotations

import numpy as np

from app.analysis.definitions.requests import (
    LINEAR_PERCENTILES_NOTE,
    Aggregates,
    ObservedRequests,
    compute_linear_percentiles,
    compute_rate,
)
from app.records.definitions import ToolMetrics

_MIN_OUTPUT_MS = 1.0
_EXPLANATIONS = {
    "ttft_ms": "from before the connection is opened (here: from send) to the first non-empty delta",
    "tpot_ms": "(E2E − TTFT)/(tokens − 1), once per response; omitted if E2E − TTFT is below 1 ms",
    "e2e_ms": "from before the connection is opened (here: from send) to the end of the stream",
    "requests_per_s": (
        "successful requests divided by the time from the start of the stage to the last response, including the drain"
    ),
    "output_tokens_per_s": "tokens of successful requests divided by the same duration",
}
_NOTES = (
    LINEAR_PERCENTILES_NOTE,
    "genai-bench opens a connection for every request, and its TTFT and E2E include the connection time; rows measured "
    "with keep-alive do not include it",
    "no requests are trimmed: --warmup-ratio and --cooldown-ratio are off by default",
)


def compute_genai_bench_metrics(requests: ObservedRequests) -> ToolMetrics:
    e2e_ms = requests.compute_ms_since_send(requests.end_ns)
    metrics = {"e2e_ms": compute_linear_percentiles(e2e_ms)}
    if requests.is_streamed:
        metrics |= _compute_streamed_metrics(requests, e2e_ms)
    bounds_ns = requests.stage_start_ns, requests.last_end_ns
    metrics["requests_per_s"] = compute_rate(requests.response_count, *bounds_ns)
    if requests.has_token_counts:
        metrics["output_tokens_per_s"] = compute_rate(float(np.nansum(requests.tokens_out)), *bounds_ns)
    return ToolMetrics(
        tool="genai-bench",
        source="0.0.5 (7fd04d8), genai_bench/metrics and user/openai_user.py",
        requests=requests.response_count,
        metrics=metrics,
        explanations=_EXPLANATIONS,
        notes=_NOTES,
    )


def _compute_streamed_metrics(requests: ObservedRequests, e2e_ms: np.ndarray) -> dict[str, Aggregates]:
    ttft_ms = requests.compute_ms_since_send(requests.first_token_ns)
    output_ms = e2e_ms - ttft_ms
    gap_counts = np.where((requests.tokens_out > 1) & (output_ms >= _MIN_OUTPUT_MS), requests.tokens_out - 1, np.nan)
    return {
        "ttft_ms": compute_linear_percentiles(ttft_ms),
        "tpot_ms": compute_linear_percentiles(output_ms / gap_counts),
    }
