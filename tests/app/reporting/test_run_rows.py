from __future__ import annotations

import contextlib
import os
import sqlite3
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import msgspec
import pytest
from msgspec.structs import replace

from app.errors import UsageError
from app.records.events import RunStarted
from app.records.metrics import format_metric
from app.records.result import Gpu
from app.reporting.run_rows import (
    UNREADABLE,
    RunRow,
    build_headline_number,
    build_trend,
    filter_rows,
    format_change,
    format_headline,
    format_max_rate,
    format_metric_name,
    list_runs,
)
from app.storage.checksums import write_checksums
from app.storage.control import CONTROL
from app.storage.labels import LABELS, add_tags
from app.storage.names import CALLS, IMPORTED
from app.storage.run_directory import EVENTS, RESULT, RunWriter, StoredRun
from app.storage.run_index import INDEX, load_rows
from app.storage.trash import delete_runs
from tests.app.cli.test_runs import scaled
from tests.fakes.calls import call, table_of
from tests.fakes.local_runs import local_run, run_of_failed_variants
from tests.fakes.results import full_run, run_without_load
from tests.fakes.searched_runs import hopeless_run, searched_run
from tests.fakes.traffic import streaming_run


def test_headline_of_an_endpoint_run_is_its_max_rate() -> None:
    max_rate = full_run().result.max_rate
    assert max_rate is not None
    assert max_rate.per_s.value is not None
    assert format_max_rate(full_run().result) == f"{max_rate.per_s.value:.0f} req/s"
    untested_above = replace(full_run().result, max_rate=replace(max_rate, is_lower_bound=True))
    assert format_max_rate(untested_above) == f"≥ {max_rate.per_s.value:.0f} req/s"
    assert format_headline(untested_above) == f"max rate ≥ {max_rate.per_s.value:.0f} req/s"


def test_max_rate_text_of_a_local_run_is_that_of_its_best_variant() -> None:
    assert format_max_rate(local_run().result) == "1,600 inferences/s, cpu int8-static, batch 4"
    assert format_max_rate(searched_run(alone=False).result) == "400 calls/s, int8-static, batch 4"
    assert format_max_rate(searched_run(bound="generator").result) == "≥ 400 calls/s, digits cpu int8-static, batch 4"


def test_run_without_a_passing_rate_has_no_max_rate_text() -> None:
    assert format_max_rate(run_of_failed_variants().result) is None
    assert format_max_rate(hopeless_run().result) is None


def test_run_headline_is_the_max_rate_or_the_latency_of_the_slo() -> None:
    result = full_run().result
    assert format_headline(result) == f"max rate {format_max_rate(result)}"
    assert format_headline(local_run().result) == "1,600 inferences/s, cpu int8-static, batch 4"
    assert format_headline(streaming_run().result) == "p95 TTFT 252 ms"
    assert format_headline(run_of_failed_variants().result) is None
    assert format_headline(run_without_load().result) is None


def test_headline_number_has_the_metric_and_value_of_the_headline() -> None:
    headline_numbers = {
        name: build_headline_number(result)
        for name, result in (
            ("search", full_run().result),
            ("local", local_run().result),
            ("local search", searched_run(alone=False).result),
            ("stream", streaming_run().result),
            ("none", run_without_load().result),
        )
    }
    numbers = {
        name: (format_metric(number.metric, number.aggregate), number.unit)
        for name, number in headline_numbers.items()
        if number is not None
    }
    values = {name: number.estimate.value for name, number in headline_numbers.items() if number is not None}
    max_rate = full_run().result.max_rate
    assert max_rate is not None
    bound = build_headline_number(searched_run(bound="untested").result)
    assert bound is not None
    assert (
        bound.is_bound,
        headline_numbers["local search"] is not None and headline_numbers["local search"].is_bound,
    ) == (True, False)
    assert numbers == {
        "search": ("max_rate_within_slo", "1/s"),
        "local": ("throughput_per_s", "1/s"),
        "local search": ("max_rate_within_slo", "calls/s"),
        "stream": ("ttft_ms.p95", "ms"),
    }
    assert values == {
        "search": max_rate.per_s.value,
        "local": pytest.approx(1_600),
        "local search": 400,
        "stream": pytest.approx(252, abs=0.5),
    }


