"""A command that another program leaves in the control folder of a run, executed as the engine does."""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

from app.records.control import AddNote, ControlCommand, ControlResponse, Extend, SetRate, StopRun
from app.storage.control import CommandInbox
from tests.fuzz.scratch import scratch_folder


def read(data: bytes) -> None:
    with scratch_folder() as run:
        box = CommandInbox(run)
        (run / "control" / "1.command").write_bytes(data)
        box.process(_granted)
        assert [path.suffix for path in (run / "control").iterdir()] == [".response"], "each command has a response"


def seeds() -> Iterable[bytes]:
    commands: tuple[ControlCommand, ...] = (StopRun(), AddNote("a note"), SetRate(5.0), Extend(30.0))
    return (msgspec.json.encode(command) for command in commands)


def _granted(_: ControlCommand) -> ControlResponse:
    return ControlResponse(True, "done")
