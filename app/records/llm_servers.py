"""What each inference server exposes on its metrics page: one row per server.

A row is all that Sizewise knows about the metrics of a server. Telemetry, the counters of a stage,
the hit rate of the prefix cache and the table in the documentation are derived from it. A new server
is one more row; each field must be set, with an empty tuple for what the server does not expose.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal

import msgspec

from app.records.server_counters import ServerLatencyKind


class LatencySeries(msgspec.Struct, frozen=True):
    """Names of the counters of one latency: the sum of all values in units of `unit_ms` ms, and
    their number. `buckets` is the name of the histogram's buckets; empty if the server has none."""

    total: str
    number: str
    unit_ms: float = 1e3
    buckets: str = ""


def _list_histograms(*names: str) -> tuple[LatencySeries, ...]:
    return tuple(LatencySeries(f"{name}_sum", f"{name}_count", buckets=f"{name}_bucket") for name in names)


SeriesField = Literal[
    "prefixes", "running", "waiting", "kv_cache_share", "requests", "other_requests", "input_tokens", "output_tokens",
    "cached_tokens", "preemptions",
]  # fmt: skip
"""Fields of `ServerSeries` that are names of single series."""


class ServerSeries(msgspec.Struct, frozen=True, kw_only=True):
    """Names of the series on the metrics page of an inference server.

    A name may end with one label, as in `nv_trt_llm_request_metrics{request_type="waiting"}`. If a
    field has several names, they are those of different versions or variants of the server. For a
    stage, the first one that is exposed counts. Telemetry sums those that are exposed, and of shares
    it uses the largest.
    """

    title: str
    source: str
    """Page that documents the names."""
    prefixes: tuple[str, ...]
    """Beginnings of the names of all series of the server, known or not."""
    running: tuple[str, ...]
    """Gauges of the requests that are processed."""
    waiting: tuple[str, ...]
    """Gauges of the requests in the queue."""
    kv_cache_share: tuple[str, ...]
    """Gauges of the used share of the KV cache, from 0 to 1."""
    requests: tuple[str, ...]
    """Counters of completed requests."""
    other_requests: tuple[str, ...]
    """Counters that telemetry adds to `requests`: failed requests, or those of a server that does not
    count completed ones separately."""
    input_tokens: tuple[str, ...]
    output_tokens: tuple[str, ...]
    cached_tokens: tuple[str, ...]
    """Counters of the input tokens that the prefix cache served."""
    cache_lookups: tuple[tuple[str, str], ...]
    """Pairs of counters: input tokens that the prefix cache served, and all input tokens for which
    it was queried. A server that exposes the second counter but not the first had no hit yet."""
    preemptions: tuple[str, ...]
    latencies: dict[ServerLatencyKind, tuple[LatencySeries, ...]]


