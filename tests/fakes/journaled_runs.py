"""A run of version 0.1.0 that was killed, as the engine of this version writes it: each append has a checksum."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pyarrow as pa

from app.records.calibration import Calibration
from app.records.telemetry import TELEMETRY_SCHEMA
from app.storage.names import CALIBRATION, REQUESTS, TELEMETRY
from app.storage.run_directory import RunWriter, StoredRun
from app.storage.streams import stream_batches
from loadgen.decoding import decode_json
from loadgen.records import REQUEST_SCHEMA
from tests.fakes.golden_runs import golden_run


def journaled_run(folder: Path, name: str = "journaled") -> Path:
    """Append the events, rows and readings of the golden killed run in the order of their times."""
    older = StoredRun(golden_run("killed", folder / f"{name} before"))
    events, environment = older.events(), older.environment
    assert environment is not None
    appends: list[tuple[int, Callable[[RunWriter], None]]] = [
        *((event.at_ns, lambda writer, event=event: writer.append_event(event)) for event in events),
        *(
            (_last(batch, "end_ns"), lambda writer, batch=batch: writer.append_requests(batch))
            for batch in _batches(older, REQUESTS, REQUEST_SCHEMA)
        ),
        *(
            (_last(batch, "at_ns"), lambda writer, batch=batch: writer.append_telemetry(batch))
            for batch in _batches(older, TELEMETRY, TELEMETRY_SCHEMA)
        ),
    ]
    with RunWriter(folder / name) as writer:
        writer.write_spec(older.spec_text or "")
        writer.write_environment(environment)
        writer.write_calibration(decode_json((older.directory / CALIBRATION).read_bytes(), Calibration))
        for _, append in sorted(appends, key=lambda timed: timed[0]):
            append(writer)
    return folder / name


def _batches(run: StoredRun, name: str, schema: pa.Schema) -> list[pa.RecordBatch]:
    """Rows with every column of this version."""
    return [
        pa.RecordBatch.from_pylist(batch.to_pylist(), schema=schema)
        for batch in stream_batches(run.directory / name, schema)
    ]


def _last(batch: pa.RecordBatch, column: str) -> int:
    latest: int = pa.compute.max(batch[column]).as_py()
    return latest
