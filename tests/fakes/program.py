"""The whole program as a user runs it: the console script in its own process, or its commands in the test's process."""

from __future__ import annotations

import io
import json
import os
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path
from typing import Any

import pytest

from app.analysis import generator_checks
from app.cli.main import main
from reports.charts.renderer import get_chart_renderer
from tests.fakes.forked import ForkedProcess, probe_once

SIZEWISE = str(Path(sys.executable).with_name("sizewise"))
FAKE_RENDERER_FOLDER = Path(__file__).with_name("undrawn")
PATIENCE_S = 60.0
TRIES = 5


def wait_until(condition: Callable[[], Any], *, within_s: float = PATIENCE_S) -> None:
    """Wait until the condition is true; fail the test if it is not within `within_s` seconds."""
    deadline = time.monotonic() + within_s
    pause = threading.Event()
    while not condition():
        assert time.monotonic() < deadline, f"not within {within_s:g} s"
        pause.wait(0.02)


PROFILE = """sizewise: 1
name: test
target:
  protocol: http
  url: {url}
  timeouts: {{connect: 1s, idle: 1s, total: 1s}}
workload: {{method: POST, body: {{a: 1}}}}
load:
  warmup: 0s
  stages: [{{name: steady, arrivals: constant, rate: {rate}, duration: {duration}}}]
slo: ["latency_ms.p95 < 500"]
{extra}
"""


def write_profile(folder: Path, url: str, *, rate: str = "200/s", duration: str = "1s", extra: str = "") -> str:
    path = folder / "profile.yaml"
    path.write_text(PROFILE.format(url=url, rate=rate, duration=duration, extra=extra))
    return str(path)


def until_valid(
    run: Callable[[], subprocess.CompletedProcess[str]], out: Path, *, until_conclusive: bool = False
) -> subprocess.CompletedProcess[str]:
    """Run into `out`, again if a busy machine made the run invalid, which the exit code 4 reports, or, if wanted, its
    SLO inconclusive: a pause of the whole machine leaves too few independent responses for an interval."""
    for _ in range(TRIES - 1):
        process = run()
        if process.returncode != 4 and not (until_conclusive and _is_inconclusive(out)):
            return process
        shutil.rmtree(out)
    return run()


def _is_inconclusive(run: Path) -> bool:
    file = run / "result.json"
    return file.exists() and any(
        objective["outcome"] == "INCONCLUSIVE" for objective in json.loads(file.read_text("utf-8"))["slo"]
    )


class Sizewise:
    """Draws the charts of its reports only if `draws` is set: drawing takes longer than the import of the program.

    A command without charts is forked from a process that has imported the program already, unless `may_fork` is
    false."""

    def __init__(self, home: Path, cwd: Path, *, draws: bool = True, may_fork: bool = True) -> None:
        self.home, self.cwd, self._draws, self._may_fork = home, cwd, draws, may_fork

    def start(self, *arguments: str, **environment: str) -> subprocess.Popen[str]:
        is_linked_anew = any(name.startswith("LD_") for name in environment)
        is_forked = sys.platform == "linux" and self._may_fork and not (self._draws or is_linked_anew)
        return (ForkedProcess if is_forked else subprocess.Popen)(
            [SIZEWISE, *arguments],
            cwd=self.cwd,
            env=os.environ | {"SIZEWISE_HOME": str(self.home)} | self._undrawn() | environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def _undrawn(self) -> dict[str, str]:
        paths = [str(FAKE_RENDERER_FOLDER), *filter(None, [os.environ.get("PYTHONPATH")])]
        return {} if self._draws else {"PYTHONPATH": os.pathsep.join(paths)}

    def __call__(self, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
        with self.start(*arguments, **environment) as process:
            try:
                stdout, stderr = process.communicate(timeout=150)
            finally:
                process.kill()
        assert "--debug" in arguments or "Traceback" not in stderr
        return subprocess.CompletedProcess(process.args, process.returncode, stdout, stderr)

    def measured(self, *arguments: str, out: Path, **environment: str) -> subprocess.CompletedProcess[str]:
        return until_valid(lambda: self("run", *arguments, "--out", str(out), **environment), out)

    def result(self, directory: Path) -> dict[str, Any]:
        result: dict[str, Any] = json.loads((directory / "result.json").read_text())
        return result


class SizewiseInProcess(Sizewise):
    """Runs commands in the test's own process, for tests to which the process does not matter.

    No command has to import the program again or start another chart renderer. `start` still starts a process.
    """

    def measured(self, *arguments: str, out: Path, **environment: str) -> subprocess.CompletedProcess[str]:
        """Run without the limit on the load worker's waits for a core: while other tests' processes compete for the
        cores, this is what most often makes a run invalid."""
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(generator_checks, "_INVALID_WAIT_SHARE", 1.0)
            return super().measured(*arguments, out=out, **environment)

    def __call__(self, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
        stdout, stderr = (io.TextIOWrapper(io.BytesIO(), "utf-8") for _ in range(2))
        with pytest.MonkeyPatch.context() as patch, redirect_stdout(stdout), redirect_stderr(stderr):
            patch.chdir(self.cwd)
            for name, value in ({"SIZEWISE_HOME": str(self.home)} | environment).items():
                patch.setenv(name, value)
            if "LD_LIBRARY_PATH" not in environment:
                patch.setattr("app.wiring.machine.probe_providers", probe_once)
            if not self._draws:
                patch.setattr(get_chart_renderer(), "render_svg", lambda _: "<svg></svg>")
            code = main(arguments)
        reported, messages = (_text(stream) for stream in (stdout, stderr))
        assert "--debug" in arguments or "Traceback" not in messages
        return subprocess.CompletedProcess(arguments, code, reported, messages)


def _text(stream: io.TextIOWrapper) -> str:
    stream.seek(0)
    return stream.read()
