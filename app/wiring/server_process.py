"""Run the target's own server as a child process.

The server has a separate process group, so that all its processes can be stopped. The module also
starts the embedded endpoint of a profile.
"""

from __future__ import annotations

import contextlib
import http.client
import os
import signal
import subprocess
import sys
import threading
import time
from typing import IO, cast

from app.errors import UnavailableError, UsageError
from app.profiles.endpoint_profile import EndpointProfile
from app.profiles.profile import find_serve_settings
from app.profiles.serve import ServeSettings
from app.serving.process import EndpointProcess
from app.serving.settings import ConnectionLimits, ServingSettings
from app.session.spec import StartSpec
from app.wiring.proxy import find_proxy
from loadgen.child import describe_exit, start_module
from loadgen.records import Tls
from loadgen.transport.opener import Opener, limit_time
from reports.shortening import shorten

_STOP_LIMIT_S = 10.0
_REQUEST_LIMIT_S = 1.0
_TAIL_BYTES = 16_384
_MAX_LINES, _MAX_LINE_LENGTH = 10, 300
_MIN_SECRET_LENGTH = 4
_IS_WINDOWS = sys.platform == "win32"


class ServerProcess:
    """The target's own server, which the constructor starts and `stop` ends. The output of the
    server is read continuously, and only the last part is stored."""

    def __init__(self, start_spec: StartSpec) -> None:
        """Start the server. Raises UsageError if the command cannot be started, and
        UnavailableError if another server already responds at the readiness URL."""
        self._start = start_spec
        self._secrets = [value for _, value in start_spec.environment if len(value) >= _MIN_SECRET_LENGTH]
        # The certificate is not verified, because only the status matters.
        self._opener = Opener(
            (start_spec.ready_url,), Tls(verify=False), lambda address: find_proxy((address,)), follows_redirects=True
        )
        if self.is_ready():
            raise UnavailableError(
                f"target.start: {start_spec.ready_url} already responds before {start_spec.command[0]} is started",
                hint="Stop that server, or remove target.start to measure it.",
            )
        self._guard = None if _IS_WINDOWS else _Guard()
        self.started_ns = time.perf_counter_ns()
        try:
            self._child = _start_child(start_spec)
        except BaseException:
            if self._guard is not None:
                self._guard.dismiss()
            raise
        if self._guard is not None:
            self._guard.watch(self._child.pid)
        self._output_tail = bytearray()
        self._reader = threading.Thread(target=self._read_tail, name="server-output", daemon=True)
        self._reader.start()
        self._is_stopped = False

    @property
    def pid(self) -> int:
        return self._child.pid

    def is_ready(self) -> bool:
        try:
            with self._opener.open(self._start.ready_url, limit_time(_REQUEST_LIMIT_S)) as response:
                return 200 <= int(response.status) < 300
        except (OSError, http.client.HTTPException, ValueError):  # Connection refused or reset, or not HTTP: not ready.
            return False

    def end_reason(self) -> str | None:
        code = self._child.poll()
        return None if code is None or self._is_stopped else describe_exit(code)

    def last_lines(self) -> tuple[str, ...]:
        if self._child.poll() is not None:
            self._reader.join(_REQUEST_LIMIT_S)  # The last output may still be in the pipe.
        text = bytes(self._output_tail).decode(errors="replace")
        if len(self._output_tail) == _TAIL_BYTES:
            text = text.partition("\n")[2]  # The first line is truncated, possibly within a secret.
        for secret in self._secrets:
            text = text.replace(secret, "***")
        lines = (shorten(line, _MAX_LINE_LENGTH) for line in text.splitlines())
        return tuple([line for line in lines if line.strip()][-_MAX_LINES:])

    def stop(self) -> None:
        """Send SIGTERM to the process group of the server, and kill the remaining processes after a
        grace period."""
        if self._is_stopped:
            return
        self._is_stopped = True
        _signal_group(self._child, signal.SIGTERM)
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._child.wait(_STOP_LIMIT_S)
        self.kill()
        self._child.wait()
        if self._guard is not None:
            self._guard.dismiss()
        self._reader.join(_REQUEST_LIMIT_S)

    def kill(self) -> None:
        self._is_stopped = True
        _signal_group(self._child, getattr(signal, "SIGKILL", signal.SIGTERM))

    def _read_tail(self) -> None:
        with cast(IO[bytes], self._child.stdout) as output:
            while block := os.read(output.fileno(), 65_536):
                self._output_tail = (self._output_tail + block)[-_TAIL_BYTES:]


class _Guard:
    """Process that stops the server's process group if the Sizewise process is killed."""

    def __init__(self) -> None:
        self._child = start_module("app.wiring.server_guard")
        self._stdin = cast(IO[bytes], self._child.stdin)

    def watch(self, group_id: int) -> None:
        self._write(b"%d\n" % group_id)

    def dismiss(self) -> None:
        self._write(b"done\n")
        with contextlib.suppress(OSError):
            self._stdin.close()
        self._child.wait()

    def _write(self, line: bytes) -> None:
        with contextlib.suppress(OSError):  # The guard itself has been killed.
            self._stdin.write(line)
            self._stdin.flush()


def _start_child(start_spec: StartSpec) -> subprocess.Popen[bytes]:
    try:
        return subprocess.Popen(
            start_spec.command,
            cwd=start_spec.directory,
            env=os.environ | dict(start_spec.environment),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=not _IS_WINDOWS,
            creationflags=getattr(subprocess, "CREATE_NEW_PROCESS_GROUP", 0),
        )
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else str(error)
        raise UsageError(
            f"target.start: {start_spec.command[0]} cannot be started: {reason}",
            hint="Set target.start.command to a program on the PATH and its arguments.",
        ) from None


def _signal_group(child: subprocess.Popen[bytes], signal_number: int) -> None:
    if _IS_WINDOWS:
        child.terminate()
        return
    with contextlib.suppress(ProcessLookupError, PermissionError):  # The whole group has already exited.
        os.killpg(child.pid, signal_number)


_MAX_CONNECTIONS = 65_536
"""Maximum number of connections to the embedded endpoint, which is sufficient for all clients of
Sizewise's own load generator."""


def start_embedded_endpoint(profile: EndpointProfile) -> EndpointProcess:
    """Start the embedded endpoint of a profile, and return when it is ready. Raises UsageError if
    the model cannot be opened, and UnavailableError if the endpoint does not start."""
    serve = find_serve_settings(profile)
    assert serve is not None
    assert profile.target.model_name is not None
    endpoint = EndpointProcess(
        ServingSettings(
            model=str(serve.model_path),
            name=profile.target.model_name,
            provider=serve.provider,
            threads=serve.threads,
            max_batch=serve.max_batch,
            queue_delay_s=serve.queue_delay_s if isinstance(serve, ServeSettings) else None,
            queue_limit=serve.queue_limit,
            exit_with_stdin=True,
            limits=ConnectionLimits(max_connections=_MAX_CONNECTIONS),
        )
    )
    endpoint.start()
    return endpoint
