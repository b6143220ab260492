"""A command that another program leaves in the control folder of a run, executed as the engine does."""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

from app.records.control import AddNote, Answer, Extend, SetRate, StopRun, Wish
from app.storage.control import ControlBox
from tests.fuzz.scratch import scratch_folder


def read(data: bytes) -> None:
    with scratch_folder() as run:
        box = ControlBox(run)
        (run / "control" / "1.wish").write_bytes(data)
        box.obey(_granted)
        assert [path.suffix for path in (run / "control").iterdir()] == [".answer"], "each command has an answer"


def seeds() -> Iterable[bytes]:
    commands: tuple[Wish, ...] = (StopRun(), AddNote("a note"), SetRate(5.0), Extend(30.0))
    return (msgspec.json.encode(command) for command in commands)


def _granted(_: Wish) -> Answer:
    return Answer(True, "done")
