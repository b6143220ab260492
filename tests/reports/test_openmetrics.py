from __future__ import annotations

from collections.abc import Iterable

import msgspec
import pytest
from prometheus_client import Metric, parser
from prometheus_client.openmetrics import parser as openmetrics

from reports.model import Report
from reports.openmetrics import render_openmetrics
from tests.fakes.golden import assert_golden
from tests.reports.hostile import PAYLOADS, hostile


def _read(text: str) -> dict[tuple[str, frozenset[tuple[str, str]]], float]:
    """Samples by both parsers, which must agree; the OpenMetrics one refuses duplicates."""
    by_parser = [_samples(read(text)) for read in (openmetrics.text_string_to_metric_families,
                                               parser.text_string_to_metric_families)]  # fmt: skip
    assert by_parser[0] == by_parser[1]
    return by_parser[0]


def _samples(families: Iterable[Metric]) -> dict[tuple[str, frozenset[tuple[str, str]]], float]:
    return {
        (sample.name, frozenset(sample.labels.items())): sample.value
        for family in families
        for sample in family.samples
    }


def test_openmetrics_text_matches_golden_file(streaming_report: Report) -> None:
    assert_golden("metrics_streaming_report.prom", render_openmetrics(streaming_report))


@pytest.mark.parametrize("name", ["full_report", "empty_report", "interrupted_report", "streaming_report",
                                  "clients_report", "spike_report", "locust_report", "local_report"])  # fmt: skip
def test_openmetrics_and_prometheus_parsers_read_reported_values(name: str, request: pytest.FixtureRequest) -> None:
    report: Report = request.getfixturevalue(name)
    samples = _read(render_openmetrics(report))
    assert samples["sizewise_exit_code", frozenset()] == report.verdict.exit_code
    assert samples["sizewise_verdict", frozenset({("state", report.verdict.outcome)})] == 1
    for tile in report.tiles:
        labels = frozenset({("name", tile.label), ("unit", tile.quantity.unit)})
        assert samples.get(("sizewise_headline", labels)) == tile.quantity.value


@pytest.mark.parametrize("is_lower_bound", [True, False])
def test_max_rate_has_lower_bound_metric_unless_it_is_missing(full_report: Report, is_lower_bound: bool) -> None:
    assert full_report.max_rate is not None
    max_rate = msgspec.structs.replace(full_report.max_rate, is_lower_bound=is_lower_bound)
    samples = _read(render_openmetrics(msgspec.structs.replace(full_report, max_rate=max_rate)))
    assert samples["sizewise_max_rate_is_lower_bound", frozenset()] == is_lower_bound
    unknown_rate = msgspec.structs.replace(max_rate, per_s=msgspec.structs.replace(max_rate.per_s, value=None))
    names = {name for name, _ in _read(render_openmetrics(msgspec.structs.replace(full_report, max_rate=unknown_rate)))}
    assert not [name for name in names if name.startswith("sizewise_max_rate_is")]


def test_token_metrics_of_repeated_stage_have_repeat_label(streaming_report: Report) -> None:
    (stage, *_), (tokens, *_) = streaming_report.stages, streaming_report.tokens
    repeated_stage = msgspec.structs.replace(stage, repeat=2)
    tokens = msgspec.structs.replace(tokens, stage=f"{stage.name} #2")
    report = msgspec.structs.replace(streaming_report, stages=(stage, repeated_stage), tokens=(tokens,))
    samples = _read(render_openmetrics(report))
    labels = {"stage": stage.name, "kind": stage.kind, "repeat": "2"}
    p95 = frozenset({**labels, "percentile": "p95"}.items())
    assert samples["sizewise_stage_ttft_milliseconds", p95] == tokens.ttft_p95.value
    assert samples["sizewise_stage_latency_milliseconds", p95] == stage.p95.value


def test_missing_value_has_no_sample(interrupted_report: Report) -> None:
    names = {name for name, _ in _read(render_openmetrics(interrupted_report))}
    assert "sizewise_objective_limit" in names
    assert "sizewise_objective_observed" not in names


@pytest.fixture(scope="module")
def harmless(full_report: Report) -> list[str]:
    return [name for name, _ in _read(render_openmetrics(hostile(full_report, "plain ")))]


@pytest.mark.parametrize("payload", [*PAYLOADS, 'a"} 1\nsizewise_exit_code 99\n#', "\\", "\n# EOF\n"])
def test_hostile_text_stays_in_metric_label(full_report: Report, harmless: list[str], payload: str) -> None:
    attacked = _read(render_openmetrics(hostile(full_report, payload)))
    assert [name for name, _ in attacked] == harmless
    assert attacked["sizewise_exit_code", frozenset()] == 0
