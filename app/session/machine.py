"""What is read of this machine for a run: its facts once, its telemetry until the run ends.

Which of this machine's GPUs a variant's devices are.

What the GPUs draw with nothing to do, read before anything is measured: energy above that is the
model's.
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
from app.session.local.spec import LocalParts
from app.session.parts import Parts
from app.session.telling import Telling


def gpus_of(variant: Variant, gpus: Iterable[Gpu]) -> tuple[Gpu, ...]:
    """By index or UUID; the first where the variant names none. MIG instances are none of them: what NVML tells of the
    whole card is not theirs alone."""
    known = {gpu.index: gpu for gpu in gpus}
    hashes = {gpu.uuid_hash: gpu for gpu in known.values() if gpu.uuid_hash is not None}
    found = (
        known.get(int(device)) if device.isdecimal() else hashes.get(uuid_hash(device))
        for device in variant.devices or ("0",)
    )
    return tuple(gpu for gpu in found if gpu is not None)


def uuid_hash(uuid: str) -> str:
    """As environments keep it."""
    return hashlib.sha256(uuid.encode()).hexdigest()[:12]


_IDLE_S = 2.0


def stand_idle(telling: Telling, now_ns: Callable[[], int], pause: Callable[[float], None]) -> Window:
    """Telemetry must be running. An endpoint that is up already may hold memory, and is taken to wait."""
    telling.phase("idle", "reading what the GPUs draw with nothing to do")
    start_ns = now_ns()
    pause(_IDLE_S)
    return Window(start_ns, now_ns())


class MachineMonitor:
    """Batches come from the telemetry's thread; all else is the session's."""

    def __init__(self, parts: Parts | LocalParts, telling: Telling, earlier: pa.Table | None = None) -> None:
        """`earlier` are the readings of a run that is resumed."""
        self._parts, self._telling = parts, telling
        self._batches: list[pa.RecordBatch] = [] if earlier is None else earlier.to_batches()

    def inspect(self) -> Environment:
        self._telling.phase("doctor", "looking at this machine")
        environment, checks = self._parts.inspect_machine()
        self._parts.store.write_environment(environment)
        for check in checks:
            self._telling.check(check)
        return environment

    def start(self, running: ExitStack) -> None:
        """It is closed with `running`. To be called before `inspect`, which takes a second: whoever watches has then
        something to see from the first."""

        def keep(batch: pa.RecordBatch) -> None:
            self._batches.append(batch)
            self._parts.store.append_telemetry(batch)

        self._parts.telemetry.start(keep)
        self._parts.telemetry.watch("engine", os.getpid())
        running.callback(self._close)

    def with_selftest(self, result: Result) -> Result:
        """With what is known of the instrument on this machine."""
        found = self._parts.load_selftest(result.environment.fingerprint)
        return result if found is None else replace(result, selftest=found.mark())

    def telemetry(self) -> pd.DataFrame:
        """All that was read; complete once `running` is closed."""
        readings: pd.DataFrame = pa.Table.from_batches(self._batches, TELEMETRY_SCHEMA).to_pandas()
        return readings

    def _close(self) -> None:
        try:
            self._parts.telemetry.close()
        except Exception as error:  # whatever befell the sampler, the run was measured
            check = Check("telemetry", f"ended early: {error}", None, None, "WARN", "Utilisation is incomplete.")
            self._telling.check(check)
