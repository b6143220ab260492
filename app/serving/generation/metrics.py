"""Metrics of an endpoint with a language model, under the names that vLLM uses, in the Prometheus
text format (version 0.0.4)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator

from app.inference.generation.engine import FinishReason
from loadgen.exposition import BucketHistogram, format_heading

_SHORT_BUCKETS_S = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.75, 1.0,
                    2.5, 5.0)  # fmt: skip
_LONG_BUCKETS_S = (0.001, 0.0025, 0.005, 0.01, 0.02, 0.04, 0.06, 0.08, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0,
                   20.0, 40.0, 80.0, 160.0)  # fmt: skip
_FINISH_REASONS = (FinishReason.STOP, FinishReason.LENGTH, FinishReason.CANCELLED, FinishReason.FAILED)


class GenerationMetrics:
    """Counters and histograms of an endpoint. The object must be used on the event loop's thread
    only."""

    def __init__(self, model_name: str, *, has_prefix_cache: bool) -> None:
        self._label = f'model_name="{model_name}"'
        self._has_prefix_cache = has_prefix_cache
        self.prompt_tokens = self.generation_tokens = 0
        self.prefix_cache_queries = self.prefix_cache_hits = 0
        self.finished: Counter[FinishReason] = Counter()
        self.time_to_first_token = BucketHistogram(_LONG_BUCKETS_S)
        self.inter_token_latency = BucketHistogram(_SHORT_BUCKETS_S)
        self.time_per_output_token = BucketHistogram(_SHORT_BUCKETS_S)
        self.request_latency = BucketHistogram(_LONG_BUCKETS_S)

    def format_metrics(self, running: int, waiting: int, kv_cache_usage: float | None) -> str:
        """Format the metrics page. `kv_cache_usage` is the used share of the KV cache; `None` if
        the size of the cache is not fixed."""
        lines = [
            *self._format_value("num_requests_running", "gauge", "Requests in the batch", running),
            *self._format_value("num_requests_waiting", "gauge", "Requests in the queue", waiting),
            *self._format_value("prompt_tokens_total", "counter", "Tokens of prompts", self.prompt_tokens),
            *self._format_value("generation_tokens_total", "counter", "Generated tokens", self.generation_tokens),
        ]
        if kv_cache_usage is not None:
            description = "Used share of the KV cache, from 0 to 1"
            lines += self._format_value("kv_cache_usage_perc", "gauge", description, kv_cache_usage)
        if self._has_prefix_cache:
            description = "Prompt tokens of completed requests"
            lines += self._format_value("prefix_cache_queries_total", "counter", description, self.prefix_cache_queries)
            description = "Prompt tokens of completed requests that the prefix cache served"
            lines += self._format_value("prefix_cache_hits_total", "counter", description, self.prefix_cache_hits)
        lines += format_heading("vllm:request_success_total", "counter", "Ended requests by reason")
        lines += [
            f'vllm:request_success_total{{{self._label},finished_reason="{reason}"}} {self.finished[reason]}'
            for reason in _FINISH_REASONS
        ]
        return "\n".join([*lines, *self._format_histograms()]) + "\n"

    def _format_value(self, name: str, metric_type: str, description: str, value: float) -> Iterable[str]:
        return (*format_heading(f"vllm:{name}", metric_type, description), f"vllm:{name}{{{self._label}}} {value}")

    def _format_histograms(self) -> Iterator[str]:
        for name, description, histogram in (
            ("time_to_first_token_seconds", "Time from arrival to the first token", self.time_to_first_token),
            ("inter_token_latency_seconds", "Time between consecutive tokens", self.inter_token_latency),
            (
                "request_time_per_output_token_seconds",
                "Mean time per token after the first, by request",
                self.time_per_output_token,
            ),
            ("e2e_request_latency_seconds", "Time from arrival to the last token", self.request_latency),
        ):
            yield from format_heading(f"vllm:{name}", "histogram", f"{description}, in seconds")
            yield from histogram.format_lines(f"vllm:{name}", self._label)
