from __future__ import annotations

from pathlib import Path

import pytest

from app.errors import MeasurementError
from app.inference.job import VariantJob
from app.records.events import Event, Snapshot, StageStarted
from app.session.interruption import Interruption
from app.session.local.standalone import StandaloneResult, measure_standalone
from app.session.run_log import RunLog
from app.session.spec import StandaloneModelSpec
from app.storage.run_directory import RunWriter
from tests.fakes.clock import FakeClock
from tests.fakes.load import ScriptedLoad
from tests.fakes.local import PlayedVariant, Script
from tests.fakes.parts import fake_parts

LABELLED = VariantJob(model="m.onnx", provider="cpu", batch=1, rows="r.npz", label="label")


class Alones:
    def __init__(self, directory: Path) -> None:
        self.clock = FakeClock()
        self.started: list[PlayedVariant] = []
        self.reported: list[Event] = []
        self._directory = directory

    def measure(self, job: VariantJob, script: Script | None = None) -> StandaloneResult:
        def start(job: VariantJob) -> PlayedVariant:
            self.started.append(PlayedVariant(self.clock, script or Script(), "the model", job))
            return self.started[-1]

        with RunWriter(self._directory / "run") as store:
            parts = fake_parts(self.clock, ScriptedLoad(self.clock), store, start_alone=start)
            reporting = RunLog(self.reported.append, self.clock)
            return measure_standalone(StandaloneModelSpec(job, "m", (1, 8), 0.6), parts, reporting, Interruption())


@pytest.fixture
def alones(tmp_path: Path) -> Alones:
    return Alones(tmp_path)


def test_a_model_is_timed_batch_by_batch_in_one_process(alones: Alones) -> None:
    found = alones.measure(LABELLED)
    assert [stage.name for stage in found.stages] == ["batch 1", "batch 8"]
    first, second = found.stages
    assert first.metrics["service_ms"]["p50"].value == pytest.approx(1.5, rel=0.01)
    assert second.variant is not None
    assert second.variant.batch == 8
    assert first.metrics["accuracy"]["value"].value == 0.9
    assert first.metrics["session_build_ms"]["value"].value == 40.0
    assert "accuracy" not in second.metrics
    assert found.provider_check.verdict == first.verdict.status == "VALID"
    (running,) = alones.started
    assert running.is_closed


def test_what_it_does_is_reported_as_stages_before_the_runs_own(alones: Alones) -> None:
    alones.measure(LABELLED)
    assert [event.index for event in alones.reported if isinstance(event, StageStarted)] == [-2, -1]
    snapshots = [event for event in alones.reported if isinstance(event, Snapshot)]
    assert {event.stage for event in snapshots} == {-2, -1}
    assert snapshots[0].latency_p50_ms == pytest.approx(1.5, rel=0.01)


def test_without_labels_there_is_no_accuracy(alones: Alones) -> None:
    assert "accuracy" not in alones.measure(VariantJob(model="m.onnx", provider="cpu", batch=1)).stages[0].metrics


def test_another_provider_than_asked_for_is_reported(alones: Alones) -> None:
    job = VariantJob(model="m.onnx", provider="cuda", batch=1)
    found = alones.measure(job, Script(provider_used={"the model": "cpu"}))
    assert found.provider_check.verdict == "INVALID"
    assert {stage.verdict.status for stage in found.stages} == {"INVALID"}


@pytest.mark.parametrize(
    "script",
    [
        Script(fails_opening={"the model": MeasurementError("it crashed")}),
        Script(fails_measuring={"the model": MeasurementError("it crashed")}),
    ],
    ids=["opening", "measuring"],
)
def test_a_model_that_fails_is_closed_and_reported(alones: Alones, script: Script) -> None:
    with pytest.raises(MeasurementError, match="it crashed"):
        alones.measure(LABELLED, script)
    assert alones.started[0].is_closed
