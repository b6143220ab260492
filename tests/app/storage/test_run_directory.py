import os
import shutil
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from msgspec.structs import replace

from app.cli.main import main
from app.errors import ExitCode, UsageError
from app.records.calls import CALL_SCHEMA, unpack_calls
from app.records.events import PhaseChanged, RunFinished, RunStarted
from app.storage.baselines import read_baseline
from app.storage.bundle import import_directory, is_valid_run_id
from app.storage.run_directory import (
    CALLS,
    EVENTS,
    REQUESTS,
    RESULT,
    RunWriter,
    StoredRun,
    find_free_directory,
    find_run,
    link_run,
    list_stored_runs,
    new_run_id,
    runs_home,
    write_atomically,
    write_document,
)
from app.storage.streams import StreamWriter, find_stage_spans
from loadgen.records import REQUEST_SCHEMA
from tests.fakes.disk import largest_file
from tests.fakes.results import full_run, run_without_load
from tests.fakes.stored_runs import stored_run, unfinished_run


def test_unwritable_document_is_reported(tmp_path: Path) -> None:
    assert write_document(tmp_path / "report.txt", b"report").read_bytes() == b"report"
    with pytest.raises(UsageError, match=r"report\.txt cannot be written: "):
        write_document(tmp_path / "no folder" / "report.txt", b"report")


def test_run_is_complete_after_its_run_finished_event(tmp_path: Path) -> None:
    with RunWriter(tmp_path / "run") as writer:
        writer.append_event(PhaseChanged(1, "doctor", "looking"))
        stored = StoredRun(tmp_path / "run")
        assert not stored.is_complete
        writer.append_event(RunFinished(2, "VALID", 0))
    assert stored.is_complete
    assert stored.events()[0] == PhaseChanged(1, "doctor", "looking")


def test_truncated_last_event_is_ignored(tmp_path: Path) -> None:
    with RunWriter(tmp_path / "run") as writer:
        writer.append_event(PhaseChanged(1, "doctor", "whole"))
        writer.append_event(PhaseChanged(2, "doctor", "cut"))
    path = tmp_path / "run" / EVENTS
    path.write_bytes(path.read_bytes()[:-5])
    assert [event.at_ns for event in StoredRun(tmp_path / "run").events()] == [1]


def test_appended_rows_are_readable_at_once(tmp_path: Path) -> None:
    with RunWriter(tmp_path / "run") as writer:
        writer.append_requests(pa.RecordBatch.from_pylist([{"stage": 0, "index": 3}], schema=REQUEST_SCHEMA))
        assert StoredRun(tmp_path / "run").requests()["index"].to_pylist() == [3]


def test_directory_with_a_run_is_not_overwritten(tmp_path: Path) -> None:
    RunWriter(tmp_path / "run").close()
    with pytest.raises(UsageError, match="already contains a run"):
        RunWriter(tmp_path / "run")


def test_unwritable_run_directory_is_a_usage_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(UsageError, match="a run cannot be written"):
        RunWriter(tmp_path / "file" / "run")


def test_artifact_checksum_depends_on_the_content(tmp_path: Path) -> None:
    def hash_of_requests(name: str, rows: int) -> str:
        with RunWriter(tmp_path / name) as writer:
            for index in range(rows):
                writer.append_requests(pa.RecordBatch.from_pylist([{"index": index}], schema=REQUEST_SCHEMA))
            return next(artifact.sha256 for artifact in writer.seal() if artifact.path == REQUESTS)

    assert hash_of_requests("one", 1) != hash_of_requests("two", 2)


def test_directory_without_a_run_is_a_usage_error(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="does not contain a run"):
        StoredRun(tmp_path)


def test_damaged_result_is_a_usage_error(tmp_path: Path) -> None:
    (tmp_path / "result.json").write_text('{"schema": 3}')
    with pytest.raises(UsageError, match="cannot be read"):
        _ = StoredRun(tmp_path).result


@pytest.mark.parametrize("schema", [1, 2, 4])
def test_result_of_another_schema_is_rejected_with_its_schema(tmp_path: Path, schema: int) -> None:
    (tmp_path / "result.json").write_text(f'{{"schema": {schema}}}')
    with pytest.raises(
        UsageError, match=f"it has schema {schema}, but this version of Sizewise reads schema 3"
    ) as caught:
        _ = StoredRun(tmp_path).result
    assert "\n" not in str(caught.value)


