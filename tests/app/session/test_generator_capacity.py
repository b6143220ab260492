from __future__ import annotations

from pathlib import Path

import pytest
from msgspec.structs import replace

from app.records.calibration import Calibration, LoadKind
from app.records.events import PhaseChanged
from app.session.generator_capacity import CapacityFinder, GeneratorCapacity, get_required_load_kinds
from app.session.interruption import Interruption
from app.storage.run_directory import RunWriter
from app.telemetry.machine_checks import MachineLoad, evaluate_machine
from loadgen.records import LoadWorker, WorkerStageResult
from loadgen.workloads import (
    BatchWorkload,
    FixedLength,
    GrpcWorkload,
    HttpWorkload,
    LocustWorkload,
    OipWorkload,
    OpenAiWorkload,
    SyntheticPrompts,
    Workload,
)
from tests.fakes.bench import SPEC, Bench
from tests.fakes.clock import FakeClock
from tests.fakes.generator import FakeMachine, LimitedLoad, null_servers
from tests.fakes.load import ScriptedLoad
from tests.fakes.session_dependencies import CALIBRATION, ENVIRONMENT, fake_dependencies

CHAT = OpenAiWorkload("chat", "m", SyntheticPrompts(FixedLength(5)))


def worker(index: int, *, is_local: bool, per_s: float | None = None, chunks: float | None = None) -> LoadWorker:
    return LoadWorker(index, "a", index, is_local, per_s, chunks)


class CapacitySearch:
    """The generator capacity that a run determines, and what it measured and stored for that."""

    def __init__(
        self,
        directory: Path,
        workload: Workload,
        *,
        workers: tuple[LoadWorker, ...] = (),
        stored: Calibration | None = CALIBRATION,
        again: bool = False,
        others: float = 0.0,
        is_busy: bool = False,
    ) -> None:
        self.measured: list[LoadKind] = []
        self.stored: list[Calibration] = []
        clock = FakeClock()
        self.servers, start = null_servers()
        with RunWriter(directory) as store:
            dependencies = fake_dependencies(
                clock,
                ScriptedLoad(clock),
                store,
                calibration=stored,
                start_null_server=start,
                store_calibration=self.stored.append,
                read_core_use=FakeMachine(others),
            )
            self.finder = CapacityFinder(dependencies, "f", Interruption())
            load = LimitedLoad(25_000.0, 50_000.0, workers=workers)
            self.capacity = self.finder.find(
                load, workload, is_forced=again, is_machine_busy=is_busy, on_measuring=self.measured.append
            )
        self.file = directory / "calibration.json"


@pytest.fixture
def run(tmp_path: Path) -> Path:
    return tmp_path / "run"


@pytest.mark.parametrize(
    ("workload", "kinds"),
    [
        (HttpWorkload(), ("plain",)),
        (CHAT, ("plain", "streaming")),
        (replace(CHAT, stream=False), ("plain",)),
        (replace(CHAT, api="messages"), ("plain", "streaming")),
        (replace(CHAT, api="embeddings"), ("plain",)),
        (OipWorkload("m", transport="grpc-stream"), ("plain",)),
        (LocustWorkload("file.py"), ()),
        (GrpcWorkload("a/b"), ("plain", "streaming")),
        (BatchWorkload(CHAT), ()),
    ],
)
def test_workload_determines_the_required_load_kinds(workload: Workload, kinds: tuple[LoadKind, ...]) -> None:
    assert get_required_load_kinds(workload) == kinds


def test_stored_calibration_is_not_measured_again(run: Path) -> None:
    search = CapacitySearch(run, CHAT)
    assert search.capacity == GeneratorCapacity(1, 20_000.0, 40_000.0)
    assert not search.measured
    assert not search.finder.has_measured
    assert "streaming" in search.file.read_text()


def test_run_stores_only_the_capacities_that_it_needs(run: Path) -> None:
    search = CapacitySearch(run, HttpWorkload())
    assert search.capacity == GeneratorCapacity(1, 20_000.0)
    assert "streaming" not in search.file.read_text()


def test_only_missing_capacities_are_measured(run: Path) -> None:
    plain_only = replace(CALIBRATION, capacities=CALIBRATION.capacities[:1])
    search = CapacitySearch(run, CHAT, stored=plain_only)
    assert search.measured == ["streaming"]
    assert search.finder.has_measured
    assert search.capacity.per_s == 20_000.0
    assert search.capacity.chunks_per_s == pytest.approx(45_255, rel=0.1)
    (stored,) = search.stored
    assert [(capacity.kind, capacity.workers) for capacity in stored.capacities] == [("streaming", 1)]


def test_generator_capacity_is_measured_for_each_number_of_workers(run: Path) -> None:
    three = tuple(worker(index, is_local=True) for index in range(3))
    search = CapacitySearch(run, HttpWorkload(), workers=three)
    assert search.measured == ["plain"]
    assert search.capacity.workers == 3


@pytest.mark.parametrize("stored", [CALIBRATION, None])
def test_generator_capacity_is_measured_again_if_forced(run: Path, stored: Calibration | None) -> None:
    search = CapacitySearch(run, HttpWorkload(), stored=stored, again=True)
    assert search.measured == ["plain"]
    assert search.capacity.per_s == pytest.approx(22_627, rel=0.02)


def test_locust_test_has_no_generator_capacity(run: Path) -> None:
    search = CapacitySearch(run, LocustWorkload("file.py"), stored=None)
    assert (search.capacity, search.measured, search.file.exists()) == (GeneratorCapacity(), [], False)


