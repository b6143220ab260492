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
from tests.fakes.local_runs import local_run, only_failed
from tests.fakes.results import full_run, nothing_measured
from tests.fakes.searched_runs import hopeless_run, searched_run
from tests.fakes.traffic import streaming_run


def test_of_an_endpoint_it_is_its_max_rate() -> None:
    found = full_run().result.max_rate
    assert found is not None
    assert found.per_s.value is not None
    assert format_max_rate(full_run().result) == f"{found.per_s.value:.0f} req/s"
    untested_above = replace(full_run().result, max_rate=replace(found, is_lower_bound=True))
    assert format_max_rate(untested_above) == f"≥ {found.per_s.value:.0f} req/s"
    assert format_headline(untested_above) == f"max rate ≥ {found.per_s.value:.0f} req/s"


def test_of_a_local_model_it_is_what_its_best_variant_does() -> None:
    assert format_max_rate(local_run().result) == "1,600 inferences/s, cpu int8-static, batch 4"
    assert format_max_rate(searched_run(alone=False).result) == "400 calls/s, int8-static, batch 4"
    assert format_max_rate(searched_run(bound="generator").result) == "≥ 400 calls/s, digits cpu int8-static, batch 4"


def test_where_nothing_was_found_there_are_no_words() -> None:
    assert format_max_rate(only_failed().result) is None
    assert format_max_rate(hopeless_run().result) is None


def test_the_headline_is_the_max_rate_or_else_the_latency_of_the_slo() -> None:
    result = full_run().result
    assert format_headline(result) == f"max rate {format_max_rate(result)}"
    assert format_headline(local_run().result) == "1,600 inferences/s, cpu int8-static, batch 4"
    assert format_headline(streaming_run().result) == "p95 TTFT 252 ms"
    assert format_headline(only_failed().result) is None
    assert format_headline(nothing_measured().result) is None


def test_the_headline_number_is_the_one_in_the_headline() -> None:
    found = {
        name: build_headline_number(result)
        for name, result in (
            ("search", full_run().result),
            ("local", local_run().result),
            ("local search", searched_run(alone=False).result),
            ("stream", streaming_run().result),
            ("none", nothing_measured().result),
        )
    }
    numbers = {
        name: (format_metric(number.metric, number.aggregate), number.unit)
        for name, number in found.items()
        if number is not None
    }
    values = {name: number.estimate.value for name, number in found.items() if number is not None}
    max_rate = full_run().result.max_rate
    assert max_rate is not None
    bound = build_headline_number(searched_run(bound="untested").result)
    assert bound is not None
    assert (bound.is_bound, found["local search"] is not None and found["local search"].is_bound) == (True, False)
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