LLM_SERVERS = (
    ServerSeries(
        title="vLLM",
        source="docs.vllm.ai, Production Metrics",
        prefixes=("vllm:",),
        running=("vllm:num_requests_running",),
        waiting=("vllm:num_requests_waiting",),
        kv_cache_share=("vllm:kv_cache_usage_perc", "vllm:gpu_cache_usage_perc"),
        requests=("vllm:request_success_total",),
        other_requests=(),
        input_tokens=("vllm:prompt_tokens_total",),
        output_tokens=("vllm:generation_tokens_total",),
        cached_tokens=("vllm:prefix_cache_hits_total",),
        cache_lookups=(
            ("vllm:prefix_cache_hits_total", "vllm:prefix_cache_queries_total"),
            # up to version 0.9, for some versions together with the first pair
            ("vllm:gpu_prefix_cache_hits_total", "vllm:gpu_prefix_cache_queries_total"),
        ),
        preemptions=("vllm:num_preemptions_total",),
        latencies={
            "ttft": _list_histograms("vllm:time_to_first_token_seconds"),
            "queue": _list_histograms("vllm:request_queue_time_seconds"),
            "prefill": _list_histograms("vllm:request_prefill_time_seconds"),
            "decode": _list_histograms("vllm:request_decode_time_seconds"),
            # up to version 0.10, every gap was observed under the second name
            "itl": _list_histograms("vllm:inter_token_latency_seconds", "vllm:time_per_output_token_seconds"),
            "e2e": _list_histograms("vllm:e2e_request_latency_seconds"),
        },
    ),
    ServerSeries(
        title="SGLang",
        source="docs.sglang.io, Production Metrics",
        prefixes=("sglang:",),
        running=("sglang:num_running_reqs",),
        waiting=("sglang:num_queue_reqs",),
        kv_cache_share=("sglang:token_usage",),
        requests=("sglang:num_requests_total",),
        other_requests=(),
        input_tokens=("sglang:prompt_tokens_total",),
        output_tokens=("sglang:generation_tokens_total",),
        cached_tokens=("sglang:cached_tokens_total",),
        # SGLang splits the first counter by `cache_source`; each request counts for one source
        cache_lookups=(("sglang:cached_tokens_total", "sglang:prompt_tokens_total"),),
        preemptions=("sglang:num_retracted_requests_total", "sglang:num_retracted_reqs_total"),
        latencies={
            "ttft": _list_histograms("sglang:time_to_first_token_seconds"),
            "queue": _list_histograms("sglang:queue_time_seconds"),
            # up to version 0.4, every gap was observed under the second name
            "itl": _list_histograms("sglang:inter_token_latency_seconds", "sglang:time_per_output_token_seconds"),
            "e2e": _list_histograms("sglang:e2e_request_latency_seconds"),
        },
    ),
    ServerSeries(
        title="TensorRT-LLM",
        source="nvidia.github.io/TensorRT-LLM, trtllm-serve; with a colon as exported again by Dynamo",
        prefixes=("trtllm_", "trtllm:"),
        running=(),
        waiting=(),
        kv_cache_share=("trtllm_kv_cache_utilization",),
        requests=("trtllm_request_success_total", "trtllm:request_success_total"),
        other_requests=(),
        input_tokens=("trtllm_prompt_tokens_total",),
        output_tokens=("trtllm_generation_tokens_total",),
        cached_tokens=("trtllm_prompt_cached_tokens_total",),
        cache_lookups=(("trtllm_prompt_cached_tokens_total", "trtllm_prompt_tokens_total"),),
        preemptions=(),
        latencies={
            "ttft": _list_histograms("trtllm_time_to_first_token_seconds", "trtllm:time_to_first_token_seconds"),
            "queue": _list_histograms("trtllm_request_queue_time_seconds", "trtllm:request_queue_time_seconds"),
            "e2e": _list_histograms("trtllm_e2e_request_latency_seconds", "trtllm:e2e_request_latency_seconds"),
        },
    ),
    ServerSeries(
        title="TGI",
        source="huggingface.co, Text Generation Inference, Metrics",
        prefixes=("tgi_",),
        running=("tgi_batch_current_size",),
        waiting=("tgi_queue_size",),
        kv_cache_share=(),
        requests=("tgi_request_success",),
        other_requests=(),
        input_tokens=("tgi_request_input_length_sum",),
        output_tokens=("tgi_request_generated_tokens_sum",),
        cached_tokens=(),
        cache_lookups=(),
        preemptions=(),
        latencies={
            "queue": _list_histograms("tgi_request_queue_duration"),
            "e2e": _list_histograms("tgi_request_duration"),
        },
    ),
    ServerSeries(
        title="Dynamo's frontend",
        source="docs.nvidia.com/dynamo, Metrics Catalog",
        prefixes=("dynamo_frontend_",),
        running=("dynamo_frontend_inflight_requests",),
        waiting=("dynamo_frontend_queued_requests",),
        kv_cache_share=(),
        requests=("dynamo_frontend_requests_total",),
        other_requests=(),
        input_tokens=("dynamo_frontend_input_sequence_tokens_sum",),
        output_tokens=("dynamo_frontend_output_sequence_tokens_sum",),
        cached_tokens=("dynamo_frontend_cached_tokens_sum",),
        cache_lookups=(),
        preemptions=(),
        latencies={
            "ttft": _list_histograms("dynamo_frontend_time_to_first_token_seconds"),
            "itl": _list_histograms("dynamo_frontend_inter_token_latency_seconds"),
            "e2e": _list_histograms("dynamo_frontend_request_duration_seconds"),
        },
    ),
    ServerSeries(
        title="llama.cpp",
        source="github.com/ggml-org/llama.cpp, tools/server",
        prefixes=("llamacpp:",),
        running=("llamacpp:requests_processing",),
        waiting=("llamacpp:requests_deferred",),
        kv_cache_share=("llamacpp:kv_cache_usage_ratio",),
        requests=(),
        other_requests=(),
        input_tokens=("llamacpp:prompt_tokens_total",),
        output_tokens=("llamacpp:tokens_predicted_total",),
        cached_tokens=(),
        cache_lookups=(),
        preemptions=(),
        latencies={},
    ),
    ServerSeries(
        title="Triton",
        source="docs.nvidia.com, Triton Inference Server, Metrics; nv_trt_llm_* are of its TensorRT-LLM backend",
        prefixes=("nv_",),
        running=('nv_trt_llm_request_metrics{request_type="scheduled"}',),
        waiting=("nv_inference_pending_request_count", 'nv_trt_llm_request_metrics{request_type="waiting"}'),
        kv_cache_share=('nv_trt_llm_kv_cache_block_metrics{kv_cache_block_type="fraction"}',),
        requests=("nv_inference_request_success",),
        other_requests=("nv_inference_request_failure",),
        input_tokens=(),
        output_tokens=(),
        cached_tokens=(),
        cache_lookups=(),
        preemptions=(),
        latencies={
            "queue": (LatencySeries("nv_inference_queue_duration_us", "nv_inference_request_success", 1e-3),),
            "e2e": (LatencySeries("nv_inference_request_duration_us", "nv_inference_request_success", 1e-3),),
        },
    ),
    ServerSeries(
        title="Sizewise's endpoint",
        source="sizewise serve; its language models have the series of vLLM",
        prefixes=("sizewise_endpoint_",),
        running=(),
        waiting=("sizewise_endpoint_queue_depth",),
        kv_cache_share=(),
        requests=(),
        other_requests=("sizewise_endpoint_requests_total",),
        input_tokens=(),
        output_tokens=(),
        cached_tokens=(),
        cache_lookups=(),
        preemptions=(),
        latencies={},
    ),
)


def list_series(field: SeriesField) -> tuple[str, ...]:
    """Return the names of one field of all servers."""
    return tuple(name for server in LLM_SERVERS for name in getattr(server, field))


def list_cache_lookups() -> tuple[tuple[str, str], ...]:
    """Return the pairs of counters of the prefix caches of all servers."""
    return tuple(pair for server in LLM_SERVERS for pair in server.cache_lookups)


def iterate_latency_series(kind: ServerLatencyKind) -> Iterator[LatencySeries]:
    """Yield the counters of one kind of latency, of all servers."""
    for server in LLM_SERVERS:
        yield from server.latencies.get(kind, ())
