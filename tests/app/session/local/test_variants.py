from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from msgspec.structs import replace

from app.errors import ExitCode, MeasurementError
from app.inference.job import VariantJob
from app.session.limits import LimitMonitor
from app.session.local.spec import PreparedModel
from app.session.local.variants import ColdStartMeasurer
from app.session.run_log import RunLog
from app.storage.run_directory import RunWriter
from tests.fakes.local import LocalBench, PlayedVariant, order_of, spec_of

PLAIN = PreparedModel("/models/m.onnx", "0" * 64, 10)
KEPT = replace(PLAIN, cached_model_path="/cache/kept")


class Bench(LocalBench):
    """Its `fails` decides by the job whether a process cannot open it."""

    fails: Callable[[VariantJob], bool] = staticmethod(lambda _: False)

    def __init__(self, store: RunWriter) -> None:
        super().__init__(store.directory)
        self.reporting = RunLog(self.events.append, self.clock)
        self._store = store

    def cold_starts(self, times: int) -> ColdStartMeasurer:
        spec = spec_of(order_of(1), cold_starts=times)
        return ColdStartMeasurer(
            spec,
            self.parts(self._store),
            self.reporting,
            LimitMonitor(spec.limits, self.clock.now_ns),
            self.interruption,
        )

    def _start(self, what: str, job: VariantJob, environment: tuple[tuple[str, str], ...]) -> PlayedVariant:
        self.script.fails_opening = {what: MeasurementError("it cannot be kept")} if self.fails(job) else {}
        return super()._start(what, job, environment)


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    with RunWriter(tmp_path / "run") as store:
        yield Bench(store)


def test_each_start_is_in_a_process_of_its_own(bench: Bench) -> None:
    found = bench.cold_starts(3).measure(order_of(1), PLAIN)
    assert [one.is_cached for one in found] == [False] * 3
    assert [one.process_ms for one in found] == [50.0] * 3
    assert len(bench.started) == 3
    assert all(one.is_closed for one in bench.started)


def test_batches_and_streams_start_alike_and_devices_and_files_do_not(bench: Bench) -> None:
    starts = bench.cold_starts(1)
    assert len(starts.measure(order_of(1), PLAIN)) == 1
    assert starts.measure(order_of(8, streams=2), PLAIN) == ()
    assert len(starts.measure(order_of(1), replace(PLAIN, path="/models/m-int8.onnx"))) == 1
    order = order_of(1, provider="cuda")
    for devices in (("0",), ("1",)):
        one = replace(order, variant=replace(order.variant, devices=devices))
        assert len(starts.measure(one, PLAIN)) == 1, devices


def test_none_asked_for_starts_nothing(bench: Bench) -> None:
    assert bench.cold_starts(0).measure(order_of(1), KEPT) == ()
    assert bench.started == []


def test_an_engine_is_kept_in_a_folder_and_an_optimised_model_in_a_file(bench: Bench) -> None:
    starts = bench.cold_starts(1)
    starts.measure(order_of(1), KEPT)
    starts.measure(order_of(1, provider="tensorrt"), KEPT)
    kept = [(one.job.settings.cached_model_path, one.job.settings.engine_folder) for one in bench.started]
    cpu, tensorrt = kept[:3], kept[3:]
    assert cpu == [(None, None), ("/cache/kept", None), ("/cache/kept", None)]
    assert tensorrt == [(None, None), (None, "/cache/kept"), (None, "/cache/kept")]


def test_what_cannot_be_kept_is_a_note(bench: Bench) -> None:
    bench.fails = lambda job: job.settings.cached_model_path is not None
    found = bench.cold_starts(2).measure(order_of(1), KEPT)
    assert [one.is_cached for one in found] == [False, False]
    (note,) = bench.reporting.notes
    assert "it cannot be kept" in note


def test_what_cannot_be_opened_is_raised(bench: Bench) -> None:
    bench.fails = lambda _: True
    with pytest.raises(MeasurementError):
        bench.cold_starts(2).measure(order_of(1), PLAIN)
    assert [one.is_closed for one in bench.started] == [True]


def test_no_more_are_started_once_the_user_stops(bench: Bench) -> None:
    bench.interruption.request_stop(ExitCode.INTERRUPTED)
    assert bench.cold_starts(3).measure(order_of(1), KEPT) == ()
    assert bench.started == []
