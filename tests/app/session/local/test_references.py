from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from msgspec.structs import replace

from app.errors import MeasurementError, UsageError
from app.records.events import PhaseChanged
from app.session.limits import LimitMonitor
from app.session.local.references import REFERENCE_ROW_COUNT, ReferenceCache
from app.session.local.spec import DataSpec, LocalSpec
from app.session.run_log import RunLog
from app.storage.run_directory import RunWriter
from tests.fakes.local import LocalBench, order_of, spec_of

FAILS = {"the reference run of m": UsageError("it does not run on the CPU")}
LOST = {"the reference run of m": MeasurementError("it was killed")}
BuildReferences = Callable[[LocalSpec], ReferenceCache]


@pytest.fixture
def bench(tmp_path: Path) -> LocalBench:
    return LocalBench(tmp_path / "run")


@pytest.fixture
def run_log(bench: LocalBench) -> RunLog:
    return RunLog(bench.events.append, bench.clock)


@pytest.fixture
def build_references(bench: LocalBench, run_log: RunLog) -> Iterator[BuildReferences]:
    with RunWriter(bench.directory) as store:
        yield lambda spec: ReferenceCache(
            spec, bench.parts(store), run_log, LimitMonitor(spec.limits, bench.clock.now_ns), bench.interruption
        )


def test_reference_output_is_computed_once_for_each_model_on_the_cpu(
    bench: LocalBench, build_references: BuildReferences
) -> None:
    first = order_of(8, provider="cuda", precision="fp16")
    other = replace(first, model="/models/other.onnx")
    references = build_references(spec_of(first, other))
    assert references.get(first) is references.get(order_of(1))
    references.get(other)
    assert bench.names == ["the reference run of m", "the reference run of other"]
    job = bench.started[0].job
    assert (job.provider, job.batch, job.model, job.settings.io_binding) == ("cpu", 8, first.model, False)
    assert len(bench.reported(PhaseChanged)) == 2
    outputs = {references.get(order).outputs_path for order in (first, other)}
    assert len(outputs) == 2
    for path in outputs:
        assert path is not None
        with np.load(path) as stored:
            assert stored["outputs"].shape == (REFERENCE_ROW_COUNT, 2)
    assert all(process.is_closed for process in bench.started)


def test_reference_scores_exist_only_after_the_model_was_requested(build_references: BuildReferences) -> None:
    references = build_references(spec_of(order_of(1), data=DataSpec(rows="r.npz", label="label")))
    assert references.get_scores(order_of(1).model) is None
    references.get(order_of(1))
    scores = references.get_scores(order_of(1).model)
    assert scores is not None
    assert (scores.metric, scores.values.sum()) == ("top-1", 900)


@pytest.mark.parametrize(("provider", "notes"), [("cuda", 1), ("cpu", 0)])
def test_model_that_does_not_run_on_the_cpu_has_no_reference(
    bench: LocalBench, run_log: RunLog, build_references: BuildReferences, provider: str, notes: int
) -> None:
    bench.script.open_errors = FAILS
    order = order_of(1, provider=provider)
    reference = build_references(spec_of(order)).get(order)
    assert (reference.outputs_path, reference.scores) == (None, None)
    assert len(run_log.notes) == notes
    assert bench.started[0].is_closed


@pytest.mark.parametrize("provider", ["cuda", "cpu"])
def test_lost_reference_is_recomputed_once_and_then_reported_by_a_check(
    bench: LocalBench, run_log: RunLog, build_references: BuildReferences, provider: str
) -> None:
    bench.script.open_errors = LOST
    order = order_of(1, provider=provider)
    references = build_references(spec_of(order, data=DataSpec(rows="r.npz", label="label")))
    reference = references.get(order)
    assert (reference.outputs_path, reference.scores) == (None, None)
    assert references.get_scores(order.model) is None
    assert bench.names == ["the reference run of m"] * 2
    assert [(check.id, check.verdict) for check in run_log.checks] == [("reference", "WARN")]
    assert all(process.is_closed for process in bench.started)


def test_reference_lost_once_is_recomputed_completely(
    bench: LocalBench, run_log: RunLog, build_references: BuildReferences
) -> None:
    class LostOnce(dict[str, Exception]):
        def get(self, key: str, default: object = None) -> object:  # type: ignore[override]
            return LOST[key] if len(bench.started) == 1 else None

    bench.script.open_errors = LostOnce()
    order = order_of(1)
    reference = build_references(spec_of(order, data=DataSpec(rows="r.npz", label="label"))).get(order)
    assert reference.outputs_path is not None
    assert reference.scores is not None
    assert run_log.checks == []
