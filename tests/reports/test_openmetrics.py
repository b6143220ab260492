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
    """By both readers there are, which must agree; OpenMetrics' own refuses what stands twice."""
    found = [_samples(read(text)) for read in (openmetrics.text_string_to_metric_families,
                                               parser.text_string_to_metric_families)]  # fmt: skip
    assert found[0] == found[1]
    return found[0]


def _samples(families: Iterable[Metric]) -> dict[tuple[str, frozenset[tuple[str, str]]], float]:
    return {
        (sample.name, frozenset(sample.labels.items())): sample.value
        for family in families
        for sample in family.samples
    }


def test_the_metrics_are_the_golden_ones(streaming_report: Report) -> None:
    assert_golden("metrics_streaming_report.prom", render_openmetrics(streaming_report))


@pytest.mark.parametrize("name", ["full_report", "empty_report", "interrupted_report", "streaming_report",
                                  "clients_report", "spike_report", "locust_report", "local_report"])  # fmt: skip
def test_both_formats_readers_take_it(name: str, request: pytest.FixtureRequest) -> None:
    report: Report = request.getfixturevalue(name)
    found = _read(render_openmetrics(report))
    assert found["sizewise_exit_code", frozenset()] == report.verdict.exit_code
    assert found["sizewise_verdict", frozenset({("state", report.verdict.outcome)})] == 1
    for tile in report.tiles:
        labels = frozenset({("name", tile.label), ("unit", tile.quantity.unit)})
        assert found.get(("sizewise_headline", labels)) == tile.quantity.value


@pytest.mark.parametrize("is_lower_bound", [True, False])
def test_a_max_rate_says_whether_it_may_be_higher(full_report: Report, is_lower_bound: bool) -> None:
    assert full_report.max_rate is not None
    max_rate = msgspec.structs.replace(full_report.max_rate, is_lower_bound=is_lower_bound)
    found = _read(render_openmetrics(msgspec.structs.replace(full_report, max_rate=max_rate)))
    assert found["sizewise_max_rate_is_lower_bound", frozenset()] == is_lower_bound
    none_found = msgspec.structs.replace(max_rate, per_s=msgspec.structs.replace(max_rate.per_s, value=None))
    names = {name for name, _ in _read(render_openmetrics(msgspec.structs.replace(full_report, max_rate=none_found)))}
    assert not [name for name in names if name.startswith("sizewise_max_rate_is")]


def test_every_series_of_a_repeat_has_the_labels_of_its_stage(streaming_report: Report) -> None:
    (stage, *_), (tokens, *_) = streaming_report.stages, streaming_report.tokens
    again = msgspec.structs.replace(stage, repeat=2)
    tokens = msgspec.structs.replace(tokens, stage=f"{stage.name} #2")
    report = msgspec.structs.replace(streaming_report, stages=(stage, again), tokens=(tokens,))
    found = _read(render_openmetrics(report))
    labels = {"stage": stage.name, "kind": stage.kind, "repeat": "2"}
    p95 = frozenset({**labels, "percentile": "p95"}.items())
    assert found["sizewise_stage_ttft_milliseconds", p95] == tokens.ttft_p95.value
    assert found["sizewise_stage_latency_milliseconds", p95] == stage.p95.value


def test_what_is_not_available_has_no_sample(interrupted_report: Report) -> None:
    names = {name for name, _ in _read(render_openmetrics(interrupted_report))}
    assert "sizewise_objective_limit" in names
    assert "sizewise_objective_observed" not in names


@pytest.fixture(scope="module")
def harmless(full_report: Report) -> list[str]:
    return [name for name, _ in _read(render_openmetrics(hostile(full_report, "plain ")))]


@pytest.mark.parametrize("payload", [*PAYLOADS, 'a"} 1\nsizewise_exit_code 99\n#', "\\", "\n# EOF\n"])
def test_hostile_text_stays_in_its_label(full_report: Report, harmless: list[str], payload: str) -> None:
    attacked = _read(render_openmetrics(hostile(full_report, payload)))
    assert [name for name, _ in attacked] == harmless
    assert attacked["sizewise_exit_code", frozenset()] == 0
