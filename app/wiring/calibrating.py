"""Calibrate the load generator of this machine, for later runs and for lending load workers to runs
on other machines."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import partial

from app.errors import MeasurementError, UsageError
from app.profiles.problems import BadValueError
from app.profiles.units import parse_duration_s
from app.records.calibration import LOAD_KINDS, Calibration, CalibrationStep, LoadKind, MeasuredCapacity
from app.session.calibration import measure_capacity
from app.session.interruption import Interruption
from app.storage.calibrations import load_calibration, store_calibration
from app.telemetry.processes import read_core_use
from app.wiring.dependencies import get_utc_now
from app.wiring.machine import inspect_machine
from app.wiring.reference_server import NullServerProcess
from app.wiring.workers import DEFAULT_TOKEN_REFERENCE, count_usable_workers, parse_address, read_token, resolve_address
from loadgen.process import LoadError, LoadProcess
from loadgen.records import Gather, Join

OnStep = Callable[[LoadKind, int, CalibrationStep], None]


def list_worker_counts(cores: float | None = None) -> tuple[int, ...]:
    """Return the numbers of workers to calibrate: 1, 2, 4 and so on, up to one worker per available
    core. If `cores` is `None`, the available cores of this machine are counted."""
    max_workers = count_usable_workers(cores)
    return (*(2**exponent for exponent in range(max_workers.bit_length()) if 2**exponent < max_workers), max_workers)


def calibrate_machine(worker_counts: Sequence[int], interruption: Interruption, on_step: OnStep) -> Calibration:
    """Measure the capacity of the load generator for each number of workers and each kind of load.

    The calibration is stored unless it was interrupted. Results that other processes disturbed are
    not stored. Raises MeasurementError if the load workers fail.
    """
    environment, _ = inspect_machine()
    capacities: list[MeasuredCapacity] = []
    pacing = event_loop = ""
    for workers in worker_counts:
        if interruption.is_requested:
            break
        try:
            with LoadProcess(gather=Gather(local_workers=workers) if workers > 1 else None) as generator:
                interruption.set_stop_callback(generator.stop)
                pacing, event_loop = generator.pacing, generator.event_loop
                capacities += _measure_capacities(generator, workers, interruption, on_step)
        except LoadError as error:
            raise MeasurementError(error.message, hint=error.hint) from error
    calibration = Calibration(
        capacities=tuple(capacities),
        measured_at=get_utc_now().isoformat(timespec="seconds"),
        fingerprint=environment.fingerprint,
        pacing=pacing,
        event_loop=event_loop,
    )
    if not interruption.is_requested:
        store_calibration(calibration)
    return calibration


def _measure_capacities(
    generator: LoadProcess, workers: int, interruption: Interruption, on_step: OnStep
) -> Iterator[MeasuredCapacity]:
    for kind in LOAD_KINDS:
        on_capacity_step = partial(on_step, kind, workers)
        if not interruption.is_requested:
            yield measure_capacity(kind, generator, NullServerProcess, interruption, read_core_use, on_capacity_step)


_MAX_WAIT_S = 86_400.0


def parse_join_options(master: str, token_reference: str | None, wait: str) -> Join:
    """Parse the command-line options for workers that join a master. Raises UsageError for invalid
    options, and UnavailableError if the host name of the master cannot be resolved."""
    address = parse_address("--master", master)
    wait_s = _parse_wait_s(wait)
    token = read_token(token_reference or DEFAULT_TOKEN_REFERENCE)
    resolve_address("--master", address)
    return Join(address.host, address.port, token, wait_s)


def load_capacity_per_worker(workers: int) -> tuple[float | None, float | None]:
    """Return the calibrated capacity per worker for the given number of workers, in requests/s and
    streamed chunks/s; `None` if unknown. The call takes about one second."""
    environment, _ = inspect_machine()
    calibration = load_calibration(environment.fingerprint, get_utc_now())
    if calibration is None:
        return None, None
    calibration = calibration.drop_disturbed()
    return _compute_capacity_per_worker(
        calibration.find_capacity("plain", workers), workers
    ), _compute_capacity_per_worker(calibration.find_capacity("streaming", workers), workers)


def _compute_capacity_per_worker(capacity: MeasuredCapacity | None, workers: int) -> float | None:
    return None if capacity is None or capacity.per_s is None else capacity.per_s / workers


def _parse_wait_s(text: str) -> float:
    try:
        wait_s = parse_duration_s(text)
    except BadValueError as error:
        raise UsageError(f"--wait: {error}", hint=error.hint) from None
    if not 0 < wait_s <= _MAX_WAIT_S:
        raise UsageError("--wait must be greater than 0s and at most 1d")
    return wait_s
