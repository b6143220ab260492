"""Metric definitions of inference-perf 0.6.

The definitions are those of the kubernetes-sigs/inference-perf repository at 7de5ef2 (29 commits after v0.6.1):
`reportgen/base.py` (`summarize_requests`), `apis/streaming_parser.py` and `apis/chat.py` (counted
chunks), `utils/cli_summary.py` and `config/reportgen/config.py` (console output), under
`inference_perf`.

- Only chunks with content count, not reasoning and tool calls. Each chunk is tokenized separately,
  and each of its tokens gets the timestamp of the chunk. A chunk of k tokens therefore gives k − 1
  gaps of 0; ITL pools all gaps.
- TTFT is the time from the send to the first content token, for responses with at least two content
  tokens. TPOT is (last token − first token)/(tokens − 1). NTPOT is (end − send)/tokens, and 0
  without tokens. Only content tokens count; inference-perf's tokenizer counts them unless
  use_server_output_tokens is set.
- Failed requests are excluded from all latencies. Request and token rates count successful requests
  and are divided by the time from the first send to the end of the last request.
- Percentiles use NumPy's default; the console shows mean, median and p90.
"""

from __future__ import annotations

import numpy as np

from app.analysis.columns import Floats, Mask
from app.analysis.definitions.requests import (
    LINEAR_PERCENTILES_NOTE,
    Aggregates,
    Deltas,
    ObservedRequests,
    compute_linear_percentiles,
    compute_rate,
    withhold_aggregates,
)
from app.records.definitions import ToolMetrics

_REASONING_UNKNOWN = "the server does not report the number of reasoning tokens, which must be excluded"
_CHUNKS_UNKNOWN = "the server does not report the number of tokens per delta"
_EXPLANATIONS = {
    "ttft_ms": (
        "from send to the first content token, without reasoning; only responses with at least two content tokens"
    ),
    "itl_ms": "gaps between content tokens, pooled; tokens of one delta arrive together, so their gaps are 0",
    "tpot_ms": "(last − first content token)/(content tokens − 1), once per response",
    "ntpot_ms": "E2E/content tokens, once per response; 0 for a response without content tokens",
    "e2e_ms": "from send to the end of the stream",
    "requests_per_s": (
        "successful requests divided by the time from the first send to the last end, including failed requests"
    ),
    "output_tokens_per_s": "content tokens of these requests divided by the same duration",
}
_NOTES = (
    f"{LINEAR_PERCENTILES_NOTE}; p95 and p99 are in inference-perf's files, not in its console output",
    ("by default, inference-perf counts tokens with its own tokenizer; the counts here are those stored in the rows"),
    "inference-perf does not count tool calls as content; here they are counted",
)


def compute_inference_perf_metrics(requests: ObservedRequests) -> ToolMetrics:
    e2e_ms, content_tokens = requests.compute_ms_since_send(requests.end_ns), _compute_content_tokens(requests)
    are_tokens_known = not np.isnan(content_tokens).any()
    metrics = {"e2e_ms": compute_linear_percentiles(e2e_ms)}
    if requests.is_streamed:
        metrics |= _compute_streamed_metrics(requests, content_tokens, are_tokens_known)
    bounds_ns = requests.first_sent_ns, requests.last_end_ns
    metrics["requests_per_s"] = compute_rate(requests.response_count, *bounds_ns)
    if requests.has_token_counts:
        per_token_ms = np.where(content_tokens > 0, e2e_ms / np.maximum(content_tokens, 1), 0.0)
        metrics["ntpot_ms"] = (
            compute_linear_percentiles(per_token_ms) if are_tokens_known else withhold_aggregates(_REASONING_UNKNOWN)
        )
        token_rate = (
            compute_rate(float(content_tokens.sum()), *bounds_ns)
            if are_tokens_known
            else withhold_aggregates(_REASONING_UNKNOWN, ("value",))
        )
        metrics["output_tokens_per_s"] = token_rate
    return ToolMetrics(
        tool="inference-perf",
        source="0.6.1 (7de5ef2), inference_perf/reportgen/base.py",
        requests=requests.response_count,
        metrics=metrics,
        explanations=_EXPLANATIONS,
        notes=_NOTES,
    )


def _compute_streamed_metrics(
    requests: ObservedRequests, content_tokens: Floats, are_tokens_known: bool
) -> dict[str, Aggregates]:
    content_deltas = _select_content_deltas(requests)
    delta_counts = content_deltas.count_by_response(requests.response_count)
    reported_tokens = np.bincount(
        content_deltas.response_index, content_deltas.tokens, minlength=requests.response_count
    )
    has_several_tokens = (delta_counts > 1) | (reported_tokens > 1) | ((delta_counts == 1) & (content_tokens > 1))
    is_undecided = (delta_counts == 1) & (reported_tokens == 0) & np.isnan(content_tokens)
    gap_counts = np.where(has_several_tokens & (content_tokens > 1), content_tokens - 1, np.nan)
    return {
        "ttft_ms": withhold_aggregates(_REASONING_UNKNOWN)
        if is_undecided.any()
        else compute_linear_percentiles(
            np.where(has_several_tokens, requests.compute_ms_since_send(requests.first_output_ns), np.nan)
        ),
        "itl_ms": withhold_aggregates(_CHUNKS_UNKNOWN)
        if np.any(content_deltas.tokens == 0)
        else compute_linear_percentiles(_compute_token_gaps_ms(content_deltas)),
        "tpot_ms": compute_linear_percentiles((requests.last_token_ns - requests.first_output_ns) / 1e6 / gap_counts)
        if are_tokens_known
        else withhold_aggregates(_REASONING_UNKNOWN),
    }


def _select_content_deltas(requests: ObservedRequests) -> Deltas:
    first_ns = requests.first_output_ns[requests.deltas.response_index]
    return requests.deltas.select((first_ns > 0) & (requests.deltas.times_ns >= first_ns))


def _compute_token_gaps_ms(content_deltas: Deltas) -> Floats:
    return np.concatenate((content_deltas.compute_gaps_ms(), np.zeros(int((content_deltas.tokens - 1).sum()))))


def _compute_content_tokens(requests: ObservedRequests) -> Floats:
    """Compute the number of content tokens of each response. The number is NaN (unknown) if a
    response starts with reasoning and its chunks do not report token counts."""
    content_deltas = _select_content_deltas(requests)
    reported_tokens = np.bincount(
        content_deltas.response_index, content_deltas.tokens, minlength=requests.response_count
    )
    has_unreported_tokens = (
        np.bincount(content_deltas.response_index, content_deltas.tokens == 0, minlength=requests.response_count) > 0
    )
    has_reasoning: Mask = (requests.first_token_ns > 0) & (requests.first_output_ns != requests.first_token_ns)
    return np.where(has_reasoning, np.where(has_unreported_tokens, np.nan, reported_tokens), requests.tokens_out)
