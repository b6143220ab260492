"""A disk that gets full during a run is reported in one message, and the written rows remain readable."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

import sizewise as notebook
from loadgen.reference.scripted import Script, ScriptedServer
from tests.fakes.disk import largest_file
from tests.fakes.program import Sizewise

pytestmark = pytest.mark.process


@pytest.mark.parametrize("size_bytes", [60_000, 300_000])
def test_full_disk_exits_with_5_and_rows_are_stored(
    sizewise: Sizewise, profile: Callable[..., str], tmp_path: Path, size_bytes: int
) -> None:
    with ScriptedServer(Script()) as server, largest_file(size_bytes):
        path = profile(server.url, rate="2000/s", duration="3s")
        done = sizewise("run", path, "--out", str(tmp_path / "run"))
    assert done.returncode == 5, done.stderr
    assert "could not be written" in done.stderr
    assert len(notebook.open_run(tmp_path / "run").requests) > 100
