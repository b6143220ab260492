"""Metric definitions of other tools: vLLM bench serve, GuideLLM, AIPerf, genai-bench and
inference-perf.

The function of each tool documents how the tool computes its metrics, and in which version.
"""

from __future__ import annotations

import numpy as np

from app.analysis.columns import Floats, Mask, Nanoseconds
from app.analysis.definitions.requests import (
    LINEAR_PERCENTILES_NOTE,
    Aggregates,
    Deltas,
    ObservedRequests,
    compute_linear_percentiles,
    compute_rate,
    compute_weighted_percentiles,
    withhold_aggregates,
)
from app.records.definitions import ToolMetrics

_VLLM_PRINTED_AGGREGATES = ("mean", "p50", "p99")
_NO_FIRST_EVENT = "these rows come from an older version of Sizewise, which did not record the first message"
_VLLM_EXPLANATIONS = {
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
_VLLM_NOTES = (
    f"{LINEAR_PERCENTILES_NOTE}; p90 and p95 require --metric-percentiles",
    "empty chunks after the first, such as the one with the finish reason, are not recorded; vLLM counts them "
    "as messages, which adds to ITL, TPOT and E2E",
)


def compute_vllm_metrics(requests: ObservedRequests) -> ToolMetrics:
    """Compute the metrics of a stage by the definitions of vLLM bench serve.

    The definitions are those of the vllm-project/vllm repository: `vllm/benchmarks/serve.py` at
    009e6d4 (`calculate_metrics`, and `benchmark` for the duration of the throughput) and
    `vllm/benchmarks/lib/endpoint_request_func.py` at 02cfb53 (the chat request).

    - Latencies are measured from just before the send. A chunk counts if its `choices` are not
      empty, even without any text. TTFT ends at the first chunk, E2E at the last, and ITL pools the
      gaps between chunks.
    - TPOT is (E2E − TTFT)/(tokens − 1), for responses with at least two tokens. Token counts come
      from the server's `usage`, or else from vLLM's tokenizer.
    - Failed requests are excluded from all latencies. Throughput is averaged over the time from
      just before the scheduled start of the first request to the last response.
    - Percentiles use NumPy's default; mean, median and p99 are printed by default, E2E only if
      requested.
    """
    e2e_ms = requests.compute_ms_since_send(requests.last_token_ns)
    metrics = {"e2e_ms": compute_linear_percentiles(e2e_ms, _VLLM_PRINTED_AGGREGATES)}
    if requests.is_streamed:
        metrics |= _compute_streamed_vllm_metrics(requests, e2e_ms)
    bounds_ns = requests.stage_start_ns, requests.last_end_ns
    metrics["requests_per_s"] = compute_rate(requests.response_count, *bounds_ns)
    if requests.has_token_counts:
        metrics["output_tokens_per_s"] = compute_rate(float(np.nansum(requests.tokens_out)), *bounds_ns)
    return ToolMetrics(
        tool="vLLM",
        source="vllm bench serve at 009e6d4, vllm/benchmarks/serve.py",
        requests=requests.response_count,
        metrics=metrics,
        explanations=_VLLM_EXPLANATIONS,
        notes=_VLLM_NOTES,
    )


def _compute_streamed_vllm_metrics(requests: ObservedRequests, e2e_ms: Floats) -> dict[str, Aggregates]:
    if not np.any(requests.first_event_ns > 0):
        return dict.fromkeys(
            ("ttft_ms", "itl_ms", "tpot_ms"), withhold_aggregates(_NO_FIRST_EVENT, _VLLM_PRINTED_AGGREGATES)
        )
    ttft_ms = requests.compute_ms_since_send(requests.first_event_ns)
    gap_counts = np.where(requests.tokens_out > 1, requests.tokens_out - 1, np.nan)
    return {
        "ttft_ms": compute_linear_percentiles(ttft_ms, _VLLM_PRINTED_AGGREGATES),
        "itl_ms": compute_linear_percentiles(
            np.concatenate((requests.deltas.compute_gaps_ms(), _compute_gaps_to_first_delta_ms(requests))),
            _VLLM_PRINTED_AGGREGATES,
        ),
        "tpot_ms": compute_linear_percentiles((e2e_ms - ttft_ms) / gap_counts, _VLLM_PRINTED_AGGREGATES),
    }


def _compute_gaps_to_first_delta_ms(requests: ObservedRequests) -> Floats:
    """Compute the gaps, in ms, between an empty first chunk and the first chunk with content, for
    each response that starts with an empty chunk. There is no gap if both chunks were read
    together."""
    first_ns: Nanoseconds = requests.first_token_ns
    is_separate = (requests.first_event_ns > 0) & (first_ns > requests.first_event_ns)
    return np.asarray((first_ns - requests.first_event_ns)[is_separate] / 1e6)


_GUIDELLM_EXPLANATIONS = {
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
_GUIDELLM_NOTES = (
    "a percentile is an observed value: the smallest one at which the cumulative weight reaches it",
    "no requests are trimmed: --warmup and --cooldown are off by default",
    "with --max-seconds, GuideLLM stops at that time and cancels requests in flight; here the drain is included",
)


def compute_guidellm_metrics(requests: ObservedRequests) -> ToolMetrics:
    """Compute the metrics of a stage by the definitions of GuideLLM 0.7.

    The definitions are those of the vllm-project/guidellm repository at ee7a774 (12 commits after
    v0.7.3), under `src/guidellm`: `schemas/request_stats.py` (latencies of a request),
    `benchmark/schemas/metrics.py` (requests and weights), `schemas/statistics.py` (percentiles,
    rates), `benchmark/schemas/accumulator.py` (measured duration), `backends/openai/http.py`
    (timestamps), `benchmark/outputs/console.py` (console output).

    - TTFT is the time from the send to the first chunk with content, reasoning or a tool call. TTFT
      is 0 for a successful response without such a chunk.
    - ITL is (last token − first token)/(tokens − 1), one value per response, weighted by tokens −
      1. TPOT is (last token − send)/tokens, weighted by tokens. All other metrics have equal
      weights.
    - Latencies cover successful requests. Rates cover all requests, including failed requests with
      partial responses, from the start of the first request to the end of the last. --warmup and
      --cooldown shorten this period; both are off by default.
    - The q-th percentile is the smallest value at which the cumulative weight reaches q; the
      console shows median and p95.
    """
    tokens = np.nan_to_num(requests.tokens_out)
    metrics = {
        "e2e_ms": compute_weighted_percentiles(
            requests.compute_ms_since_send(requests.end_ns), np.ones(requests.response_count)
        )
    }
    if requests.is_streamed:
        metrics |= _compute_streamed_guidellm_metrics(requests, tokens)
    bounds_ns = requests.first_sent_ns, requests.last_end_ns
    metrics["requests_per_s"] = compute_rate(requests.response_count + requests.failed_count, *bounds_ns)
    if requests.has_token_counts:
        metrics["output_tokens_per_s"] = compute_rate(float(tokens.sum()) + requests.failed_delta_count, *bounds_ns)
    return ToolMetrics(
        tool="GuideLLM",
        source="0.7.3 (ee7a774), src/guidellm/schemas and benchmark/schemas",
        requests=requests.response_count,
        metrics=metrics,
        explanations=_GUIDELLM_EXPLANATIONS,
        notes=_GUIDELLM_NOTES,
    )


def _compute_streamed_guidellm_metrics(requests: ObservedRequests, tokens: np.ndarray) -> dict[str, Aggregates]:
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


_AIPERF_EXPLANATIONS = {
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
_AIPERF_NOTES = (
    f"{LINEAR_PERCENTILES_NOTE}; p95 is in AIPerf's files, not in its console output",
    ("by default, AIPerf counts tokens with its own tokenizer; the counts here are those stored in the rows"),
)


def compute_aiperf_metrics(requests: ObservedRequests) -> ToolMetrics:
    """Compute the metrics of a stage by the definitions of AIPerf 0.11.

    The definitions are those of the ai-dynamo/aiperf repository at 58028d5 (0.11.0), under
    `src/aiperf/metrics`: `types/ttft_metric.py`, `types/request_latency_metric.py` (4f7ccff),
    `types/inter_token_latency_metric.py` (58dd5de), `types/inter_chunk_latency_metric.py`,
    `types/max_response_metric.py` (533b205) and `metric_dicts.py` (0fec57a); the throughputs in
    `aiperf/metrics/types` at db4f639 of October 2025, before they were moved.

    - Latencies are measured from the send. Only chunks with content count: text, reasoning or a
      tool call, but not role or usage. E2E ends at the last chunk with content.
    - ITL is (E2E − TTFT)/(tokens − 1), one value per response of at least two tokens. ICL values
      are the gaps between chunks, pooled over all responses.
    - Failed requests are excluded from all metrics. Throughput is averaged over the time from the
      first send to the last response of the successful requests.
    - Tokens are counted with AIPerf's tokenizer, including reasoning, unless
      --use-server-token-count is set.
    - Percentiles are interpolated linearly; the console shows avg, p50, p90 and p99, and no ICL.
    """
    e2e_ms = requests.compute_ms_since_send(requests.last_token_ns)
    metrics = {"e2e_ms": compute_linear_percentiles(e2e_ms)}
    if requests.is_streamed:
        metrics |= _compute_streamed_aiperf_metrics(requests, e2e_ms)
    bounds_ns = int(requests.sent_ns.min(initial=np.iinfo(np.int64).max)), int(requests.last_token_ns.max(initial=0))
    metrics["requests_per_s"] = compute_rate(requests.response_count, *bounds_ns)
    if requests.has_token_counts:
        metrics["output_tokens_per_s"] = compute_rate(float(np.nansum(requests.tokens_out)), *bounds_ns)
    return ToolMetrics(
        tool="AIPerf",
        source="0.11.0 (58028d5), src/aiperf/metrics/types",
        requests=requests.response_count,
        metrics=metrics,
        explanations=_AIPERF_EXPLANATIONS,
        notes=_AIPERF_NOTES,
    )


def _compute_streamed_aiperf_metrics(requests: ObservedRequests, e2e_ms: np.ndarray) -> dict[str, Aggregates]:
    ttft_ms = requests.compute_ms_since_send(requests.first_token_ns)
    gap_counts = np.where(requests.tokens_out >= 2, requests.tokens_out - 1, np.nan)
    return {
        "ttft_ms": compute_linear_percentiles(ttft_ms),
        "itl_ms": compute_linear_percentiles((e2e_ms - ttft_ms) / gap_counts),
        "icl_ms": compute_linear_percentiles(requests.deltas.compute_gaps_ms()),
    }


_GENAI_BENCH_MIN_OUTPUT_MS = 1.0
_GENAI_BENCH_EXPLANATIONS = {
    "ttft_ms": "from before the connection is opened (here: from send) to the first non-empty delta",
    "tpot_ms": "(E2E − TTFT)/(tokens − 1), once per response; omitted if E2E − TTFT is below 1 ms",
    "e2e_ms": "from before the connection is opened (here: from send) to the end of the stream",
    "requests_per_s": (
        "successful requests divided by the time from the start of the stage to the last response, including the drain"
    ),
    "output_tokens_per_s": "tokens of successful requests divided by the same duration",
}
_GENAI_BENCH_NOTES = (
    LINEAR_PERCENTILES_NOTE,
    "genai-bench opens a connection for every request, and its TTFT and E2E include the connection time; rows measured "
    "with keep-alive do not include it",
    "no requests are trimmed: --warmup-ratio and --cooldown-ratio are off by default",
)


def compute_genai_bench_metrics(requests: ObservedRequests) -> ToolMetrics:
    """Compute the metrics of a stage by the definitions of genai-bench 0.0.5.

    The definitions are those of the sgl-project/genai-bench repository at 7fd04d8 (2 commits after
    v0.0.5): `user/openai_user.py` (timestamps), `metrics/request_metrics_collector.py` (latencies
    of a request), `metrics/aggregated_metrics_collector.py` (percentiles, trimming, rates) and
    `cli/cli.py` (the duration of a run), under `genai_bench`.

    - Latencies are measured from the call of `requests.post`. Each request opens a new connection,
      because no session is used.
    - TTFT ends at the first chunk with content or reasoning, E2E at the end of the stream. TPOT is
      (E2E − TTFT)/(tokens − 1), for responses with at least two tokens and an E2E − TTFT of at
      least 1 ms.
    - Failed requests are excluded from all latencies. Request and token rates count successful
      requests and are divided by the duration of the run, including its shutdown. --warmup-ratio
      and --cooldown-ratio exclude the first and last requests from latencies and token sums, but
      not from the request rate; neither is set by default.
    - Percentiles use NumPy's default: p25, p50, p75, p90, p95 and p99 are saved.
    """
    e2e_ms = requests.compute_ms_since_send(requests.end_ns)
    metrics = {"e2e_ms": compute_linear_percentiles(e2e_ms)}
    if requests.is_streamed:
        metrics |= _compute_streamed_genai_bench_metrics(requests, e2e_ms)
    bounds_ns = requests.stage_start_ns, requests.last_end_ns
    metrics["requests_per_s"] = compute_rate(requests.response_count, *bounds_ns)
    if requests.has_token_counts:
        metrics["output_tokens_per_s"] = compute_rate(float(np.nansum(requests.tokens_out)), *bounds_ns)
    return ToolMetrics(
        tool="genai-bench",
        source="0.0.5 (7fd04d8), genai_bench/metrics and user/openai_user.py",
        requests=requests.response_count,
        metrics=metrics,
        explanations=_GENAI_BENCH_EXPLANATIONS,
        notes=_GENAI_BENCH_NOTES,
    )


def _compute_streamed_genai_bench_metrics(requests: ObservedRequests, e2e_ms: np.ndarray) -> dict[str, Aggregates]:
    ttft_ms = requests.compute_ms_since_send(requests.first_token_ns)
    output_ms = e2e_ms - ttft_ms
    gap_counts = np.where(
        (requests.tokens_out > 1) & (output_ms >= _GENAI_BENCH_MIN_OUTPUT_MS), requests.tokens_out - 1, np.nan
    )
    return {
        "ttft_ms": compute_linear_percentiles(ttft_ms),
        "tpot_ms": compute_linear_percentiles(output_ms / gap_counts),
    }


_REASONING_UNKNOWN = "the server does not report the number of reasoning tokens, which must be excluded"
_CHUNKS_UNKNOWN = "the server does not report the number of tokens per delta"
_INFERENCE_PERF_EXPLANATIONS = {
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
_INFERENCE_PERF_NOTES = (
    f"{LINEAR_PERCENTILES_NOTE}; p95 and p99 are in inference-perf's files, not in its console output",
    ("by default, inference-perf counts tokens with its own tokenizer; the counts here are those stored in the rows"),
    "inference-perf does not count tool calls as content; here they are counted",
)


def compute_inference_perf_metrics(requests: ObservedRequests) -> ToolMetrics:
    """Compute the metrics of a stage by the definitions of inference-perf 0.6.

    The definitions are those of the kubernetes-sigs/inference-perf repository at 7de5ef2 (29
    commits after v0.6.1): `reportgen/base.py` (`summarize_requests`), `apis/streaming_parser.py`
    and `apis/chat.py` (counted chunks), `utils/cli_summary.py` and `config/reportgen/config.py`
    (console output), under `inference_perf`.

    - Only chunks with content count, not reasoning and tool calls. Each chunk is tokenized
      separately, and each of its tokens gets the timestamp of the chunk. A chunk of k tokens
      therefore gives k − 1 gaps of 0; ITL pools all gaps.
    - TTFT is the time from the send to the first content token, for responses with at least two
      content tokens. TPOT is (last token − first token)/(tokens − 1). NTPOT is (end − send)/tokens,
      and 0 without tokens. Only content tokens count; inference-perf's tokenizer counts them unless
      use_server_output_tokens is set.
    - Failed requests are excluded from all latencies. Request and token rates count successful
      requests and are divided by the time from the first send to the end of the last request.
    - Percentiles use NumPy's default; the console shows mean, median and p90.
    """
    e2e_ms, content_tokens = requests.compute_ms_since_send(requests.end_ns), _compute_content_tokens(requests)
    are_tokens_known = not np.isnan(content_tokens).any()
    metrics = {"e2e_ms": compute_linear_percentiles(e2e_ms)}
    if requests.is_streamed:
        metrics |= _compute_streamed_inference_perf_metrics(requests, content_tokens, are_tokens_known)
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
        explanations=_INFERENCE_PERF_EXPLANATIONS,
        notes=_INFERENCE_PERF_NOTES,
    )


def _compute_streamed_inference_perf_metrics(
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
