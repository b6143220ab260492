from __future__ import annotations

from app.errors import ExitCode, get_precedence
from app.records.metrics import METRICS


def test_metric_names_end_with_their_unit() -> None:
    suffix = {"ms": "_ms", "1/s": "_per_s", "%": "_percent", "GiB": "_gib", "cores": "_cores", "W": "_w"}
    for name, metric in METRICS.items():
        assert metric.name == name
        assert metric.unit not in suffix or name.endswith(suffix[metric.unit])


def test_exit_code_precedence_prefers_invalid_and_interrupted() -> None:
    assert min(ExitCode.GATE_FAILED, ExitCode.INVALID, key=get_precedence) == ExitCode.INVALID
    assert min(ExitCode.LIMIT, ExitCode.INTERRUPTED, key=get_precedence) == ExitCode.INTERRUPTED
