from __future__ import annotations

from pathlib import Path

import pytest
from msgspec.structs import replace

from app.errors import UsageError
from app.records.events import RunStarted
from app.reporting.trends import change_words, metric_name, trend_of
from app.storage.run_directory import RunWriter
from tests.app.cli.test_run_trend import scaled
from tests.fakes.results import full_run


def test_only_runs_of_the_name_are_read_and_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SIZEWISE_HOME", str(tmp_path))
    whole = full_run().result
    for number in range(16):
        with RunWriter(tmp_path / "runs" / f"{number:02d}") as writer:
            writer.write_result(scaled(whole, number, 1.5 if number >= 8 else 1.0 + number / 1000))
    with RunWriter(tmp_path / "runs" / "another") as writer:
        writer.write_result(replace(scaled(whole, 17, 9.0), name="another"))
    trend = trend_of(whole.name)
    assert [run.run_id for run in trend.runs] == [f"run-{number:02d}" for number in range(16)]
    (p95,) = [one for one in trend.series if metric_name(one) == "latency_ms.p95"]
    assert change_words(p95, 0) == "+49 % since run-08 (worse)"
    assert trend_of(None).name == "another"
    with pytest.raises(UsageError, match="there is no run of none"):
        trend_of("none")


def test_a_run_that_has_no_result_hides_no_other(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SIZEWISE_HOME", str(tmp_path))
    whole = full_run().result
    with RunWriter(tmp_path / "runs" / "20260101-120000-measured-0a1b") as writer:
        writer.write_result(whole)
    for number, name in enumerate((whole.name, "another")):
        with RunWriter(tmp_path / "runs" / f"20260102-12000{number}-killed-0a1b") as writer:
            writer.append_event(RunStarted(number, "killed", name, "", 0))
    assert [run.run_id for run in trend_of(whole.name).runs] == [whole.run_id]
    assert trend_of(None).name == whole.name
    with pytest.raises(UsageError, match="there is no run of another"):
        trend_of("another")
