"""Capacity of a run's load generator: loaded from a stored calibration, measured, or reported by
the workers."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import msgspec

from app.records.calibration import LOAD_KINDS, Calibration, LoadKind
from app.session.calibration import measure_capacity
from app.session.dependencies import LoadGenerator, SessionDependencies
from app.session.interruption import Interruption
from loadgen.records import LoadWorker, WorkerStageResult
from loadgen.workloads import BatchWorkload, GrpcWorkload, LocustWorkload, OpenAiWorkload, Workload, list_workloads


class GeneratorCapacity(msgspec.Struct, frozen=True):
    """Maximum rates of all `workers` together: `per_s` in requests/s, and `chunks_per_s` in
    streamed chunks/s.

    A rate is `None` if it is unknown or not needed. `is_lower_bound` is true if at least one of the
    rates is a lower bound."""

    workers: int = 1
    per_s: float | None = None
    chunks_per_s: float | None = None
    is_lower_bound: bool = False

    def scale_to_connected_workers(self, workers: Sequence[WorkerStageResult]) -> GeneratorCapacity:
        """Return the capacity of the workers that are still connected after a stage.

        All workers are assumed to be equally fast. `workers` is empty for a single worker without a
        master."""
        connected_worker_count = sum(worker.lost_ns is None for worker in workers) if workers else self.workers
        if connected_worker_count == self.workers:
            return self
        connected_fraction = connected_worker_count / self.workers
        per_s, chunks_per_s = (
            None if rate is None else rate * connected_fraction for rate in (self.per_s, self.chunks_per_s)
        )
        return GeneratorCapacity(connected_worker_count, per_s, chunks_per_s, self.is_lower_bound)


def get_required_load_kinds(workload: Workload) -> tuple[LoadKind, ...]:
    """Return the kinds of load that the load generator must sustain for a workload; empty if a
    user's Locust test sends the load, or if it is a batch."""
    if isinstance(workload, LocustWorkload | BatchWorkload):
        return ()
    # Whether a gRPC method is streamed is known only after its descriptor has been read.
    is_streaming = isinstance(workload, GrpcWorkload) or any(
        isinstance(part, OpenAiWorkload) and part.stream and part.generates_text for part in list_workloads(workload)
    )
    return ("plain", "streaming") if is_streaming else ("plain",)


class CapacityFinder:
    """Finder that determines the capacity of the load generator once per run.

    New measurements are stored for later runs. The measurements used in this run are written to its
    run directory."""

    def __init__(self, dependencies: SessionDependencies, fingerprint: str, interruption: Interruption) -> None:
        self._dependencies, self._fingerprint, self._interruption = dependencies, fingerprint, interruption
        self.has_measured = False
        """True if a calibration has run, after which the load must be configured again."""

    def find(
        self,
        generator: LoadGenerator,
        workload: Workload,
        *,
        is_forced: bool,
        is_machine_busy: bool,
        on_measuring: Callable[[LoadKind], None],
    ) -> GeneratorCapacity:
        """Return the capacity of the load generator for a workload.

        The capacity is measured if no recent calibration exists or if `is_forced` is set. One that
        other processes disturbed is measured again unless the machine is still busy. If a worker
        runs on another machine, nothing is measured: the calibrated capacities of all workers are
        added. Raises the same errors as `measure_capacity`."""
        kinds, worker_count = get_required_load_kinds(workload), max(1, len(generator.workers))
        calibration = self._dependencies.load_calibration(self._fingerprint, self._dependencies.wall_now())
        if calibration is not None and not is_machine_busy:
            calibration = calibration.drop_disturbed()
        if any(not worker.is_local for worker in generator.workers):
            per_s, chunks_per_s = (
                _sum_worker_capacities(generator.workers, kind, calibration) if kind in kinds else None
                for kind in LOAD_KINDS
            )
            local_worker_count = sum(worker.is_local for worker in generator.workers)
            return GeneratorCapacity(
                worker_count, per_s, chunks_per_s, _has_lower_bound(calibration, kinds, local_worker_count)
            )
        missing_kinds = [
            kind
            for kind in kinds
            if is_forced or calibration is None or calibration.find_capacity(kind, worker_count) is None
        ]
        if missing_kinds:
            calibration = self._measure(generator, missing_kinds, calibration, on_measuring)
        if not kinds or calibration is None or self._interruption.is_requested:
            return GeneratorCapacity(worker_count)
        used_capacities = [
            capacity for kind in kinds if (capacity := calibration.find_capacity(kind, worker_count)) is not None
        ]
        self._dependencies.store.write_calibration(
            msgspec.structs.replace(calibration, capacities=tuple(used_capacities))
        )
        rates_by_kind = {capacity.kind: capacity.per_s for capacity in used_capacities}
        per_s, chunks_per_s = (rates_by_kind.get(kind) for kind in LOAD_KINDS)
        return GeneratorCapacity(worker_count, per_s, chunks_per_s, _has_lower_bound(calibration, kinds, worker_count))

    def _measure(
        self,
        generator: LoadGenerator,
        kinds: Sequence[LoadKind],
        calibration: Calibration | None,
        on_measuring: Callable[[LoadKind], None],
    ) -> Calibration | None:
        capacities = []
        for kind in kinds:
            self.has_measured = True
            on_measuring(kind)
            capacities.append(
                measure_capacity(
                    kind,
                    generator,
                    self._dependencies.start_null_server,
                    self._interruption,
                    self._dependencies.read_core_use,
                )
            )
            if self._interruption.is_requested:
                return None
        new_calibration = Calibration(
            capacities=tuple(capacities),
            measured_at=self._dependencies.wall_now().isoformat(timespec="seconds"),
            fingerprint=self._fingerprint,
            pacing=generator.pacing,
            event_loop=generator.event_loop,
        )
        self._dependencies.store_calibration(new_calibration)
        return new_calibration if calibration is None else calibration.merge(new_calibration)


def _has_lower_bound(calibration: Calibration | None, kinds: Sequence[LoadKind], worker_count: int) -> bool:
    capacities = [None if calibration is None else calibration.find_capacity(kind, worker_count) for kind in kinds]
    return any(capacity is not None and capacity.is_lower_bound for capacity in capacities)


def _sum_worker_capacities(
    workers: Sequence[LoadWorker], kind: LoadKind, calibration: Calibration | None
) -> float | None:
    """Return the sum of the calibrated capacities of all workers; `None` if the capacity of a
    worker is unknown.

    Workers on this machine may use the stored calibration of this machine. Nothing is measured,
    because not all workers can reach a null server."""
    remote_capacities = [_get_worker_capacity(worker, kind) for worker in workers if not worker.is_local]
    local_capacities = [_get_worker_capacity(worker, kind) for worker in workers if worker.is_local]
    if local_capacities and None in local_capacities:
        stored_capacity = None if calibration is None else calibration.find_capacity(kind, len(local_capacities))
        local_capacities = [None if stored_capacity is None else stored_capacity.per_s]
    total_per_s = 0.0
    for capacity_per_s in (*remote_capacities, *local_capacities):
        if capacity_per_s is None:
            return None
        total_per_s += capacity_per_s
    return total_per_s


def _get_worker_capacity(worker: LoadWorker, kind: LoadKind) -> float | None:
    return worker.capacity_per_s if kind == "plain" else worker.chunk_capacity_per_s