FULL_RESULT = full_run().result


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Store three finished runs and a running one; return their folder."""
    monkeypatch.setenv("SIZEWISE_HOME", str(tmp_path))
    folder = tmp_path / "runs"
    for number in range(3):
        with RunWriter(folder / f"run-{number}") as writer:
            writer.write_result(replace(FULL_RESULT, run_id=f"run-{number}"))
    with RunWriter(folder / "run-3") as writer:
        writer.append_event(RunStarted(1, "run-3", "test", str(folder), os.getpid()))
        yield folder


def test_run_row_has_name_verdict_max_rate_size_and_latency(home: Path) -> None:
    row = list_runs().rows[0]
    assert (row.run_id, row.name, row.verdict, row.url) == (
        "run-0",
        FULL_RESULT.name,
        "WARN",
        FULL_RESULT.target.urls[0],
    )
    assert (row.max_rate_text, row.started_at, row.duration_s) == (
        "218 req/s",
        FULL_RESULT.clock.wall_start,
        FULL_RESULT.clock.duration_s,
    )
    assert row.size_bytes == sum(path.stat().st_size for path in (home / "run-0").iterdir() if path.is_file())
    headline_values = [stage.metrics["latency_ms"]["p95"].value for stage in FULL_RESULT.stages if stage.in_headline]
    assert row.latency_p95_ms in headline_values
    assert row.latency_p95_ms is not None
    assert row.ttft_p95_ms is None


def test_indexed_runs_are_not_read_again(home: Path) -> None:
    before = list_runs()
    for number in range(3):
        path, status = home / f"run-{number}" / RESULT, (home / f"run-{number}" / RESULT).stat()
        path.write_bytes(
            b"x" * status.st_size
        )  # with the same size and time, so that only reading the file shows the change
        os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
    assert list_runs() == before


def test_changed_tags_or_results_update_the_runs_list(home: Path) -> None:
    list_runs()
    add_tags(home / "run-1", ["nightly"])
    (home / "run-2" / RESULT).write_text("{")
    rows = list_runs().rows
    assert [row.tags for row in rows[:3]] == [(), ("nightly",), ()]
    assert rows[2].verdict == "unreadable"


def test_run_with_truncated_or_missing_rows_is_unreadable(home: Path) -> None:
    for name in ("run-a", "run-b"):
        with RunWriter(home / name) as writer:
            writer.append_event(RunStarted(1, name, "test", str(home), 1))
            writer.append_calls(table_of([call(0, 4), call(4, 8)]).to_batches()[0])
            writer.write_result(replace(FULL_RESULT, run_id=name))
        write_checksums(home / name, ())
    assert [row.verdict for row in list_runs().rows[-2:]] == ["WARN", "WARN"]
    calls = home / "run-a" / CALLS
    calls.write_bytes(calls.read_bytes()[:-20])
    (home / "run-b" / CALLS).unlink()
    rows = list_runs().rows
    assert [(row.verdict, row.headline, row.name) for row in rows[-2:]] == [("unreadable", None, FULL_RESULT.name)] * 2
    assert rows[0].verdict == "WARN"


def test_running_run_is_not_read_from_the_index(home: Path) -> None:
    assert list_runs().rows[3].state == "running"
    (home / "run-3" / "control").rename(home / "taken away")
    try:
        assert list_runs().rows[3].state == "interrupted"
    finally:
        (home / "taken away").rename(home / "run-3" / "control")


@pytest.mark.parametrize("damage", ["none", "no database", "gone"])
def test_deleted_or_damaged_index_is_rebuilt(home: Path, damage: str) -> None:
    before = list_runs()
    if damage == "no database":
        (home / INDEX).write_bytes(b"no database at all, " * 100)
    elif damage == "gone":
        (home / INDEX).unlink()
    assert list_runs() == before
    assert list_runs() == before
    assert (home / INDEX).exists()


def test_runs_beyond_the_time_limit_are_listed_as_not_read_yet(home: Path) -> None:
    times = iter([0.0, 0.0, 0.2, 0.2, 0.2])
    first = list_runs(time_limit_s=0.1, now_s=lambda: next(times))
    assert [row.state for row in first.rows] == ["done", "not read yet", "not read yet", "not read yet"]
    assert first.unread == 3
    assert first.rows[1].run_id == "run-1"
    assert list_runs(time_limit_s=60.0).unread == 0


def test_deleted_run_is_removed_from_the_list_and_the_index(home: Path) -> None:
    list_runs()
    delete_runs([StoredRun(home / "run-0")], datetime.now(UTC))
    assert [row.run_id for row in list_runs().rows] == ["run-1", "run-2", "run-3"]
    assert set(load_rows()) == {"run-1", "run-2"}


def test_filters_by_words_tags_and_validity_are_combined() -> None:
    rows = [
        RunRow("1", "/1", name="chat", verdict="VALID", tags=("nightly", "l4"), url="http://10.0.0.7/v1"),
        RunRow("2", "/2", name="chat", verdict="WARN", tags=("nightly",)),
        RunRow("3", "/3", name="score", verdict="VALID"),
    ]

    def find_ids(**filters: object) -> str:
        return "".join(row.run_id for row in filter_rows(rows, **filters))  # type: ignore[arg-type]

    assert find_ids() == "123"
    assert find_ids(words="CHAT night") == "12"
    assert find_ids(words="10.0.0.7") == "1"
    assert find_ids(tags=["nightly", "l4"]) == "1"
    assert find_ids(validity="VALID", words="score") == "3"
    assert find_ids(validity="INVALID") == ""


@pytest.mark.parametrize("pid", ["9" * 25, "9223372036854775807", "-1", "0", "1e300"])
def test_run_with_an_invalid_pid_does_not_hide_other_runs(home: Path, pid: str) -> None:
    directory = home / "run-4"
    (directory / CONTROL).mkdir(parents=True)
    started = msgspec.json.encode(RunStarted(1, "run-4", "test", str(directory), 77))
    (directory / EVENTS).write_bytes(started.replace(b'"pid":77', b'"pid":' + pid.encode()) + b"\n")
    rows = {row.run_id: row for row in list_runs().rows}
    assert len(rows) == 5
    assert rows["run-4"].state != "running"
    assert rows["run-0"].verdict == "WARN"


@pytest.mark.parametrize("name", [LABELS, RESULT, EVENTS])
def test_run_with_invalid_utf8_does_not_hide_other_runs(home: Path, name: str) -> None:
    add_tags(home / "run-1", ["nightly"])
    path = home / "run-1" / name
    if name == EVENTS:
        (home / "run-1" / RESULT).unlink()
        path.write_bytes(b'{"type":"noted","at_ns":1,"text":"\xff"}\n')
    else:
        content = path.read_bytes()
        index = content.index(b"nightly") if name == LABELS else content.index(FULL_RESULT.name.encode())
        path.write_bytes(content[:index] + b"\xff" + content[index + 1 :])
    rows = {row.run_id: row.verdict for row in list_runs().rows}
    assert rows == {"run-0": "WARN", "run-1": UNREADABLE, "run-2": "WARN", "run-3": None}


@pytest.mark.parametrize("column", ["CAST(? AS TEXT)", "CAST(? AS BLOB)", "1"])
@pytest.mark.parametrize("content", [b'{"run_id": "\xff", "directory": ""}', b"{}", b"[" * 100_000])
def test_unreadable_index_row_is_rebuilt(home: Path, column: str, content: bytes) -> None:
    before = list_runs()
    with contextlib.closing(sqlite3.connect(home / INDEX)) as index, index:
        index.execute(f"UPDATE rows SET row = {column} WHERE ?1 IS NOT NULL AND name = 'run-1'", (content,))
    assert list_runs() == before


def test_trend_has_only_runs_of_the_profile(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SIZEWISE_HOME", str(tmp_path))
    result = full_run().result
    for number in range(16):
        with RunWriter(tmp_path / "runs" / f"{number:02d}") as writer:
            writer.write_result(scaled(result, number, 1.5 if number >= 8 else 1.0 + number / 1000))
    with RunWriter(tmp_path / "runs" / "another") as writer:
        writer.write_result(replace(scaled(result, 17, 9.0), name="another"))
    trend = build_trend(result.name)
    assert [run.run_id for run in trend.runs] == [f"run-{number:02d}" for number in range(16)]
    (p95,) = [series for series in trend.series if format_metric_name(series) == "latency_ms.p95"]
    assert format_change(p95, 0) == "+49 % since run-08 (worse)"
    assert build_trend(None).name == "another"
    with pytest.raises(UsageError, match="no run of none was found"):
        build_trend("none")


def test_imported_runs_do_not_select_profile_or_machine_of_a_trend(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SIZEWISE_HOME", str(tmp_path))
    result = full_run().result
    with RunWriter(tmp_path / "runs" / "own") as writer:
        writer.write_result(scaled(result, 1, 1.0))
    environment = replace(result.environment, gpus=(Gpu(0, "another GPU", None, None, None),), fingerprint="another")
    with RunWriter(tmp_path / "runs" / "imported") as writer:
        writer.write_result(replace(scaled(result, 9, 1.0), environment=environment))
    (tmp_path / "runs" / "imported" / IMPORTED).touch()
    assert [run.run_id for run in build_trend(result.name).runs] == ["run-01"]
    with RunWriter(tmp_path / "runs" / "other") as writer:
        writer.write_result(replace(scaled(result, 12, 1.0), name="other"))
    (tmp_path / "runs" / "other" / IMPORTED).touch()
    assert build_trend(None).name == result.name
    assert [row.run_id for row in list_runs().rows if row.is_imported] == ["run-09", "run-12"]


def test_run_without_a_result_does_not_hide_runs_from_a_trend(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SIZEWISE_HOME", str(tmp_path))
    result = full_run().result
    with RunWriter(tmp_path / "runs" / "20260101-120000-measured-0a1b") as writer:
        writer.write_result(result)
    for number, name in enumerate((result.name, "another")):
        with RunWriter(tmp_path / "runs" / f"20260102-12000{number}-killed-0a1b") as writer:
            writer.append_event(RunStarted(number, "killed", name, "", 0))
    assert [run.run_id for run in build_trend(result.name).runs] == [result.run_id]
    assert build_trend(None).name == result.name
    with pytest.raises(UsageError, match="no run of another was found"):
        build_trend("another")
