"""No command sends data beyond this machine without request, or writes data that would be sent later.

ONNX Runtime does both unless it is configured otherwise or `CI` is set: it is not set here, and HOME is empty.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from app.inference.probe import DIGITS_MODEL
from app.profiles.templates import SCRIPTED_TEMPLATE
from tests.fakes.forked import NAMESPACES
from tests.fakes.hosts import Host
from tests.fakes.program import SIZEWISE, Sizewise, wait_until

pytestmark = [
    pytest.mark.process,
    pytest.mark.timeout(360),
    pytest.mark.skipif(sys.platform != "linux", reason="network namespaces are Linux's"),
]

_PROFILE = """sizewise: 1
name: private
target: {model: digits}
load: {warmup: 0s, min_duration: 300ms, max_duration: 300ms, cold_starts: 0}
"""
_CALL = """
import sys
from pathlib import Path
from app.inference.session import open_session
open_session(Path(sys.argv[1]), "cpu", threads=1)
"""
_NOT_VERIFIED = "NOT VERIFIED: this system does not permit the test to create a network"
_REQUEST = "import sys, urllib.request; print(urllib.request.urlopen(sys.argv[1]).status)"


@pytest.fixture(scope="module")
def machine() -> Iterator[Host | None]:
    """A host with a counter of packets beyond loopback; None if this system does not permit network namespaces."""
    try:
        host = Host("private", "10.77.0.1", 0)
    except (OSError, ValueError):
        yield None
        return
    try:
        host.count_packets()
    except (OSError, subprocess.CalledProcessError):
        host.close()
        yield None
        return
    yield host
    host.close()


def test_run_on_loopback_sends_no_packet_to_network(sizewise: Sizewise, tmp_path: Path, machine: Host | None) -> None:
    """The target and the load worker are on the same machine, so that no packet may leave it."""
    profile, run = tmp_path / "profile.yaml", tmp_path / "run"
    profile.write_text(SCRIPTED_TEMPLATE.format(name="private").replace("duration: 10s", "duration: 500ms"))
    if machine is None:
        pytest.skip(_NOT_VERIFIED)
    before, host = machine.packets_sent(), {NAMESPACES: machine.namespaces}
    done = sizewise("run", str(profile), "--set", "load.warmup=0s", "--out", str(run), **host)
    assert done.returncode in (0, 4), done.stderr  # 4: a busy machine invalidated the measurement
    assert sizewise.result(run)["stages"][-1]["completed"] > 0
    assert machine.packets_sent() == before


def test_loaded_onnx_model_writes_and_sends_nothing(tmp_path: Path, machine: Host | None) -> None:
    """ONNX Runtime writes its telemetry as soon as a model is loaded."""
    command = [sys.executable, "-c", _CALL, str(DIGITS_MODEL)]
    environment = {"PATH": os.environ["PATH"], "HOME": str(tmp_path)}
    before = machine and machine.packets_sent()
    subprocess.run([*_enter(machine), *command], env=environment, capture_output=True, timeout=60, check=True)
    assert [str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*")] == []
    assert (machine and machine.packets_sent()) == before


def _enter(machine: Host | None) -> list[str]:
    """Enter only the network namespace: with a time namespace nsenter forks, and does not pass signals on."""
    return [] if machine is None else ["nsenter", f"--net=/proc/{machine.pid}/ns/net", "--"]


@pytest.fixture(scope="module")
def home(machine: Host | None, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The HOME of a user after a run of a model, a session of the window and a served model."""
    folder = tmp_path_factory.mktemp("private")
    home, profile = folder / "home", folder / "profile.yaml"
    home.mkdir()
    profile.write_text(_PROFILE)
    enter = _enter(machine)
    environment = {
        "PATH": os.environ["PATH"], "HOME": str(home), "SIZEWISE_HOME": str(folder / "sizewise"),
        "QT_QPA_PLATFORM": "offscreen",
    }  # fmt: skip

    def start(*arguments: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [*enter, SIZEWISE, *arguments], cwd=folder, env=environment, text=True,
            stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        )  # fmt: skip

    started = [serving := start("serve", str(DIGITS_MODEL))]
    try:
        assert serving.stdout is not None
        url = serving.stdout.readline().strip()
        request = [*enter, sys.executable, "-c", _REQUEST, f"{url}/v2/health/ready"]
        assert subprocess.run(request, capture_output=True, timeout=60, check=True).stdout == b"200\n"
        started.append(window := start("gui"))
        _wait_for_probe(window.pid)
        started.append(running := start("run", str(profile), "--out", str(folder / "run")))
        _, output = running.communicate(timeout=120)
        assert running.returncode in (0, 4), output  # 4: a busy machine invalidated the measurement
        assert (folder / "run" / "result.json").exists()
        for process in (window, serving):
            process.send_signal(signal.SIGINT)
            _, output = process.communicate(timeout=60)
            assert process.returncode == 0, output
    finally:
        for process in started:
            process.kill()
            process.communicate()
    return home


_PROBE_S = 30.0


def _wait_for_probe(window: int) -> None:
    """Wait until the window has probed ONNX Runtime's providers, in a child that runs for a quarter of a second.

    If the child is missed between two polls, wait half a minute.
    """
    children: list[psutil.Process] = []
    started_s = time.monotonic()

    def has_probed() -> bool:
        children.extend(
            child for child in psutil.Process(window).children() if "app.inference.probe" in _read_command_line(child)
        )
        is_over = bool(children) and not any(child.is_running() for child in children)
        return is_over or time.monotonic() - started_s > _PROBE_S

    wait_until(has_probed)


def _read_command_line(process: psutil.Process) -> list[str]:
    try:
        return process.cmdline()
    except (psutil.NoSuchProcess, psutil.ZombieProcess):
        return []


@pytest.mark.soak
def test_onnx_runtime_stores_no_telemetry_in_home(home: Path) -> None:
    assert [str(path.relative_to(home)) for path in home.rglob("*") if "Microsoft" in path.parts] == []


@pytest.mark.soak
def test_commands_send_nothing_beyond_loopback(home: Path, machine: Host | None) -> None:
    assert home.is_dir()
    if machine is None:
        pytest.skip(_NOT_VERIFIED)
    assert machine.packets_sent() == 0


@pytest.mark.parametrize(("users", "read"), [({}, "1"), ({"ORT_DISABLE_TELEMETRY": "0"}, "0")])
def test_user_can_enable_onnx_runtime_telemetry(users: dict[str, str], read: str) -> None:
    environment = {name: text for name, text in os.environ.items() if name != "ORT_DISABLE_TELEMETRY"}
    code = "import os, sizewise; print(os.environ['ORT_DISABLE_TELEMETRY'])"
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment | users, capture_output=True, text=True, timeout=60, check=True
    )
    assert done.stdout == f"{read}\n"
