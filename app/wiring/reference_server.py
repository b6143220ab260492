"""Run the servers of `loadgen.reference` in child processes, each on a free loopback port: null
servers for calibration, and the scripted server of a profile."""

from __future__ import annotations

import subprocess
import tempfile
from pathlib import Path

import msgspec

from app.errors import MeasurementError
from app.records.calibration import LoadKind
from app.telemetry.processes import read_cpu_s
from loadgen.child import ChildExit, start_module, wait_or_kill
from loadgen.reference.script import (
    MockProtocol,
    Reply,
    Script,
)

_EXIT_LIMIT_S = 2.0


class ReferenceServer:
    """A reference server in a child process. When the constructor returns, the server accepts
    requests. `path` is appended to the URL of the server.

    The constructor raises MeasurementError if the server does not start.
    """

    def __init__(self, module: str, *arguments: str, path: str = "/") -> None:
        self._child = start_module(module, *arguments, stdout=subprocess.PIPE)
        assert self._child.stdout is not None
        port = self._child.stdout.readline().strip()
        if not port.isdigit():
            self.close()
            raise MeasurementError(f"the server {module} did not start", hint="Check the output of the server above.")
        self.pid = self._child.pid
        self._child_exit = ChildExit(self._child)
        self.url = f"http://127.0.0.1:{int(port)}{path}"

    def end_reason(self) -> str | None:
        """Return how the server ended; `None` while the server is running."""
        return self._child_exit.describe()

    def close(self) -> None:
        assert self._child.stdin is not None
        assert self._child.stdout is not None
        self._child.stdin.close()
        wait_or_kill(_EXIT_LIMIT_S, self._child)
        self._child.stdout.close()


_MODULES: dict[LoadKind, str] = {"plain": "loadgen.reference.null", "streaming": "loadgen.reference.null_streams"}


class NullServerProcess(ReferenceServer):
    """A null server in a child process. The constructor raises MeasurementError if the server does
    not start."""

    def __init__(self, kind: LoadKind) -> None:
        super().__init__(_MODULES[kind])

    def cpu_s(self) -> float | None:
        return read_cpu_s(self.pid)


SCRIPTED_NOTE = (
    "The target was a scripted server with known response times. The results are those of the script, not of a model."
)


def start_scripted(mock_protocol: MockProtocol) -> ReferenceServer:
    """Start the scripted server of a profile. Raises MeasurementError if the server does not
    start."""
    with tempfile.TemporaryDirectory(prefix="sizewise-") as folder:
        script = Path(folder) / "script.json"
        script.write_bytes(msgspec.json.encode(Script(reply=Reply(404), protocols=(mock_protocol,))))
        return ReferenceServer("loadgen.reference.scripted", "--script", str(script), path=mock_protocol.base_path)
