from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from app.errors import UnavailableError, UsageError
from app.session.spec import StartSpec
from app.wiring.server_process import ServerProcess
from tests.fakes import slow_server
from tests.fakes.processes import free_port, is_running
from tests.fakes.program import wait_until

pytestmark = pytest.mark.process

SERVER = slow_server.__file__


def slow_spec(*options: str, port: int | None = None, environment: tuple[tuple[str, str], ...] = ()) -> StartSpec:
    port = port or free_port()
    command = (sys.executable, SERVER, str(port), *options)
    return StartSpec(command, f"http://127.0.0.1:{port}/ready", 10.0, "/", environment)


@contextmanager
def run_server(spec: StartSpec) -> Iterator[ServerProcess]:
    server = ServerProcess(spec)
    try:
        yield server
    finally:
        server.stop()


def test_started_server_is_ready_when_its_url_returns_2xx() -> None:
    with run_server(slow_spec("after=0.3")) as server:
        assert not server.is_ready()
        wait_until(server.is_ready)
        assert server.end_reason() is None
    assert not is_running(server.pid)
    assert server.end_reason() is None, "the server was stopped and did not exit by itself"


def test_stopped_server_and_its_children_are_killed_even_if_signals_are_ignored(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("app.wiring.server_process._STOP_LIMIT_S", 0.2)
    with run_server(slow_spec("deaf=1", f"child={tmp_path / 'child'}")) as server:
        wait_until(server.is_ready)
        child = int((tmp_path / "child").read_text())
        assert is_running(child)
    assert not is_running(server.pid)
    wait_until(lambda: not is_running(child))


def test_killed_server_reports_its_signal_and_last_output_without_secrets() -> None:
    spec = slow_spec("environment=A_KEY", "says=" + "\t\x1b[31mhello", environment=(("A_KEY", "hush-hush"),))
    with run_server(spec) as server:
        wait_until(server.is_ready)
        os.kill(server.pid, signal.SIGKILL)
        wait_until(server.end_reason)
        assert server.end_reason() == "was killed by SIGKILL"
        assert server.last_lines() == ("[31mhello", "the key is ***")


def test_start_command_that_exits_at_once_reports_its_code_and_output() -> None:
    code = "import sys; print('x' * 100_000); print('line 2'); sys.exit('no such model')"
    spec = StartSpec((sys.executable, "-c", code), f"http://127.0.0.1:{free_port()}/", 5.0, "/")
    with run_server(spec) as server:
        wait_until(server.end_reason)
        assert server.end_reason() == "exited with code 1"
        assert server.last_lines()[-2:] == ("line 2", "no such model")


@pytest.mark.parametrize(
    ("command", "directory", "message"),
    [
        (("no-such-program-here",), "/", "No such file"),
        ((sys.executable,), "/no/such/folder", "No such file"),
        (("/etc/hostname",), "/", "Permission denied"),
        ((sys.executable, "a\0b"), "/", "null byte"),
    ],
)
def test_invalid_start_command_is_a_usage_error(command: tuple[str, ...], directory: str, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        ServerProcess(StartSpec(command, f"http://127.0.0.1:{free_port()}/", 5.0, directory))


def test_port_that_already_responds_is_rejected_before_the_start() -> None:
    port = free_port()
    with run_server(slow_spec(port=port)) as first:
        wait_until(first.is_ready)
        with pytest.raises(UnavailableError, match="already responds before"):
            ServerProcess(slow_spec(port=port))


def test_readiness_check_of_a_loopback_url_ignores_the_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTP_PROXY", f"http://127.0.0.1:{free_port()}")
    monkeypatch.setenv("http_proxy", f"http://127.0.0.1:{free_port()}")
    with run_server(slow_spec()) as server:
        wait_until(server.is_ready)


def test_started_server_ends_when_the_parent_process_is_killed(tmp_path: Path) -> None:
    code = f"""
import signal, sys
from app.session.spec import StartSpec
from app.wiring.server_process import ServerProcess
server = ServerProcess(StartSpec({slow_spec(f"child={tmp_path / 'child'}").command!r}, "http://127.0.0.1:9/", 5.0, "/"))
print(server.pid, flush=True)
signal.pause()
"""
    parent = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    assert parent.stdout is not None
    pid = int(parent.stdout.readline())
    wait_until((tmp_path / "child").exists)
    parent.kill()
    parent.communicate()
    wait_until(lambda: not is_running(pid))
    wait_until(lambda: not is_running(int((tmp_path / "child").read_text())))
