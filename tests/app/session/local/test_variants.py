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
from tests.fakes.local import LocalBench, SimulatedVariant, order_of, spec_of

PLAIN = PreparedModel("/models/m.onnx", "0" * 64, 10)
CACHED = replace(PLAIN, cached_model_path="/cache/kept")


class Bench(LocalBench):
    """A bench whose `fails` decides by the job whether a process fails to open the model."""

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

    def _start(self, what: str, job: VariantJob, environment: tuple[tuple[str, str], ...]) -> SimulatedVariant:
        self.script.open_errors = {what: MeasurementError("it cannot be kept")} if self.fails(job) else {}
        return super()._start(what, job, environment)


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    with RunWriter(tmp_path / "run") as store:
        yield Bench(store)


def test_each_cold_start_runs_in_its_own_process(bench: Bench) -> None:
    cold_starts = bench.cold_starts(3).measure(order_of(1), PLAIN)
    assert [start.is_cached for start in cold_starts] == [False] * 3
    assert [start.process_ms for start in cold_starts] == [50.0] * 3
    assert len(bench.started) == 3
    assert all(start.is_closed for start in bench.started)


def test_cold_starts_are_measured_once_for_all_batches_and_streams(bench: Bench) -> None:
    starts = bench.cold_starts(1)
    assert len(starts.measure(order_of(1), PLAIN)) == 1
    assert starts.measure(order_of(8, streams=2), PLAIN) == ()
    assert len(starts.measure(order_of(1), replace(PLAIN, path="/models/m-int8.onnx"))) == 1
    order = order_of(1, provider="cuda")
    for devices in (("0",), ("1",)):
        device_order = replace(order, variant=replace(order.variant, devices=devices))
        assert len(starts.measure(device_order, PLAIN)) == 1, devices


def test_no_cold_start_runs_if_none_is_requested(bench: Bench) -> None:
    assert bench.cold_starts(0).measure(order_of(1), CACHED) == ()
    assert bench.started == []


def test_engine_is_cached_in_a_folder_and_an_optimized_model_in_a_file(bench: Bench) -> None:
    starts = bench.cold_starts(1)
    starts.measure(order_of(1), CACHED)
    starts.measure(order_of(1, provider="tensorrt"), CACHED)
    cache_paths = [
        (process.job.settings.cached_model_path, process.job.settings.engine_folder) for process in bench.started
    ]
    cpu, tensorrt = cache_paths[:3], cache_paths[3:]
    assert cpu == [(None, None), ("/cache/kept", None), ("/cache/kept", None)]
    assert tensorrt == [(None, None), (None, "/cache/kept"), (None, "/cache/kept")]


def test_failure_to_cache_a_model_is_a_note(bench: Bench) -> None:
    bench.fails = lambda job: job.settings.cached_model_path is not None
    cold_starts = bench.cold_starts(2).measure(order_of(1), CACHED)
    assert [start.is_cached for start in cold_starts] == [False, False]
    (note,) = bench.reporting.notes
    assert "it cannot be kept" in note


def test_error_of_an_uncached_start_is_raised(bench: Bench) -> None:
    bench.fails = lambda _: True
    with pytest.raises(MeasurementError):
        bench.cold_starts(2).measure(order_of(1), PLAIN)
    assert [process.is_closed for process in bench.started] == [True]


def test_no_cold_start_runs_after_a_stop_request(bench: Bench) -> None:
    bench.interruption.request_stop(ExitCode.INTERRUPTED)
    assert bench.cold_starts(3).measure(order_of(1), CACHED) == ()
    assert bench.started == []
