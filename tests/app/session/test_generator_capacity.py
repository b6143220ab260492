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
from tests.fakes.parts import CALIBRATION, ENVIRONMENT, fake_parts

CHAT = OpenAiWorkload("chat", "m", SyntheticPrompts(FixedLength(5)))


def worker(index: int, *, is_local: bool, per_s: float | None = None, chunks: float | None = None) -> LoadWorker:
    return LoadWorker(index, "a", index, is_local, per_s, chunks)


class Found:
    """What a run gets to know, and what it measured and stored for that."""

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
            parts = fake_parts(
                clock,
                ScriptedLoad(clock),
                store,
                calibration=stored,
                start_null_server=start,
                store_calibration=self.stored.append,
                read_core_use=FakeMachine(others),
            )
            self.finder = CapacityFinder(parts, "f", Interruption())
            load = LimitedLoad(25_000.0, 50_000.0, workers=workers)
            self.ceilings = self.finder.find(
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
def test_what_a_workload_makes_use_of(workload: Workload, kinds: tuple[LoadKind, ...]) -> None:
    assert get_required_load_kinds(workload) == kinds


def test_what_is_stored_is_not_measured_again(run: Path) -> None:
    found = Found(run, CHAT)
    assert found.ceilings == GeneratorCapacity(1, 20_000.0, 40_000.0)
    assert not found.measured
    assert not found.finder.has_measured
    assert "streaming" in found.file.read_text()


def test_a_run_keeps_only_the_ceilings_it_needs(run: Path) -> None:
    found = Found(run, HttpWorkload())
    assert found.ceilings == GeneratorCapacity(1, 20_000.0)
    assert "streaming" not in found.file.read_text()


def test_only_what_is_missing_is_measured(run: Path) -> None:
    plain_only = replace(CALIBRATION, capacities=CALIBRATION.capacities[:1])
    found = Found(run, CHAT, stored=plain_only)
    assert found.measured == ["streaming"]
    assert found.finder.has_measured
    assert found.ceilings.per_s == 20_000.0
    assert found.ceilings.chunks_per_s == pytest.approx(45_255, rel=0.1)
    (stored,) = found.stored
    assert [(one.kind, one.workers) for one in stored.capacities] == [("streaming", 1)]


def test_another_number_of_workers_is_another_ceiling(run: Path) -> None:
    three = tuple(worker(index, is_local=True) for index in range(3))
    found = Found(run, HttpWorkload(), workers=three)
    assert found.measured == ["plain"]
    assert found.ceilings.workers == 3


@pytest.mark.parametrize("stored", [CALIBRATION, None])
def test_it_is_measured_again_when_asked_for(run: Path, stored: Calibration | None) -> None:
    found = Found(run, HttpWorkload(), stored=stored, again=True)
    assert found.measured == ["plain"]
    assert found.ceilings.per_s == pytest.approx(22_627, rel=0.02)


def test_a_locust_test_has_none(run: Path) -> None:
    found = Found(run, LocustWorkload("file.py"), stored=None)
    assert (found.ceilings, found.measured, found.file.exists()) == (GeneratorCapacity(), [], False)


def test_of_other_machines_it_is_what_their_workers_report_together(run: Path) -> None:
    workers = (worker(0, is_local=False, per_s=9_000.0, chunks=20_000.0), worker(1, is_local=False, per_s=8_000.0))
    found = Found(run, CHAT, workers=workers)
    assert found.ceilings == GeneratorCapacity(2, 17_000.0, None), "one does not tell how many chunks it can read"
    assert not found.measured


def test_workers_here_and_elsewhere_add_up(run: Path) -> None:
    here = (worker(0, is_local=True), worker(1, is_local=True))
    away = worker(2, is_local=False, per_s=9_000.0, chunks=20_000.0)
    assert Found(run, CHAT, workers=(*here, away)).ceilings == GeneratorCapacity(3, 29_000.0, 60_000.0)


def test_without_a_calibration_of_this_machine_the_sum_is_not_known(run: Path) -> None:
    workers = (worker(0, is_local=True), worker(1, is_local=False, per_s=9_000.0))
    found = Found(run, HttpWorkload(), workers=workers, stored=None)
    assert found.ceilings == GeneratorCapacity(2, None)
    assert not found.servers


def test_what_is_left_after_a_loss_can_send_less() -> None:
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


def test_what_a_busy_machine_showed_is_good_for_this_run_as_a_lower_bound(run: Path) -> None:
    found = Found(run, HttpWorkload(), stored=None, others=1.5)
    assert found.ceilings.per_s == pytest.approx(22_627, rel=0.02)
    assert found.ceilings.is_lower_bound
    (ceiling,) = found.stored[0].capacities
    assert ceiling.disturbed_by_cores == pytest.approx(1.5)
    assert '"disturbed_by_cores": 1.' in found.file.read_text()
    assert not Found(run.with_name("quiet"), HttpWorkload(), stored=None).ceilings.is_lower_bound


@pytest.mark.parametrize(("is_busy", "measured"), [(True, []), (False, ["plain"])], ids=["busy", "quiet"])
def test_a_busy_machine_is_calibrated_once_and_a_quiet_one_again(
    run: Path, is_busy: bool, measured: list[LoadKind]
) -> None:
    first = Found(run, HttpWorkload(), stored=None, others=1.5, is_busy=True)
    next_run = Found(run.with_name("next"), HttpWorkload(), stored=first.stored[0], is_busy=is_busy)
    assert next_run.measured == measured
    assert next_run.ceilings.is_lower_bound is is_busy


def test_one_lower_bound_of_two_makes_both_together_one(run: Path) -> None:
    plain, streaming = (CALIBRATION.find_capacity(kind, 1) for kind in ("plain", "streaming"))
    assert plain is not None
    assert streaming is not None
    known = replace(CALIBRATION, capacities=(plain, replace(streaming, is_lower_bound=True)))
    assert Found(run, CHAT, stored=known).ceilings == GeneratorCapacity(1, 20_000.0, 40_000.0, is_lower_bound=True)
    assert Found(run.with_name("plain"), HttpWorkload(), stored=known).ceilings == GeneratorCapacity(1, 20_000.0)


def test_a_lower_bound_here_is_one_of_the_sum(run: Path) -> None:
    two = CALIBRATION.find_capacity("plain", 2)
    assert two is not None
    known = replace(CALIBRATION, capacities=(replace(two, is_lower_bound=True),))
    here = (worker(0, is_local=True), worker(1, is_local=True))
    found = Found(run, HttpWorkload(), workers=(*here, worker(2, is_local=False, per_s=9_000.0)), stored=known)
    assert found.ceilings == GeneratorCapacity(3, 29_000.0, is_lower_bound=True)


@pytest.mark.parametrize("used_cores", [0.1, 1.9])
def test_the_machine_is_busy_if_other_processes_used_the_cpu_at_its_inspection(run: Path, used_cores: float) -> None:
    calibration = replace(
        CALIBRATION, capacities=tuple(replace(one, disturbed_by_cores=1.5) for one in CALIBRATION.capacities)
    )
    busy = evaluate_machine(ENVIRONMENT, MachineLoad(used_cores, 8.0))
    bench = Bench(run)
    bench.run(SPEC, calibration=calibration, checks=busy, start_null_server=null_servers()[1])
    assert ("calibrate" in {event.phase for event in bench.reported(PhaseChanged)}) == (used_cores < 0.3)