WHOLE = full_run().result


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Three runs that ended, one that goes on."""
    monkeypatch.setenv("SIZEWISE_HOME", str(tmp_path))
    folder = tmp_path / "runs"
    for number in range(3):
        with RunWriter(folder / f"run-{number}") as writer:
            writer.write_result(replace(WHOLE, run_id=f"run-{number}"))
    with RunWriter(folder / "run-3") as writer:
        writer.append_event(RunStarted(1, "run-3", "test", str(folder), os.getpid()))
        yield folder


def test_a_row_reports_what_a_list_shows(home: Path) -> None:
    row = list_runs().rows[0]
    assert (row.run_id, row.name, row.verdict, row.url) == ("run-0", WHOLE.name, "WARN", WHOLE.target.urls[0])
    assert (row.max_rate_text, row.started_at, row.duration_s) == (
        "218 req/s",
        WHOLE.clock.wall_start,
        WHOLE.clock.duration_s,
    )
    assert row.size_bytes == sum(path.stat().st_size for path in (home / "run-0").iterdir() if path.is_file())
    headline_values = [stage.metrics["latency_ms"]["p95"].value for stage in WHOLE.stages if stage.in_headline]
    assert row.latency_p95_ms in headline_values
    assert row.latency_p95_ms is not None
    assert row.ttft_p95_ms is None


def test_what_is_in_the_index_is_not_read_again(home: Path) -> None:
    before = list_runs()
    for number in range(3):
        path, facts = home / f"run-{number}" / RESULT, (home / f"run-{number}" / RESULT).stat()
        path.write_bytes(b"x" * facts.st_size)  # of the same size and time: only a reader would see it
        os.utime(path, ns=(facts.st_atime_ns, facts.st_mtime_ns))
    assert list_runs() == before


def test_a_label_or_another_result_is_seen_at_once(home: Path) -> None:
    list_runs()
    add_tags(home / "run-1", ["nightly"])
    (home / "run-2" / RESULT).write_text("{")
    rows = list_runs().rows
    assert [row.tags for row in rows[:3]] == [(), ("nightly",), ()]
    assert rows[2].verdict == "unreadable"


def test_a_run_whose_rows_were_truncated_or_lost_is_unreadable_at_once(home: Path) -> None:
    for name in ("run-a", "run-b"):
        with RunWriter(home / name) as writer:
            writer.append_event(RunStarted(1, name, "test", str(home), 1))
            writer.append_calls(table_of([call(0, 4), call(4, 8)]).to_batches()[0])
            writer.write_result(replace(WHOLE, run_id=name))
        write_checksums(home / name, ())
    assert [row.verdict for row in list_runs().rows[-2:]] == ["WARN", "WARN"]
    calls = home / "run-a" / CALLS
    calls.write_bytes(calls.read_bytes()[:-20])
    (home / "run-b" / CALLS).unlink()
    rows = list_runs().rows
    assert [(row.verdict, row.headline, row.name) for row in rows[-2:]] == [("unreadable", None, WHOLE.name)] * 2
    assert rows[0].verdict == "WARN"


def test_a_run_that_goes_on_is_never_from_the_index(home: Path) -> None:
    assert list_runs().rows[3].state == "running"
    (home / "run-3" / "control").rename(home / "taken away")
    try:
        assert list_runs().rows[3].state == "interrupted"
    finally:
        (home / "taken away").rename(home / "run-3" / "control")


@pytest.mark.parametrize("damage", ["none", "no database", "gone"])
def test_a_deleted_or_damaged_index_is_made_again(home: Path, damage: str) -> None:
    before = list_runs()
    if damage == "no database":
        (home / INDEX).write_bytes(b"no database at all, " * 100)
    elif damage == "gone":
        (home / INDEX).unlink()
    assert list_runs() == before
    assert list_runs() == before
    assert (home / INDEX).exists()


def test_in_too_short_a_time_the_rest_is_reported_to_be_unread_and_read_the_next_time(home: Path) -> None:
    times = iter([0.0, 0.0, 0.2, 0.2, 0.2])
    first = list_runs(time_limit_s=0.1, now_s=lambda: next(times))
    assert [row.state for row in first.rows] == ["done", "not read yet", "not read yet", "not read yet"]
    assert first.unread == 3
    assert first.rows[1].run_id == "run-1"
    assert list_runs(time_limit_s=60.0).unread == 0


def test_what_is_deleted_leaves_the_list_and_the_index(home: Path) -> None:
    list_runs()
    delete_runs([StoredRun(home / "run-0")], datetime.now(UTC))
    assert [row.run_id for row in list_runs().rows] == ["run-1", "run-2", "run-3"]
    assert set(load_rows()) == {"run-1", "run-2"}


def test_words_tags_and_trust_all_have_to_be_met() -> None:
    rows = [
        RunRow("1", "/1", name="chat", verdict="VALID", tags=("nightly", "l4"), url="http://10.0.0.7/v1"),
        RunRow("2", "/2", name="chat", verdict="WARN", tags=("nightly",)),
        RunRow("3", "/3", name="score", verdict="VALID"),
    ]

    def ids(**asked: object) -> str:
        return "".join(row.run_id for row in filter_rows(rows, **asked))  # type: ignore[arg-type]

    assert ids() == "123"
    assert ids(words="CHAT night") == "12"
    assert ids(words="10.0.0.7") == "1"
    assert ids(tags=["nightly", "l4"]) == "1"
    assert ids(validity="VALID", words="score") == "3"
    assert ids(validity="INVALID") == ""


@pytest.mark.parametrize("pid", ["9" * 25, "9223372036854775807", "-1", "0", "1e300"])
def test_a_pid_that_no_system_has_hides_no_run(home: Path, pid: str) -> None:
    directory = home / "run-4"
    (directory / CONTROL).mkdir(parents=True)
    started = msgspec.json.encode(RunStarted(1, "run-4", "test", str(directory), 77))
    (directory / EVENTS).write_bytes(started.replace(b'"pid":77', b'"pid":' + pid.encode()) + b"\n")
    rows = {row.run_id: row for row in list_runs().rows}
    assert len(rows) == 5
    assert rows["run-4"].state != "running"
    assert rows["run-0"].verdict == "WARN"


@pytest.mark.parametrize("name", [LABELS, RESULT, EVENTS])
def test_a_byte_that_is_no_text_hides_no_run(home: Path, name: str) -> None:
    add_tags(home / "run-1", ["nightly"])
    path = home / "run-1" / name
    if name == EVENTS:
        (home / "run-1" / RESULT).unlink()
        path.write_bytes(b'{"type":"noted","at_ns":1,"text":"\xff"}\n')
    else:
        content = path.read_bytes()
        place = content.index(b"nightly") if name == LABELS else content.index(WHOLE.name.encode())
        path.write_bytes(content[:place] + b"\xff" + content[place + 1 :])
    rows = {row.run_id: row.verdict for row in list_runs().rows}
    assert rows == {"run-0": "WARN", "run-1": UNREADABLE, "run-2": "WARN", "run-3": None}


@pytest.mark.parametrize("column", ["CAST(? AS TEXT)", "CAST(? AS BLOB)", "1"])
@pytest.mark.parametrize("content", [b'{"run_id": "\xff", "directory": ""}', b"{}", b"[" * 100_000])
def test_an_index_row_that_cannot_be_read_is_made_again(home: Path, column: str, content: bytes) -> None:
    before = list_runs()
    with contextlib.closing(sqlite3.connect(home / INDEX)) as index, index:
        index.execute(f"UPDATE rows SET row = {column} WHERE ?1 IS NOT NULL AND name = 'run-1'", (content,))
    assert list_runs() == before


def test_only_runs_of_the_name_are_read_and_reported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SIZEWISE_HOME", str(tmp_path))
    whole = full_run().result
    for number in range(16):
        with RunWriter(tmp_path / "runs" / f"{number:02d}") as writer:
            writer.write_result(scaled(whole, number, 1.5 if number >= 8 else 1.0 + number / 1000))
    with RunWriter(tmp_path / "runs" / "another") as writer:
        writer.write_result(replace(scaled(whole, 17, 9.0), name="another"))
    trend = build_trend(whole.name)
    assert [run.run_id for run in trend.runs] == [f"run-{number:02d}" for number in range(16)]
    (p95,) = [one for one in trend.series if format_metric_name(one) == "latency_ms.p95"]
    assert format_change(p95, 0) == "+49 % since run-08 (worse)"
    assert build_trend(None).name == "another"
    with pytest.raises(UsageError, match="no run of none was found"):
        build_trend("none")


def test_an_imported_run_does_not_decide_what_a_trend_shows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SIZEWISE_HOME", str(tmp_path))
    whole = full_run().result
    with RunWriter(tmp_path / "runs" / "own") as writer:
        writer.write_result(scaled(whole, 1, 1.0))
    environment = replace(whole.environment, gpus=(Gpu(0, "another GPU", None, None, None),), fingerprint="another")
    with RunWriter(tmp_path / "runs" / "imported") as writer:
        writer.write_result(replace(scaled(whole, 9, 1.0), environment=environment))
    (tmp_path / "runs" / "imported" / IMPORTED).touch()
    assert [run.run_id for run in build_trend(whole.name).runs] == ["run-01"]
    with RunWriter(tmp_path / "runs" / "other") as writer:
        writer.write_result(replace(scaled(whole, 12, 1.0), name="other"))
    (tmp_path / "runs" / "other" / IMPORTED).touch()
    assert build_trend(None).name == whole.name
    assert [row.run_id for row in list_runs().rows if row.is_imported] == ["run-09", "run-12"]


def test_a_run_that_has_no_result_hides_no_other(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SIZEWISE_HOME", str(tmp_path))
    whole = full_run().result
    with RunWriter(tmp_path / "runs" / "20260101-120000-measured-0a1b") as writer:
        writer.write_result(whole)
    for number, name in enumerate((whole.name, "another")):
        with RunWriter(tmp_path / "runs" / f"20260102-12000{number}-killed-0a1b") as writer:
            writer.append_event(RunStarted(number, "killed", name, "", 0))
    assert [run.run_id for run in build_trend(whole.name).runs] == [whole.run_id]
    assert build_trend(None).name == whole.name
    with pytest.raises(UsageError, match="no run of another was found"):
        build_trend("another")
