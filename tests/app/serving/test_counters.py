from __future__ import annotations

from app.serving.counters import EndpointMetrics


def test_endpoint_metrics_have_the_prometheus_format() -> None:
    counters = EndpointMetrics(max_batch=4)
    counters.count_request("ok")
    counters.count_request("ok")
    counters.count_request("queue_full")
    counters.count_batch(3, 0.004)
    counters.count_batch(1, 0.004)
    counters.in_flight = 5
    lines = counters.format_metrics(queued_count=2).splitlines()
    assert "# TYPE sizewise_endpoint_requests_total counter" in lines
    assert 'sizewise_endpoint_requests_total{outcome="ok"} 2' in lines
    assert 'sizewise_endpoint_requests_total{outcome="queue_full"} 1' in lines
    assert 'sizewise_endpoint_requests_total{outcome="failed"} 0' in lines
    assert "sizewise_endpoint_in_flight 5" in lines
    assert "sizewise_endpoint_queue_depth 2" in lines
    assert [line for line in lines if line.startswith("sizewise_endpoint_batch_rows")] == [
        'sizewise_endpoint_batch_rows_bucket{le="1"} 1',
        'sizewise_endpoint_batch_rows_bucket{le="2"} 1',
        'sizewise_endpoint_batch_rows_bucket{le="4"} 2',
        'sizewise_endpoint_batch_rows_bucket{le="+Inf"} 2',
        "sizewise_endpoint_batch_rows_sum 4.0",
        "sizewise_endpoint_batch_rows_count 2",
    ]
    assert 'sizewise_endpoint_inference_seconds_bucket{le="0.0025"} 0' in lines
    assert 'sizewise_endpoint_inference_seconds_bucket{le="0.005"} 2' in lines
