"""The endpoint as a child process, from the side that starts it."""

from __future__ import annotations

import subprocess
import tempfile
import threading
from types import TracebackType

import msgspec

from app.errors import UnavailableError
from app.inference.parent import error_told
from app.serving.arguments import command_line
from app.serving.settings import EndpointReady, ServingSettings
from loadgen.child import Ending, end_within, start_module
from loadgen.decoding import decode_json

_STOP_LIMIT_S = 12.0
"""More than the endpoint gives itself to drain."""


class EndpointProcess:
    """Serves between entering and leaving. `stop` may be called at any time, and more than once."""

    def __init__(self, settings: ServingSettings, *, start_limit_s: float = 60.0) -> None:
        self._settings = msgspec.structs.replace(settings, leave_with_stdin=True)
        self._start_limit_s = start_limit_s
        self._process: subprocess.Popen[bytes] | None = None
        self._ending: Ending | None = None
        self._ready: EndpointReady | None = None
        self._is_overdue = False

    def __enter__(self) -> EndpointProcess:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.stop()

    @property
    def ready(self) -> EndpointReady:
        assert self._ready is not None, "the endpoint is not started"
        return self._ready

    @property
    def pid(self) -> int:
        return self.ready.pid

    def start(self) -> None:
        """Returns when the endpoint answers. Raises the error it told, or UnavailableError when it was not ready."""
        with tempfile.TemporaryFile() as errors:
            arguments = command_line(self._settings)
            process = start_module("app.serving", *arguments, stdout=subprocess.PIPE, stderr=errors)
            self._process, self._ending = process, Ending(process)
            line = self._first_line(process)
            if line.endswith(b"\n"):
                self._ready = decode_json(line, EndpointReady)
                return
            code = self.stop()
            errors.seek(0)
            text = errors.read().decode(errors="replace")
        what = f"the endpoint of {self._settings.model}"
        if self._is_overdue:
            raise UnavailableError(f"{what} was not ready within {self._start_limit_s:g} s")
        raise error_told(what, code, text)

    def ending(self) -> str | None:
        """How the endpoint's process ended; None while it runs, and before it was started."""
        return None if self._ending is None else self._ending.how()

    def stop(self) -> int:
        """Lets it answer what waits, then ends it; the exit code, 0 when it was never started."""
        process = self._process
        if process is None:
            return 0
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.close()
        code = end_within(_STOP_LIMIT_S, process)
        process.stdout.close()
        return code

    def _first_line(self, process: subprocess.Popen[bytes]) -> bytes:
        assert process.stdout is not None

        def cut() -> None:
            self._is_overdue = True
            process.kill()

        timer = threading.Timer(self._start_limit_s, cut)
        timer.start()
        try:
            return process.stdout.readline()
        finally:
            timer.cancel()
