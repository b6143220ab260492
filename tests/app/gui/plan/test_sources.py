from __future__ import annotations

from pathlib import Path

import pytest
from msgspec.structs import replace

from app.gui.plan.sources import find_plannable_runs
from app.storage.run_directory import RunWriter
from tests.fakes.results import SPEC, full_run

SCRIPTED = "{protocol: http, url: 'http://127.0.0.1:1/', scripted: {delay: 20ms}}"
SERVED = "{protocol: http, url: 'http://127.0.0.1:1/'}"


@pytest.mark.parametrize(
    ("target", "is_hardware_known", "is_listed"),
    [(SERVED, True, True), (SERVED, False, True), (SCRIPTED, False, False), (SCRIPTED, True, True)],
    ids=["hardware", "hardware to be stated", "scripted", "scripted with hardware"],
)
def test_only_plannable_runs_are_listed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, target: str, is_hardware_known: bool, is_listed: bool
) -> None:
    monkeypatch.setenv("SIZEWISE_HOME", str(tmp_path))
    result = full_run().result
    if not is_hardware_known:
        result = replace(result, target=replace(result.target, hardware=None))
    folder = tmp_path / "runs" / result.run_id
    with RunWriter(folder) as writer:
        lines = SPEC.splitlines()
        writer.write_spec("\n".join(f"target: {target}" if "target:" in line else line for line in lines))
        writer.write_result(result)
    assert [run.directory for run in find_plannable_runs()] == ([folder] if is_listed else [])
