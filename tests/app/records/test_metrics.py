from __future__ import annotations

import pytest

from app.analysis.objectives import parse_gate, parse_objective
from app.records.metrics import LABELS, METRICS, RUN_METRICS, metric_label


@pytest.mark.parametrize(
    ("name", "label"),
    [
        ("latency_ms.p95", "p95 latency"),
        ("latency_ms.p99_9", "p99.9 latency"),
        ("error_rate", "error rate"),
        ("gpu_memory_gib.max", "max GPU memory"),
        ("usd_per_month", "monthly cost"),
    ],
)
def test_metric_label_is_display_name(name: str, label: str) -> None:
    assert metric_label(name) == label


def test_metric_labels_have_no_underscores_and_belong_to_metrics() -> None:
    assert all("_" not in metric_label(name) for name in (*METRICS, *RUN_METRICS))
    assert set(LABELS) <= {*METRICS, *RUN_METRICS}


@pytest.mark.parametrize(
    ("text", "label"),
    [
        ("latency_ms.p95 < 50", "p95 latency < 50 ms"),
        ("error_rate < 1%", "error rate < 1 %"),
        ("good_per_s >= 99% of offered_per_s", "goodput >= 99 % of offered rate"),
        ("output_tokens_per_s > 900", "output throughput > 900 tok/s"),
    ],
)
def test_objective_label_has_metric_labels_and_units(text: str, label: str) -> None:
    parse = parse_gate if " of " in text else parse_objective
    assert parse(text).label == label
