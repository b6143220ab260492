"""The servers that a generator's ceiling is found on."""

from __future__ import annotations

from app.records.calibration import LoadKind
from app.telemetry.processes import cpu_s_of
from app.wiring.reference_server import ReferenceServer

_MODULES: dict[LoadKind, str] = {"plain": "loadgen.reference.null", "streaming": "loadgen.reference.null_streams"}


class NullServerProcess(ReferenceServer):
    """Up when the constructor returns, which raises InstrumentError when it does not come up."""

    def __init__(self, kind: LoadKind) -> None:
        super().__init__(_MODULES[kind])

    def cpu_s(self) -> float | None:
        return cpu_s_of(self.pid)
