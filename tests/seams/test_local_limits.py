"""Limits of this machine that are too low for the load are named, and not reported as errors of the target."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from loadgen.reference.scripted import Script, ScriptedServer
from tests.fakes.program import SIZEWISE, Sizewise, write_profile


@pytest.mark.timing
@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no limit on sockets")
def test_file_descriptor_limit_invalidates_run_and_is_no_connect_error(calibrated_home: Path, tmp_path: Path) -> None:
    with ScriptedServer(Script(delay_s=0.8)) as server:  # within the timeout of 1 s
        path = write_profile(tmp_path, server.url, rate="150/s", duration="2s")
        command = f'ulimit -n 100; exec "{SIZEWISE}" run "{path}" --out "{tmp_path}/run"'
        home = {"SIZEWISE_HOME": str(calibrated_home)}
        done = subprocess.run(["sh", "-c", command], env=os.environ | home, capture_output=True, text=True, timeout=150)
    assert done.returncode == 4, done.stderr
    result = Sizewise(calibrated_home, tmp_path).result(tmp_path / "run")
    assert result["stages"][0]["errors"]["local-limit"] > 0
    assert "connect" not in result["stages"][0]["errors"]
    assert [cause["code"] for cause in result["exit"]["causes"]] == [4]
    assert "local limits" in result["exit"]["causes"][0]["text"]
    before_the_load, stages, _ = done.stderr.partition("stages:")
    assert stages, done.stderr
    assert "WARN file descriptors" in before_the_load, done.stderr
