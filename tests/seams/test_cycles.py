"""A run that is stopped, at whatever moment, leaves nothing behind: no process, no descriptor, no thread."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.fakes.cancelled import MOMENTS, Footprint, cancelled_run

pytestmark = [pytest.mark.process, pytest.mark.soak]

EARLY = "before anything was started"
CYCLES = (
    (1, "as the target starts"),
    (1, "as one request is sent"),
    (1, "as the stage is prepared"),
    (1, "amid the stage, and as it drains"),
    (2, "as the workers start"),
    (2, "as the stage begins"),
    (2, "amid the stage"),
)


def test_stopped_runs_leave_no_process_descriptor_or_thread(tmp_path: Path) -> None:
    moments = {moment.name: moment for moment in MOMENTS}
    cancelled_run(tmp_path / "first", moments[EARLY], 1)  # what is loaded once is there from now on
    before = Footprint.now()
    for number, (workers, name) in enumerate(CYCLES):
        cancelled = cancelled_run(tmp_path / str(number), moments[name], workers)
        assert cancelled.code == 130, name
        assert cancelled.shutdown_s is not None
        assert cancelled.shutdown_s < 20, f"{name}: the stage of 60 s was not stopped"
        assert cancelled.started >= 1 + (name != "as the target starts"), name
        assert Footprint.now().left_since(before) == [], name