def test_events_of_a_killed_run_of_another_schema_are_rejected_with_its_schema(tmp_path: Path) -> None:
    checked = '{"type":"checked","at_ns":2,"check":{"check":"cores"}}'
    (tmp_path / "events.jsonl").write_text(f'{{"type":"run_started"}}\n{checked}\n')
    with pytest.raises(UsageError, match="it has schema 1, but this version of Sizewise reads schema 3"):
        StoredRun(tmp_path).events()


def test_run_is_selected_by_id_prefix_or_as_the_last(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SIZEWISE_HOME", str(tmp_path))
    for day in (1, 2):
        RunWriter(tmp_path / "runs" / new_run_id("My Model!", datetime(2026, 1, day, tzinfo=UTC))).close()
    assert find_run("20260101").run_id.startswith("20260101-000000-my-model-")
    assert find_run("last").run_id.startswith("20260102")
    with pytest.raises(UsageError, match="is ambiguous: it matches 2 runs"):
        find_run("2026")
    with pytest.raises(UsageError, match="no run matches"):
        find_run("2027")


def test_aborted_run_with_rows_is_reported_to_have_measurements(tmp_path: Path) -> None:
    with RunWriter(tmp_path / "run") as writer:
        writer.append_requests(pa.RecordBatch.from_pylist([{"stage": 0, "index": 0}], schema=REQUEST_SCHEMA))
        writer.append_event(RunFinished(2, "ABORTED", 3, ("the disk is full",)))
    with pytest.raises(UsageError, match=r"has measured rows, but no result\.json \(it ended with: the disk is full\)"):
        _ = StoredRun(tmp_path / "run").complete_result


def test_last_run_is_the_latest_measured_or_running_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SIZEWISE_HOME", str(tmp_path))
    runs = tmp_path / "runs"
    with RunWriter(runs / "1-killed") as writer:
        writer.append_requests(pa.RecordBatch.from_pylist([{"stage": 0, "index": 0}], schema=REQUEST_SCHEMA))
    with RunWriter(runs / "2-refused") as writer:
        writer.append_event(RunFinished(2, "UNAVAILABLE", 3, ("nothing listens there",)))
    assert find_run("last").run_id == "1-killed"
    with RunWriter(runs / "3-measured") as writer:
        writer.write_result(full_run().result)
    with RunWriter(runs / "4-interrupted") as writer:
        writer.write_result(run_without_load().result)
    assert find_run("last").directory.name == "3-measured"
    unfinished_run(runs / "5-running", os.getpid())
    assert find_run("last").directory.name == "5-running"


def test_runs_are_ordered_by_start_time_and_not_by_id(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SIZEWISE_HOME", str(tmp_path))
    starts = {
        "zzz": "2026-01-02T10:00:00+00:00",
        "99991231-235959-late": "2026-01-02T11:00:00+00:00",
        "abc": "2026-01-02T11:30:00+00:00",
        "east": "2026-01-02T13:15:00+02:00",
    }
    for run_id, started_at in starts.items():
        with RunWriter(runs_home() / run_id) as writer:
            writer.append_event(RunStarted(1, run_id, "test", "", 0, started_at=started_at))
            writer.write_result(full_run().result)
    assert [run.directory.name for run in list_stored_runs()] == ["zzz", "99991231-235959-late", "east", "abc"]
    assert find_run("last").directory.name == "abc"
    assert new_run_id("a", datetime.fromisoformat(starts["east"])).startswith("20260102-111500-")


def test_imported_run_is_never_the_last(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SIZEWISE_HOME", str(tmp_path))
    with RunWriter(tmp_path / "late") as writer:
        writer.append_event(RunStarted(1, "99991231", "test", "", 0, started_at="9999-12-31T00:00:00+00:00"))
        writer.write_result(replace(full_run().result, run_id="99991231", artifacts=writer.seal()))
    import_directory(tmp_path / "late")
    with pytest.raises(UsageError, match="only imported runs"):
        find_run("last")
    with RunWriter(runs_home() / "20260101-000000-own") as writer:
        writer.write_result(replace(full_run().result, run_id="20260101-000000-own"))
    assert find_run("last").run_id == "20260101-000000-own"
    assert read_baseline("last", full_run().result.name).run_id == "20260101-000000-own"
    assert find_run("9999").run_id == "99991231"


@pytest.mark.parametrize("word", ["last", "promoted", "LAST"])
def test_reserved_word_is_not_a_valid_run_id(word: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SIZEWISE_HOME", str(tmp_path))
    assert not is_valid_run_id(word)
    assert main(["run", "quickstart", "--out", str(runs_home() / word)]) == ExitCode.USAGE
    assert not runs_home().exists()
    with RunWriter(tmp_path / "run") as writer:
        writer.write_result(replace(full_run().result, run_id=word, artifacts=writer.seal()))
    with pytest.raises(UsageError, match="is not a valid run ID"):
        import_directory(tmp_path / "run")


def test_atomic_write_replaces_a_file_and_leaves_no_draft(tmp_path: Path) -> None:
    write_atomically(tmp_path / "a", b"one")
    write_atomically(tmp_path / "a", b"two")
    assert [path.name for path in tmp_path.iterdir()] == ["a"]
    assert (tmp_path / "a").read_bytes() == b"two"


def test_rows_are_synced_to_disk_before_their_stage_finished_event_and_the_result(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    synced: list[tuple[str, int]] = []
    sync = os.fsync

    def recorded(descriptor: int) -> None:
        sync(descriptor)
        path = Path(f"/proc/self/fd/{descriptor}").readlink()
        synced.append((path.name, path.stat().st_size if path.is_file() else 0))

    monkeypatch.setattr(os, "fsync", recorded)
    stored = stored_run(tmp_path / "run")
    spans, _ = find_stage_spans(tmp_path / "run" / REQUESTS, REQUEST_SCHEMA)
    ends = [end for _, end in spans.values()]
    events = [size for name, size in synced if name == EVENTS]
    lines = (tmp_path / "run" / EVENTS).read_bytes().splitlines(keepends=True)
    at = [sum(map(len, lines[: index + 1])) for index, line in enumerate(lines) if b'"stage_finished"' in line]
    assert len(at) == 3
    for stage, end in enumerate(ends):
        assert synced.index((REQUESTS, end)) < synced.index((EVENTS, at[stage]))
    assert events[-1] == sum(map(len, lines))
    assert (f"{RESULT}.part", (tmp_path / "run" / RESULT).stat().st_size) in synced
    assert synced[synced.index((f"{RESULT}.part", (tmp_path / "run" / RESULT).stat().st_size)) + 1] == ("run", 0)
    assert stored.is_complete


def test_event_that_exceeds_the_disk_space_is_reported(tmp_path: Path) -> None:
    with RunWriter(tmp_path / "run") as writer, largest_file(100), pytest.raises(OSError, match="too large"):
        writer.append_event(PhaseChanged(1, "doctor", "long" * 100))


@pytest.mark.parametrize(
    ("columns", "last", "schema"),
    [(10, "reused", "1"), (11, "correct_rows", "1"), (21, "chunk_tokens", "2"), (24, "max_output_tokens", "3")],
)
def test_missing_columns_of_older_request_files_are_null(tmp_path: Path, columns: int, last: str, schema: str) -> None:
    """Schema 1, before and after `correct_rows` was added, 2 and 3."""
    RunWriter(tmp_path).close()
    (tmp_path / REQUESTS).unlink()
    older = pa.schema(list(REQUEST_SCHEMA)[:columns], metadata={"sizewise.requests": schema})
    assert older.names[-1] == last
    with StreamWriter(tmp_path / REQUESTS, older) as writer:
        writer.append(pa.RecordBatch.from_pylist([{"index": 3}], schema=older))
    table = StoredRun(tmp_path).requests()
    assert table.schema.names == REQUEST_SCHEMA.names
    assert table["index"].to_pylist() == [3]
    assert all(table[name].null_count == 1 for name in REQUEST_SCHEMA.names[columns:])


def test_request_file_with_another_schema_is_a_usage_error(tmp_path: Path) -> None:
    RunWriter(tmp_path).close()
    (tmp_path / REQUESTS).unlink()
    StreamWriter(tmp_path / REQUESTS, pa.schema([("x", pa.int64())])).close()
    with pytest.raises(UsageError, match=r"requests\.arrow cannot be read"):
        StoredRun(tmp_path).requests()


def test_rows_of_one_stage_are_readable_during_the_run(tmp_path: Path) -> None:
    with RunWriter(tmp_path / "run") as writer:
        for stage, index in ((0, 0), (0, 1), (2, 0), (3, 0), (3, 1), (3, 2)):
            writer.append_requests(
                pa.RecordBatch.from_pylist([{"stage": stage, "index": index}], schema=REQUEST_SCHEMA)
            )
        writer.append_requests(pa.RecordBatch.from_pylist([], schema=REQUEST_SCHEMA))
        tables = {stage: writer.stage_requests(stage, excluded_columns=("status",)) for stage in range(4)}
    assert {stage: table["index"].to_pylist() for stage, table in tables.items()} == {
        0: [0, 1], 1: [], 2: [0], 3: [0, 1, 2],
    }  # fmt: skip
    assert all(set(REQUEST_SCHEMA.names) - set(table.schema.names) == {"status"} for table in tables.values())


def test_calls_of_one_stage_are_readable_during_and_after_the_run(tmp_path: Path) -> None:
    def rows(stage: int, *queries: int) -> pa.RecordBatch:
        return unpack_calls(
            stage, np.array([[query, 0, -1, 1, 2, -1, 3, -1, 4] for query in queries], np.int64).tobytes()
        )

    with RunWriter(tmp_path / "run") as writer:
        for batch in (rows(0, 1, 2), rows(0, 3), rows(1, 9), unpack_calls(1, b""), rows(1, 10)):
            writer.append_calls(batch)
            assert writer.stage_calls(0)["query"].to_pylist() == [1, 2, 3][: writer.stage_calls(0).num_rows]
        assert writer.stage_calls(1)["query"].to_pylist() == [9, 10]
        assert CALLS in {artifact.path for artifact in writer.seal()}
        assert writer.stage_calls(0)["query"].to_pylist() == [1, 2, 3]
        assert writer.stage_calls(7).num_rows == 0
    assert StoredRun(tmp_path / "run").calls()["stage"].to_pylist() == [0, 0, 0, 1, 1]


def test_run_of_an_endpoint_has_no_calls_file(tmp_path: Path) -> None:
    with RunWriter(tmp_path / "run") as writer:
        assert writer.stage_calls(0).schema == CALL_SCHEMA
        assert CALLS not in {artifact.path for artifact in writer.seal()}
    assert StoredRun(tmp_path / "run").calls().num_rows == 0
    assert not (tmp_path / "run" / CALLS).exists()


def test_outputs_are_stored_under_an_absolute_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with RunWriter(Path("run")) as writer:
        path = Path(writer.store_outputs("reference-1", np.arange(6.0).reshape(2, 3)))
    assert path.is_absolute()
    with np.load(path, allow_pickle=False) as stored:
        assert stored["outputs"].tolist() == [[0, 1, 2], [3, 4, 5]]


def test_linked_run_outside_the_home_is_listed_until_its_directory_moves(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SIZEWISE_HOME", str(tmp_path / "home"))
    for name in ("1-inside", "2-outside", "3-gone"):
        out = runs_home() / name if name == "1-inside" else tmp_path / name
        with RunWriter(out) as writer:
            writer.write_spec("sizewise: 1")
        link_run(out, name)
    assert [run.directory.name for run in list_stored_runs()] == ["1-inside", "2-outside", "3-gone"]
    assert not (runs_home() / "1-inside").is_symlink()
    assert find_run("2-out").directory.resolve() == tmp_path / "2-outside"
    (tmp_path / "3-gone").rename(tmp_path / "moved")
    link_run(tmp_path / "moved", "4-moved")
    assert [run.directory.name for run in list_stored_runs()] == ["1-inside", "2-outside", "4-moved"]
    assert not (runs_home() / "3-gone").is_symlink()


def test_directory_with_a_run_stores_the_next_run_in_a_subdirectory(tmp_path: Path) -> None:
    out = tmp_path / "results"
    assert find_free_directory(out, "2-second") == out
    with RunWriter(out) as writer:
        writer.write_spec("sizewise: 1")
    assert find_free_directory(out, "2-second") == out / "2-second"


def test_directory_measured_again_has_a_single_link_for_the_new_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SIZEWISE_HOME", str(tmp_path / "home"))
    for name in ("1-first", "2-second"):
        out = tmp_path / "results"
        with RunWriter(out) as writer:
            writer.write_spec("sizewise: 1")
        link_run(out, name)
        if name == "1-first":
            out.rename(tmp_path / "gone")
            shutil.rmtree(tmp_path / "gone")
    assert [run.directory.name for run in list_stored_runs()] == ["2-second"]
    with RunWriter(tmp_path / "other") as writer:
        writer.write_spec("sizewise: 1")
    link_run(tmp_path / "results", "3-third")
    assert [path.name for path in runs_home().iterdir()] == ["3-third"]


def test_new_run_directory_is_private_and_existing_permissions_are_unchanged(tmp_path: Path) -> None:
    RunWriter(tmp_path / "run").close()
    assert (tmp_path / "run").stat().st_mode & 0o777 == 0o700
    (tmp_path / "mine").mkdir(0o755)
    (tmp_path / "mine").chmod(0o755)
    RunWriter(tmp_path / "mine").close()
    assert (tmp_path / "mine").stat().st_mode & 0o777 == 0o755
