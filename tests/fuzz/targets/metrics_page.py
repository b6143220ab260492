"""A Prometheus metrics page."""

from __future__ import annotations

from collections.abc import Iterable

from app.telemetry.metrics_page import parse_samples


def read(data: bytes) -> None:
    for sample in parse_samples(data.decode("utf-8", "replace")):
        _ = sample.parse_labels


def seeds() -> Iterable[bytes]:
    yield (
        b'# HELP up Is it up.\n# TYPE up gauge\nup 1\nvllm:num_requests_running{model_name="a\\"b",engine="0"} 3.0\n'
        b'http_seconds_bucket{le="+Inf"} 12 1700000000000\nhttp_seconds_sum NaN\nhttp_seconds_count 1e3\n'
    )
