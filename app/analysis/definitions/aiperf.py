"""Metric definitions of AIPerf 0.11.

The definitions are those of the ai-dynamo/aiperf repository at 58028d5 (0.11.0), under `src/aiperf/metrics`:
`types/ttft_metric.py`, `types/request_latency_metric.py` (4f7ccff),
`types/inter_token_latency_metric.py` (58dd5de), `types/inter_chunk_latency_metric.py`,
`types/max_response_metric.py` (533b205) and `metric_dicts.py` (0fec57a); the throughputs in
`aiperf/metrics/types` at db4f639 of October 2025, before they were moved.

- Latencies are measured from the send. Only chunks with content count: text, reasoning or a tool
  call, but not role or usage. E2E ends at the last chunk with content.
- ITL is (E2E − TTFT)/(tokens − 1), one value per response of at least two tokens. ICL values are
  the gaps between chunks, pooled over all responses.
- Failed requests are excluded from all metrics. Throughput is averaged over the time from the first
  send to the last response of the successful requests.
- Tokens are counted with AIPerf's tokenizer, including reasoning, unless --use-server-token-count
  is set.
- Percentiles are interpolated linearly; the console shows avg, p50, p90 and p99, and no ICL.
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

_EXPLANATIONS = {
    "ttft_ms": "from send to the first non-empty delta, including reasoning",
    "itl_ms": "(E2E − TTFT)/(tokens − 1), once per response; called TPOT by other tools",
    "icl_ms": (
        "gaps between deltas as received, pooled over all responses; called ITL by vLLM; only in AIPerf's files, not "
        "on the console"
    ),
    "e2e_ms": "from send to the last non-empty delta",
    "requests_per_s": (
        "successful requests divided by the time from the first send to the last token of a successful request"
    ),
    "output_tokens_per_s": "tokens of successful requests divided by the same duration",
}
_NOTES = (
    f"{LINEAR_PERCENTILES_NOTE}; p95 is in AIPerf's files, not in its console output",
    ("by default, AIPerf counts tokens with its own tokenizer; the counts here are those stored in the rows"),
)


def compute_aiperf_metrics(requests: ObservedRequests) -> ToolMetrics:
    e2e_ms = requests.compute_ms_since_send(requests.last_token_ns)
    metrics = {"e2e_ms": compute_linear_percentiles(e2e_ms)}
    if requests.is_streamed:
        metrics |= _compute_streamed_metrics(requests, e2e_ms)
    bounds_ns = int(requests.sent_ns.min(initial=np.iinfo(np.int64).max)), int(requests.last_token_ns.max(initial=0))
    metrics["requests_per_s"] = compute_rate(requests.response_count, *bounds_ns)
    if requests.has_token_counts:
        metrics["output_tokens_per_s"] = compute_rate(float(np.nansum(requests.tokens_out)), *bounds_ns)
    return ToolMetrics(
        tool="AIPerf",
        source="0.11.0 (58028d5), src/aiperf/metrics/types",
        requests=requests.response_count,
        metrics=metrics,
        explanations=_EXPLANATIONS,
        notes=_NOTES,
    )


def _compute_streamed_metrics(requests: ObservedRequests, e2e_ms: np.ndarray) -> dict[str, Aggregates]:
    ttft_ms = requests.compute_ms_since_send(requests.first_token_ns)
    gap_counts = np.where(requests.tokens_out >= 2, requests.tokens_out - 1, np.nan)
    return {
        "ttft_ms": compute_linear_percentiles(ttft_ms),
        "itl_ms": compute_linear_percentiles((e2e_ms - ttft_ms) / gap_counts),
        "icl_ms": compute_linear_percentiles(requests.deltas.compute_gaps_ms()),
    }
