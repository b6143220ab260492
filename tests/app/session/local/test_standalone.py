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
from tests.fakes.local import Script, SimulatedVariant
from tests.fakes.session_dependencies import fake_dependencies

LABELED = VariantJob(model="m.onnx", provider="cpu", batch=1, rows="r.npz", label="label")


class Measurements:
    def __init__(self, directory: Path) -> None:
        self.clock = FakeClock()
        self.started: list[SimulatedVariant] = []
        self.reported: list[Event] = []
        self._directory = directory

    def measure(self, job: VariantJob, script: Script | None = None) -> StandaloneResult:
        def start(job: VariantJob) -> SimulatedVariant:
            self.started.append(SimulatedVariant(self.clock, script or Script(), "the model", job))
            return self.started[-1]

        with RunWriter(self._directory / "run") as store:
            dependencies = fake_dependencies(self.clock, ScriptedLoad(self.clock), store, start_alone=start)
            reporting = RunLog(self.reported.append, self.clock)
            return measure_standalone(
                StandaloneModelSpec(job, "m", (1, 8), 0.6), dependencies, reporting, Interruption()
            )


@pytest.fixture
def measurements(tmp_path: Path) -> Measurements:
    return Measurements(tmp_path)


def test_standalone_model_is_measured_by_batch_in_one_process(measurements: Measurements) -> None:
    standalone = measurements.measure(LABELED)
    assert [stage.name for stage in standalone.stages] == ["batch 1", "batch 8"]
    first, second = standalone.stages
    assert first.metrics["service_ms"]["p50"].value == pytest.approx(1.5, rel=0.01)
    assert second.variant is not None
    assert second.variant.batch == 8
    assert first.metrics["accuracy"]["value"].value == 0.9
    assert first.metrics["session_build_ms"]["value"].value == 40.0
    assert "accuracy" not in second.metrics
    assert standalone.provider_check.verdict == first.verdict.status == "VALID"
    (running,) = measurements.started
    assert running.is_closed


def test_standalone_stages_have_negative_indices(measurements: Measurements) -> None:
    measurements.measure(LABELED)
    assert [event.index for event in measurements.reported if isinstance(event, StageStarted)] == [-2, -1]
    snapshots = [event for event in measurements.reported if isinstance(event, Snapshot)]
    assert {event.stage for event in snapshots} == {-2, -1}
    assert snapshots[0].latency_p50_ms == pytest.approx(1.5, rel=0.01)


def test_standalone_model_without_labels_has_no_accuracy(measurements: Measurements) -> None:
    assert "accuracy" not in measurements.measure(VariantJob(model="m.onnx", provider="cpu", batch=1)).stages[0].metrics


def test_provider_fallback_invalidates_the_standalone_stages(measurements: Measurements) -> None:
    job = VariantJob(model="m.onnx", provider="cuda", batch=1)
    standalone = measurements.measure(job, Script(provider_used={"the model": "cpu"}))
    assert standalone.provider_check.verdict == "INVALID"
    assert {stage.verdict.status for stage in standalone.stages} == {"INVALID"}


@pytest.mark.parametrize(
    "script",
    [
        Script(open_errors={"the model": MeasurementError("it crashed")}),
        Script(measure_errors={"the model": MeasurementError("it crashed")}),
    ],
    ids=["opening", "measuring"],
)
def test_failing_standalone_model_is_closed_and_its_error_raised(measurements: Measurements, script: Script) -> None:
    with pytest.raises(MeasurementError, match="it crashed"):
        measurements.measure(LABELED, script)
    assert measurements.started[0].is_closed
