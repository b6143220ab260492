"""Control an endpoint that runs as a child process."""

from __future__ import annotations

import subprocess
import tempfile
import threading
from types import TracebackType

import msgspec

from app.errors import UnavailableError
from app.inference.parent import build_child_error
from app.serving.arguments import format_arguments
from app.serving.settings import EndpointReady, ServingSettings
from loadgen.child import ChildExit, start_module, wait_or_kill
from loadgen.decoding import decode_json

_STOP_TIMEOUT_S = 12.0
"""Time in seconds to wait for the endpoint to stop; longer than the endpoint's drain limit."""


class EndpointProcess:
    """Context manager that runs an endpoint in a child process while the context is active. `stop`
    may be called at any time, and more than once."""

    def __init__(self, settings: ServingSettings, *, start_timeout_s: float = 60.0) -> None:
        self._settings = msgspec.structs.replace(settings, exit_with_stdin=True)
        self._start_timeout_s = start_timeout_s
        self._process: subprocess.Popen[bytes] | None = None
        self._exit_status: ChildExit | None = None
        self._ready: EndpointReady | None = None
        self._has_timed_out = False

    def __enter__(self) -> EndpointProcess:
        self.start()
        return self

    def __exit__(
        self, error_type: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.stop()

    @property
    def ready(self) -> EndpointReady:
        assert self._ready is not None, "the endpoint has not started"
        return self._ready

    @property
    def pid(self) -> int:
        return self.ready.pid

    def start(self) -> None:
        """Start the endpoint and wait until it is ready. Raises the error that the endpoint
        reports, or UnavailableError if the endpoint is not ready within the start timeout."""
        with tempfile.TemporaryFile() as stderr_file:
            arguments = format_arguments(self._settings)
            process = start_module("app.serving", *arguments, stdout=subprocess.PIPE, stderr=stderr_file)
            self._process, self._exit_status = process, ChildExit(process)
            line = self._read_first_line(process)
            if line.endswith(b"\n"):
                self._ready = decode_json(line, EndpointReady)
                return
            exit_code = self.stop()
            stderr_file.seek(0)
            stderr_text = stderr_file.read().decode(errors="replace")
        description = f"the endpoint of {self._settings.model}"
        if self._has_timed_out:
            raise UnavailableError(f"{description} was not ready within {self._start_timeout_s:g} s")
        raise build_child_error(description, exit_code, stderr_text)

    def end_reason(self) -> str | None:
        """Return how the endpoint's process ended; `None` while the process runs and before it was
        started."""
        return None if self._exit_status is None else self._exit_status.describe()

    def stop(self) -> int:
        """Stop the endpoint after it has completed the queued requests. Return the exit code of the
        process, or 0 if the process was never started."""
        process = self._process
        if process is None:
            return 0
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.close()
        exit_code = wait_or_kill(_STOP_TIMEOUT_S, process)
        process.stdout.close()
        return exit_code

    def _read_first_line(self, process: subprocess.Popen[bytes]) -> bytes:
        assert process.stdout is not None

        def kill_on_timeout() -> None:
            self._has_timed_out = True
            process.kill()

        timer = threading.Timer(self._start_timeout_s, kill_on_timeout)
        timer.start()
        try:
            return process.stdout.readline()
        finally:
            timer.cancel()
