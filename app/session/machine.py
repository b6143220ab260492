"""Collect metadata and telemetry of this machine for a run.

Also map the devices of a variant to the GPUs of this machine, and measure the idle power of the
GPUs before any load. Only the energy above the idle power is attributed to the model."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterable
from contextlib import ExitStack
from typing import TYPE_CHECKING

import pyarrow as pa
from msgspec.structs import replace

from app.records.estimate import Variant
from app.records.result import Check, Environment, Gpu, Result, Window
from app.records.telemetry import TELEMETRY_SCHEMA
from app.session.dependencies import SessionDependencies
from app.session.local.spec import LocalDependencies
from app.session.run_log import RunLog

if TYPE_CHECKING:
    import pandas as pd


def find_gpus(variant: Variant, gpus: Iterable[Gpu]) -> tuple[Gpu, ...]:
    """Return the GPUs whose index or UUID is among the devices of a variant; the first GPU if the
    variant specifies no device.

    MIG instances are excluded, because NVML reports values of the whole GPU, which several
    instances share."""
    gpus_by_index = {gpu.index: gpu for gpu in gpus}
    gpus_by_uuid_hash = {gpu.uuid_hash: gpu for gpu in gpus_by_index.values() if gpu.uuid_hash is not None}
    matches = (
        gpus_by_index.get(int(device)) if device.isdecimal() else gpus_by_uuid_hash.get(hash_uuid(device))
        for device in variant.devices or ("0",)
    )
    return tuple(gpu for gpu in matches if gpu is not None)


def hash_uuid(uuid: str) -> str:
    """Return the first 12 hex digits of the SHA-256 hash of a GPU's UUID, as stored in
    environments."""
    return hashlib.sha256(uuid.encode()).hexdigest()[:12]


_IDLE_DURATION_S = 2.0


def measure_idle_window(run_log: RunLog, now_ns: Callable[[], int], pause: Callable[[float], None]) -> Window:
    """Wait for two seconds while the GPUs are idle, and return this time window, from which their
    idle power can be computed.

    Telemetry must be running. An endpoint that is already running may occupy GPU memory, and is
    assumed to be idle."""
    run_log.emit_phase("idle", "measuring the idle power of the GPUs")
    start_ns = now_ns()
    pause(_IDLE_DURATION_S)
    return Window(start_ns, now_ns())


class MachineMonitor:
    """Monitor that collects metadata and telemetry of this machine.

    Telemetry batches arrive from the telemetry thread. All methods are called from the session's
    thread."""

    def __init__(
        self,
        dependencies: SessionDependencies | LocalDependencies,
        run_log: RunLog,
        earlier_telemetry: pa.Table | None = None,
    ) -> None:
        """Create the monitor. `earlier_telemetry` contains the stored samples of a run that is
        being resumed."""
        self._dependencies, self._run_log = dependencies, run_log
        self._batches: list[pa.RecordBatch] = [] if earlier_telemetry is None else earlier_telemetry.to_batches()
        self.is_busy = False
        """Whether other processes were using the CPU when the machine was inspected."""

    def inspect(self) -> Environment:
        self._run_log.emit_phase("doctor", "checking this machine")
        environment, checks = self._dependencies.inspect_machine()
        self._dependencies.store.write_environment(environment)
        for check in checks:
            self._run_log.add_check(check)
        self.is_busy = any(check.id == "other_load" and check.verdict != "VALID" for check in checks)
        return environment

    def start(self, resources: ExitStack) -> None:
        """Start telemetry, and register it with `resources`, which closes it.

        Telemetry must start before `inspect`, which takes a second, so that live views have data
        from the start."""

        def store_batch(batch: pa.RecordBatch) -> None:
            self._batches.append(batch)
            self._dependencies.store.append_telemetry(batch)

        self._dependencies.telemetry.start(store_batch)
        self._dependencies.telemetry.watch("engine", os.getpid())
        resources.callback(self._close)

    def add_selftest(self, result: Result) -> Result:
        """Return the result with a summary of this machine's last self-test; the unchanged result
        if there is no self-test."""
        selftest = self._dependencies.load_selftest(result.environment.fingerprint)
        return result if selftest is None else replace(result, selftest=selftest.summarize())

    def get_telemetry(self) -> pd.DataFrame:
        """Return the telemetry samples received so far. They are complete once the resources of the
        run are closed."""
        samples: pd.DataFrame = pa.Table.from_batches(self._batches, TELEMETRY_SCHEMA).to_pandas()
        return samples

    def _close(self) -> None:
        try:
            self._dependencies.telemetry.close()
        except Exception as error:  # A failure of the sampler does not invalidate the measurement.
            check = Check("telemetry", f"ended early: {error}", None, None, "WARN", "Utilization data is incomplete.")
            self._run_log.add_check(check)
