"""A run with request classes: its verdict, its stages and the reevaluation of its stored rows."""

from __future__ import annotations

from pathlib import Path

import pytest

from app.errors import UsageError
from app.reporting.opened import load_run
from app.reporting.sidecars import write_sidecars
from app.storage.run_directory import StoredRun
from tests.fakes.request_classes import stored_class_run


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> StoredRun:
    return stored_class_run(tmp_path_factory.mktemp("classes") / "run")


def test_violated_class_objective_fails_the_run(run: StoredRun) -> None:
    result = run.complete_result
    assert [cause.text.partition(":")[0] for cause in result.exit.causes] == [
        "p50 latency (c) < 0.1 ms was not met in steady"
    ]
    assert result.exit.code == 10
    (stage,) = result.stages
    assert [(summary.name, summary.weight_share) for summary in stage.classes] == [("a", 0.5), ("b", 0.25), ("c", 0.25)]
    assert [summary.meets_slo for summary in stage.classes] == [None, None, False]
    assert stage.meets_slo is False


def test_reevaluated_stages_of_stored_rows_equal_the_result(run: StoredRun) -> None:
    opened = load_run(run)
    assert opened.reevaluate().stages == run.complete_result.stages
    other = opened.reevaluate(["latency_ms.p95{class=c} < 1000"])
    assert [summary.meets_slo for summary in other.stages[0].classes] == [None, None, True]
    with pytest.raises(UsageError, match="the run has no class 'nope'"):
        opened.reevaluate(["latency_ms.p95{class=nope} < 1000"])


def test_sidecar_files_of_a_report_contain_the_classes(run: StoredRun, tmp_path: Path) -> None:
    import pyarrow.parquet as pq

    report = write_sidecars(load_run(run).report(), run.directory, tmp_path / "report.html")
    assert "report-classes.csv" in [download.name for download in report.downloads]
    assert set(pq.read_table(tmp_path / "report-requests.parquet")["class"].to_pylist()) == {"a", "b", "c"}
