"""The whole program as a user runs it: the console script, in a process of its own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

SIZEWISE = str(Path(sys.executable).with_name("sizewise"))
PATIENCE_S = 60.0


def wait_until(condition: Callable[[], Any], *, within_s: float = PATIENCE_S) -> None:
    """Returns once the condition holds; fails the test when it does not within the time."""
    deadline = time.monotonic() + within_s
    pause = threading.Event()
    while not condition():
        assert time.monotonic() < deadline, f"not within {within_s:g} s"
        pause.wait(0.02)


class Sizewise:
    def __init__(self, home: Path, cwd: Path) -> None:
        self.home, self.cwd = home, cwd

    def start(self, *arguments: str, **environment: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [SIZEWISE, *arguments],
            cwd=self.cwd,
            env=os.environ | {"SIZEWISE_HOME": str(self.home)} | environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def __call__(self, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
        process = self.start(*arguments, **environment)
        try:
            stdout, stderr = process.communicate(timeout=150)
        finally:
            process.kill()
        assert "Traceback" not in stderr
        return subprocess.CompletedProcess(process.args, process.returncode, stdout, stderr)

    def result(self, directory: Path) -> dict[str, Any]:
        result: dict[str, Any] = json.loads((directory / "result.json").read_text())
        return result
