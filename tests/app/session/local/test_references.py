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
Made = Callable[[LocalSpec], ReferenceCache]


@pytest.fixture
def bench(tmp_path: Path) -> LocalBench:
    return LocalBench(tmp_path / "run")


@pytest.fixture
def reporting(bench: LocalBench) -> RunLog:
    return RunLog(bench.events.append, bench.clock)


@pytest.fixture
def made(bench: LocalBench, reporting: RunLog) -> Iterator[Made]:
    with RunWriter(bench.directory) as store:
        yield lambda spec: ReferenceCache(
            spec, bench.parts(store), reporting, LimitMonitor(spec.limits, bench.clock.now_ns), bench.interruption
        )


def test_a_reference_is_found_once_a_model_on_the_cpu(bench: LocalBench, made: Made) -> None:
    first = order_of(8, provider="cuda", precision="fp16")
    other = replace(first, model="/models/other.onnx")
    references = made(spec_of(first, other))
    assert references.get(first) is references.get(order_of(1))
    references.get(other)
    assert bench.names == ["the reference run of m", "the reference run of other"]
    job = bench.started[0].job
    assert (job.provider, job.batch, job.model, job.settings.io_binding) == ("cpu", 8, first.model, False)
    assert len(bench.reported(PhaseChanged)) == 2
    outputs = {references.get(one).outputs_path for one in (first, other)}
    assert len(outputs) == 2
    for path in outputs:
        assert path is not None
        with np.load(path) as stored:
            assert stored["outputs"].shape == (REFERENCE_ROW_COUNT, 2)
    assert all(one.is_closed for one in bench.started)


def test_scores_are_of_models_that_were_looked_for(made: Made) -> None:
    references = made(spec_of(order_of(1), data=DataSpec(rows="r.npz", label="label")))
    assert references.get_scores(order_of(1).model) is None
    references.get(order_of(1))
    scores = references.get_scores(order_of(1).model)
    assert scores is not None
    assert (scores.metric, scores.values.sum()) == ("top-1", 900)


@pytest.mark.parametrize(("provider", "notes"), [("cuda", 1), ("cpu", 0)])
def test_a_model_that_does_not_run_on_the_cpu_has_none_and_a_note_where_nothing_else_reports_it(
    bench: LocalBench, reporting: RunLog, made: Made, provider: str, notes: int
) -> None:
    bench.script.fails_opening = FAILS
    order = order_of(1, provider=provider)
    found = made(spec_of(order)).get(order)
    assert (found.outputs_path, found.scores) == (None, None)
    assert len(reporting.notes) == notes
    assert bench.started[0].is_closed


@pytest.mark.parametrize("provider", ["cuda", "cpu"])
def test_a_lost_reference_is_computed_again_once_and_then_reported_by_a_check(
    bench: LocalBench, reporting: RunLog, made: Made, provider: str
) -> None:
    bench.script.fails_opening = LOST
    order = order_of(1, provider=provider)
    references = made(spec_of(order, data=DataSpec(rows="r.npz", label="label")))
    found = references.get(order)
    assert (found.outputs_path, found.scores) == (None, None)
    assert references.get_scores(order.model) is None
    assert bench.names == ["the reference run of m"] * 2
    assert [(check.id, check.verdict) for check in reporting.checks] == [("reference", "WARN")]
    assert all(one.is_closed for one in bench.started)


def test_a_reference_that_is_lost_once_is_complete(bench: LocalBench, reporting: RunLog, made: Made) -> None:
    class LostOnce(dict[str, Exception]):
        def get(self, key: str, default: object = None) -> object:  # type: ignore[override]
            return LOST[key] if len(bench.started) == 1 else None

    bench.script.fails_opening = LostOnce()
    order = order_of(1)
    found = made(spec_of(order, data=DataSpec(rows="r.npz", label="label"))).get(order)
    assert found.outputs_path is not None
    assert found.scores is not None
    assert reporting.checks == []
