"""Metrics of the reference LLM server, with the names, labels and buckets of vLLM's."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

from loadgen.exposition import BucketHistogram, format_heading
from loadgen.reference.llm_scheduler import LlmConfig, LlmScheduler

_FIRST_TOKEN_BUCKETS_S = (
    0.001, 0.005, 0.01, 0.02, 0.04, 0.06, 0.08, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0, 20.0, 40.0, 80.0,
    160.0, 640.0, 2560.0,
)  # fmt: skip
_TOKEN_BUCKETS_S = (
    0.01, 0.025, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0, 20.0, 40.0, 80.0,
)  # fmt: skip
_REQUEST_BUCKETS_S = (
    0.3, 0.5, 0.8, 1.0, 1.5, 2.0, 2.5, 5.0, 10.0, 15.0, 20.0, 30.0, 40.0, 50.0, 60.0, 120.0, 240.0, 480.0, 960.0,
    1920.0, 7680.0,
)  # fmt: skip
_STEP_BUCKETS_TOKENS = (1, 8, 16, 32, 64, 128, 256, 512, 1024, 2048, 4096, 8192, 16384)
FINISH_REASONS = ("stop", "length", "abort", "error")


class LlmMetrics:
    """Counters and histograms of the server. The scheduler counts its own events."""

    def __init__(self, config: LlmConfig, scheduler: LlmScheduler) -> None:
        model_name = config.served_model_name.replace("\\", r"\\").replace('"', r"\"").replace("\n", r"\n")
        self._label = f'model_name="{model_name}",engine="0"'
        self._config, self._scheduler = config, scheduler
        self.prompt_tokens = self.generation_tokens = 0
        self.finished: Counter[str] = Counter()
        self.first_token_time = BucketHistogram(_FIRST_TOKEN_BUCKETS_S)
        self.inter_token_latency = BucketHistogram(_TOKEN_BUCKETS_S)
        self.request_latency = BucketHistogram(_REQUEST_BUCKETS_S)
        self.queue_time = BucketHistogram(_REQUEST_BUCKETS_S)
        self.prefill_time = BucketHistogram(_REQUEST_BUCKETS_S)
        self.decode_time = BucketHistogram(_REQUEST_BUCKETS_S)
        self.step_tokens = BucketHistogram(_STEP_BUCKETS_TOKENS)

    def format_metrics(self) -> str:
        """Format the metrics page."""
        return "\n".join([*self._format_values(), *self._format_histograms()]) + "\n"

    def _format_values(self) -> Iterator[str]:
        scheduler, capacity = self._scheduler, self._config.num_gpu_blocks
        cache_usage = scheduler.used_block_count / capacity if capacity else 0.0
        for name, metric_type, description, value in (
            ("num_requests_running", "gauge", "Requests in the batch", scheduler.running_count),
            ("num_requests_waiting", "gauge", "Requests in the queue", scheduler.waiting_count),
            ("kv_cache_usage_perc", "gauge", "Used share of the KV cache, from 0 to 1", cache_usage),
            ("prefix_cache_queries_total", "counter", "Tokens of admitted prompts", scheduler.prefix_query_count),
            ("prefix_cache_hits_total", "counter", "Tokens that were cached", scheduler.prefix_hit_count),
            ("num_preemptions_total", "counter", "Preemptions", scheduler.preemption_count),
            ("prompt_tokens_total", "counter", "Tokens of prompts", self.prompt_tokens),
            ("generation_tokens_total", "counter", "Generated tokens", self.generation_tokens),
        ):
            yield from format_heading(f"vllm:{name}", metric_type, description)
            yield f"vllm:{name}{{{self._label}}} {value}"
        yield from format_heading("vllm:request_success_total", "counter", "Ended requests by reason")
        for reason in FINISH_REASONS:
            yield f'vllm:request_success_total{{{self._label},finished_reason="{reason}"}} {self.finished[reason]}'
        yield from format_heading("vllm:cache_config_info", "gauge", "Settings of the KV cache")
        cache_label = f'block_size="{self._config.block_size}",num_gpu_blocks="{self._config.num_gpu_blocks}"'
        yield f'vllm:cache_config_info{{{cache_label},engine="0"}} 1'

    def _format_histograms(self) -> Iterator[str]:
        for name, description, histogram in (
            ("time_to_first_token_seconds", "Time from arrival to the first token", self.first_token_time),
            ("inter_token_latency_seconds", "Time between consecutive tokens", self.inter_token_latency),
            ("e2e_request_latency_seconds", "Time from arrival to the last token", self.request_latency),
            ("request_queue_time_seconds", "Time from arrival to admission", self.queue_time),
            ("request_prefill_time_seconds", "Time from admission to the first token", self.prefill_time),
            ("request_decode_time_seconds", "Time from the first to the last token", self.decode_time),
            ("iteration_tokens_total", "Tokens of each step", self.step_tokens),
        ):
            yield from format_heading(f"vllm:{name}", "histogram", description)
            yield from histogram.format_lines(f"vllm:{name}", self._label)
