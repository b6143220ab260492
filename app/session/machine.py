"""Readings of this machine for a run: metadata once, and telemetry until the run ends.

Also maps the devices of a variant to this machine's GPUs, and measures the idle power of the GPUs before anything else:
only energy above it is attributed to the model.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterable
from contextlib import ExitStack

import pandas as pd
import pyarrow as pa
from msgspec.structs import replace

from app.records.estimate import Variant
from app.records.result import Check, Environment, Gpu, Result, Window
from app.records.telemetry import TELEMETRY_SCHEMA
from app.session.dependencies import SessionDependencies
from app.session.local.spec import LocalDependencies
from app.session.run_log import RunLog


def find_gpus(variant: Variant, gpus: Iterable[Gpu]) -> tuple[Gpu, ...]:
    """Return the GPUs of a variant, by index or UUID; the first GPU if the variant names none.

    MIG instances are excluded: NVML reports values of the whole card, which other instances share.
    """
    by_index = {gpu.index: gpu for gpu in gpus}
    by_uuid_hash = {gpu.uuid_hash: gpu for gpu in by_index.values() if gpu.uuid_hash is not None}
    matches = (
        by_index.get(int(device)) if device.isdecimal() else by_uuid_hash.get(hash_uuid(device))
        for device in variant.devices or ("0",)
    )
    return tuple(gpu for gpu in matches if gpu is not None)


def hash_uuid(uuid: str) -> str:
    """Return the first 12 hex digits of the UUID's SHA-256, the form in which environments store it."""
    return hashlib.sha256(uuid.encode()).hexdigest()[:12]


_IDLE_S = 2.0


def measure_idle_baseline(run_log: RunLog, now_ns: Callable[[], int], pause: Callable[[float], None]) -> Window:
    """Measure the GPUs' idle baseline and return its time window.

    Telemetry must be running. An endpoint that is already up may hold GPU memory, and is assumed to be idle.
    """
    run_log.emit_phase("idle", "measuring the idle power of the GPUs")
    start_ns = now_ns()
    pause(_IDLE_S)
    return Window(start_ns, now_ns())


class MachineMonitor:
    """Collects the machine's metadata and telemetry.

    Batches arrive from the telemetry thread; everything else belongs to the session's thread.
    """

    def __init__(
        self, parts: SessionDependencies | LocalDependencies, telling: RunLog, earlier_telemetry: pa.Table | None = None
    ) -> None:
        """`earlier_telemetry` holds the readings of a run that is being resumed."""
        self._parts, self._telling = parts, telling
        self._batches: list[pa.RecordBatch] = [] if earlier_telemetry is None else earlier_telemetry.to_batches()

    def inspect(self) -> Environment:
        self._telling.emit_phase("doctor", "checking this machine")
        environment, checks = self._parts.inspect_machine()
        self._parts.store.write_environment(environment)
        for check in checks:
            self._telling.add_check(check)
        return environment

    def start(self, running: ExitStack) -> None:
        """Start telemetry, to be closed with `running`.

        Call it before `inspect`, which takes a second, so that live views have data from the start.
        """

        def store_batch(batch: pa.RecordBatch) -> None:
            self._batches.append(batch)
            self._parts.store.append_telemetry(batch)

        self._parts.telemetry.start(store_batch)
        self._parts.telemetry.watch("engine", os.getpid())
        running.callback(self._close)

    def with_selftest(self, result: Result) -> Result:
        """Return the result with the self-test stored for this machine, if there is one."""
        selftest = self._parts.load_selftest(result.environment.fingerprint)
        return result if selftest is None else replace(result, selftest=selftest.summarize())

    def telemetry(self) -> pd.DataFrame:
        """Return all readings; complete once `running` is closed."""
        readings: pd.DataFrame = pa.Table.from_batches(self._batches, TELEMETRY_SCHEMA).to_pandas()
        return readings

    def _close(self) -> None:
        try:
            self._parts.telemetry.close()
        except Exception as error:  # A failure of the sampler does not invalidate the measurement.
            check = Check("telemetry", f"ended early: {error}", None, None, "WARN", "Utilization data is incomplete.")
            self._telling.add_check(check)
