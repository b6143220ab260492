"""A run directory with damaged files, read as `runs list` and `report` do; the first byte chooses the run."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterable

from app.errors import SizewiseError
from app.reporting.opened import load_run
from app.reporting.run_rows import list_runs
from app.storage.labels import read_labels
from app.storage.run_directory import StoredRun
from tests.fuzz.scratch import EDITS, RUNS, edited_run, scratch_folder


def read(data: bytes) -> None:
    with scratch_folder() as folder:
        os.environ["SIZEWISE_HOME"] = str(folder)
        name = RUNS[data[0] % len(RUNS)] if data else RUNS[0]
        stored = StoredRun(edited_run(name, data[1:], folder / "runs"))
        assert len(list_runs().rows) == 1, "a damaged run stays in the list"
        with contextlib.suppress(SizewiseError):
            read_labels(stored.directory)
        with contextlib.suppress(SizewiseError):
            _ = stored.is_complete, stored.result
        opened = load_run(stored, recover=True)
        opened.reevaluate()
        opened.reevaluate(["error_rate < 1%"])


def seeds() -> Iterable[bytes]:
    return (bytes([run]) + edits for edits in EDITS for run in range(len(RUNS)))
