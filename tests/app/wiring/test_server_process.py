from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.request import ProxyHandler

import pytest

from app.errors import UnavailableError, UsageError
from app.session.spec import StartSpec
from app.wiring import server_process
from app.wiring.server_process import ServerProcess
from tests.fakes import slow_server
from tests.fakes.processes import free_port, is_running
from tests.fakes.program import wait_until

pytestmark = pytest.mark.process

SERVER = slow_server.__file__


def start_of(*options: str, port: int | None = None, environment: tuple[tuple[str, str], ...] = ()) -> StartSpec:
    port = port or free_port()
    command = (sys.executable, SERVER, str(port), *options)
    return StartSpec(command, f"http://127.0.0.1:{port}/ready", 10.0, "/", environment)


@contextmanager
def started(spec: StartSpec) -> Iterator[ServerProcess]:
    server = ServerProcess(spec)
    try:
        yield server
    finally:
        server.stop()


def test_it_is_ready_when_its_url_answers_with_2xx_and_not_before() -> None:
    with started(start_of("after=0.3")) as server:
        assert not server.is_ready()
        wait_until(server.is_ready)
        assert server.end_reason() is None
    assert not is_running(server.pid)
    assert server.end_reason() is None, "it was stopped, and did not leave by itself"


def test_all_it_started_ends_with_it_even_what_does_not_receive(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("app.wiring.server_process._STOP_LIMIT_S", 0.2)
    with started(start_of("deaf=1", f"child={tmp_path / 'child'}")) as server:
        wait_until(server.is_ready)
        child = int((tmp_path / "child").read_text())
        assert is_running(child)
    assert not is_running(server.pid)
    wait_until(lambda: not is_running(child))


def test_it_reports_how_it_ended_and_its_last_words_without_secrets() -> None:
    spec = start_of("environment=A_KEY", "says=" + "\t\x1b[31mhello", environment=(("A_KEY", "hush-hush"),))
    with started(spec) as server:
        wait_until(server.is_ready)
        os.kill(server.pid, signal.SIGKILL)
        wait_until(server.end_reason)
        assert server.end_reason() == "was killed by SIGKILL"
        assert server.last_lines() == ("[31mhello", "the key is ***")


def test_a_command_that_ends_at_once_reports_its_code_and_words() -> None:
    code = "import sys; print('x' * 100_000); print('line 2'); sys.exit('no such model')"
    spec = StartSpec((sys.executable, "-c", code), f"http://127.0.0.1:{free_port()}/", 5.0, "/")
    with started(spec) as server:
        wait_until(server.end_reason)
        assert server.end_reason() == "exited with code 1"
        assert server.last_lines()[-2:] == ("line 2", "no such model")


@pytest.mark.parametrize(
    ("command", "directory", "why"),
    [
        (("no-such-program-here",), "/", "No such file"),
        ((sys.executable,), "/no/such/folder", "No such file"),
        (("/etc/hostname",), "/", "Permission denied"),
        ((sys.executable, "a\0b"), "/", "null byte"),
    ],
)
def test_a_command_that_cannot_be_started_is_a_usage_error(command: tuple[str, ...], directory: str, why: str) -> None:
    with pytest.raises(UsageError, match=why):
        ServerProcess(StartSpec(command, f"http://127.0.0.1:{free_port()}/", 5.0, directory))


def test_what_is_ready_before_is_not_what_is_to_be_started() -> None:
    port = free_port()
    with started(start_of(port=port)) as first:
        wait_until(first.is_ready)
        with pytest.raises(UnavailableError, match="already responds before"):
            ServerProcess(start_of(port=port))


def test_a_proxy_in_the_environment_does_not_stand_before_a_loopback(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTP_PROXY", f"http://127.0.0.1:{free_port()}")
    monkeypatch.setenv("http_proxy", f"http://127.0.0.1:{free_port()}")
    with started(start_of()) as server:
        wait_until(server.is_ready)


@pytest.mark.parametrize("host", ["localhost.", "model.localhost", "[::ffff:127.0.0.1]", "127.0.0.2"])
def test_no_name_of_this_machine_is_behind_a_proxy(host: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("http_proxy", "http://proxy.example:3128")
    opener = server_process._build_opener(f"http://{host}:8000/")
    assert not any(isinstance(handler, ProxyHandler) for handler in vars(opener)["handlers"])


def test_should_we_be_killed_the_server_ends_all_the_same(tmp_path: Path) -> None:
    code = f"""
import signal, sys
from app.session.spec import StartSpec
from app.wiring import server_process
from app.wiring.server_process import ServerProcess
server = ServerProcess(StartSpec({start_of(f"child={tmp_path / 'child'}").command!r}, "http://127.0.0.1:9/", 5.0, "/"))
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
