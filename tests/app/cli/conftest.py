"""Stored runs for the tests of commands."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pytest

from app.storage.run_directory import RunWriter
from loadgen.records import REQUEST_SCHEMA
from tests.fakes.results import run_without_load
from tests.fakes.traffic import streaming_run


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A home with a run of streamed responses and a run without requests."""
    home = tmp_path_factory.mktemp("home")
    run = streaming_run()
    rows = pa.Table.from_pandas(run.rows, REQUEST_SCHEMA, preserve_index=False)
    with RunWriter(home / "runs" / "1-chat") as writer:
        for batch in rows.to_batches():
            writer.append_requests(batch)
        writer.write_result(run.result)
    with RunWriter(home / "runs" / "2-nothing") as writer:
        writer.write_result(run_without_load().result)
    return home


@pytest.fixture
def runs(home: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("SIZEWISE_HOME", str(home))
    return home / "runs"
