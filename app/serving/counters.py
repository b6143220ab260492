"""Metrics of the endpoint, formatted in the Prometheus text format (version 0.0.4)."""

from __future__ import annotations

from collections import Counter

from loadgen.exposition import BucketHistogram, format_heading

_DURATION_BUCKETS_S = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
OUTCOMES = ("ok", "bad_request", "not_found", "too_large", "queue_full", "bodies_full", "draining", "failed")


class EndpointMetrics:
    """Metrics of the endpoint: requests by outcome, requests in flight, batch sizes and inference
    times. The object must be used on the event loop's thread only."""

    def __init__(self, max_batch: int) -> None:
        self.in_flight = 0
        self._request_counts: Counter[str] = Counter()
        self._batch_rows_histogram = BucketHistogram([2**power for power in range(max_batch.bit_length())])
        self._inference_time_histogram = BucketHistogram(_DURATION_BUCKETS_S)

    def count_request(self, outcome: str) -> None:
        self._request_counts[outcome] += 1

    def count_batch(self, row_count: int, duration_s: float) -> None:
        self._batch_rows_histogram.observe(row_count)
        self._inference_time_histogram.observe(duration_s)

    def format_metrics(self, queued_count: int) -> str:
        lines = [*format_heading("sizewise_endpoint_requests_total", "counter", "Completed requests by outcome")]
        lines += [
            f'sizewise_endpoint_requests_total{{outcome="{outcome}"}} {self._request_counts[outcome]}'
            for outcome in OUTCOMES
        ]
        lines += format_heading("sizewise_endpoint_in_flight", "gauge", "Requests in flight")
        lines.append(f"sizewise_endpoint_in_flight {self.in_flight}")
        lines += format_heading("sizewise_endpoint_queue_depth", "gauge", "Requests queued for the model")
        lines.append(f"sizewise_endpoint_queue_depth {queued_count}")
        lines += format_heading("sizewise_endpoint_batch_rows", "histogram", "Rows per batch")
        lines += self._batch_rows_histogram.format_lines("sizewise_endpoint_batch_rows")
        lines += format_heading(
            "sizewise_endpoint_inference_seconds", "histogram", "Inference time per batch, in seconds"
        )
        lines += self._inference_time_histogram.format_lines("sizewise_endpoint_inference_seconds")
        return "\n".join(lines) + "\n"
