"""Runs scripts with the simulated driver, each in its own process: a library is found when a process starts."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any


def run(script: str, *arguments: str, library: Path | None, **settings: str) -> Any:
    """Return the JSON that the script prints; `settings` are the simulated driver's, without NVML_STAND_IN_."""
    environment = os.environ | {f"NVML_STAND_IN_{name.upper()}": value for name, value in settings.items()}
    environment["LD_LIBRARY_PATH"] = str(library or "/nonexistent")
    command = [sys.executable, "-c", script, *arguments]
    process = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60, check=False)
    assert process.returncode == 0, process.stderr
    return json.loads(process.stdout)