def test_capacity_of_remote_workers_is_the_sum_of_their_reported_capacities(run: Path) -> None:
    workers = (worker(0, is_local=False, per_s=9_000.0, chunks=20_000.0), worker(1, is_local=False, per_s=8_000.0))
    search = CapacitySearch(run, CHAT, workers=workers)
    assert search.capacity == GeneratorCapacity(2, 17_000.0, None), "one worker reports no chunk rate"
    assert not search.measured


def test_capacities_of_local_and_remote_workers_are_added(run: Path) -> None:
    here = (worker(0, is_local=True), worker(1, is_local=True))
    away = worker(2, is_local=False, per_s=9_000.0, chunks=20_000.0)
    assert CapacitySearch(run, CHAT, workers=(*here, away)).capacity == GeneratorCapacity(3, 29_000.0, 60_000.0)


def test_total_capacity_is_unknown_without_a_local_calibration(run: Path) -> None:
    workers = (worker(0, is_local=True), worker(1, is_local=False, per_s=9_000.0))
    search = CapacitySearch(run, HttpWorkload(), workers=workers, stored=None)
    assert search.capacity == GeneratorCapacity(2, None)
    assert not search.servers


def test_capacity_is_scaled_to_the_workers_that_are_still_connected() -> None:
    def part(index: int, lost_ns: int | None = None) -> WorkerStageResult:
        return WorkerStageResult(index, "a", index, 0.1, 10, 0.1, lost_ns=lost_ns)

    four = GeneratorCapacity(4, 40_000.0)
    assert four.scale_to_connected_workers([part(index) for index in range(4)]) == four
    assert four.scale_to_connected_workers([part(0), part(1), part(2), part(3, lost_ns=5)]) == GeneratorCapacity(
        3, 30_000.0
    )
    assert GeneratorCapacity(1, 9.0, 8.0).scale_to_connected_workers(()) == GeneratorCapacity(1, 9.0, 8.0)
    lower_bound = GeneratorCapacity(4, 40_000.0, is_lower_bound=True)
    assert lower_bound.scale_to_connected_workers([part(0), part(1, lost_ns=5), part(2), part(3)]).is_lower_bound


def test_capacity_measured_on_a_busy_machine_is_a_lower_bound(run: Path) -> None:
    search = CapacitySearch(run, HttpWorkload(), stored=None, others=1.5)
    assert search.capacity.per_s == pytest.approx(22_627, rel=0.02)
    assert search.capacity.is_lower_bound
    (capacity_record,) = search.stored[0].capacities
    assert capacity_record.disturbed_by_cores == pytest.approx(1.5)
    assert '"disturbed_by_cores": 1.' in search.file.read_text()
    assert not CapacitySearch(run.with_name("quiet"), HttpWorkload(), stored=None).capacity.is_lower_bound


@pytest.mark.parametrize(("is_busy", "measured"), [(True, []), (False, ["plain"])], ids=["busy", "quiet"])
def test_disturbed_capacity_is_reused_while_busy_and_measured_again_on_a_quiet_machine(
    run: Path, is_busy: bool, measured: list[LoadKind]
) -> None:
    first = CapacitySearch(run, HttpWorkload(), stored=None, others=1.5, is_busy=True)
    next_run = CapacitySearch(run.with_name("next"), HttpWorkload(), stored=first.stored[0], is_busy=is_busy)
    assert next_run.measured == measured
    assert next_run.capacity.is_lower_bound is is_busy


def test_single_lower_bound_makes_all_required_capacities_a_lower_bound(run: Path) -> None:
    plain, streaming = (CALIBRATION.find_capacity(kind, 1) for kind in ("plain", "streaming"))
    assert plain is not None
    assert streaming is not None
    calibration = replace(CALIBRATION, capacities=(plain, replace(streaming, is_lower_bound=True)))
    assert CapacitySearch(run, CHAT, stored=calibration).capacity == GeneratorCapacity(
        1, 20_000.0, 40_000.0, is_lower_bound=True
    )
    assert CapacitySearch(run.with_name("plain"), HttpWorkload(), stored=calibration).capacity == GeneratorCapacity(
        1, 20_000.0
    )


def test_local_lower_bound_makes_the_sum_a_lower_bound(run: Path) -> None:
    two = CALIBRATION.find_capacity("plain", 2)
    assert two is not None
    calibration = replace(CALIBRATION, capacities=(replace(two, is_lower_bound=True),))
    here = (worker(0, is_local=True), worker(1, is_local=True))
    search = CapacitySearch(
        run, HttpWorkload(), workers=(*here, worker(2, is_local=False, per_s=9_000.0)), stored=calibration
    )
    assert search.capacity == GeneratorCapacity(3, 29_000.0, is_lower_bound=True)


@pytest.mark.parametrize("used_cores", [0.1, 1.9])
def test_machine_inspection_decides_whether_the_capacity_is_calibrated_again(run: Path, used_cores: float) -> None:
    calibration = replace(
        CALIBRATION, capacities=tuple(replace(capacity, disturbed_by_cores=1.5) for capacity in CALIBRATION.capacities)
    )
    checks = evaluate_machine(ENVIRONMENT, MachineLoad(used_cores, 8.0))
    bench = Bench(run)
    bench.run(SPEC, calibration=calibration, checks=checks, start_null_server=null_servers()[1])
    assert ("calibrate" in {event.phase for event in bench.reported(PhaseChanged)}) == (used_cores < 0.3)
