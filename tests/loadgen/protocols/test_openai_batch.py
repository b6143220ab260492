import json
from itertools import count
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pytest

from loadgen.process import LoadError
from loadgen.protocols import openai_batch
from loadgen.protocols.openai_batch import BatchJob
from loadgen.records import (
    REQUEST_SCHEMA,
    ClosedArrivals,
    Endpoint,
    KeyFile,
    Progress,
    StageEnded,
    StageLoad,
    StagePlan,
    StageStarted,
    Timeouts,
)
from loadgen.workloads import BatchWorkload, FixedLength, OpenAiWorkload, SyntheticPrompts
from tests.fakes.batch_server import KEY, BatchServer, Row, complete_all, error_line, output_line

REQUESTS = OpenAiWorkload("chat", "m", SyntheticPrompts(FixedLength(3), FixedLength(5), unique=3), stream=False)
WORKLOAD = BatchWorkload(REQUESTS, poll_s=0.002)
HEADERS = (("Authorization", f"Bearer {KEY}"),)


class JobRun:
    """A finished batch job with its rows, start, progress and end."""

    def __init__(
        self,
        server: BatchServer,
        job: BatchJob | None = None,
        *,
        requests: int | None = 4,
        duration_s: float = 30.0,
        endpoint: Endpoint | None = None,
    ) -> None:
        self.job = BatchJob() if job is None else job
        self.job.configure(endpoint or Endpoint((server.url,), headers=HEADERS), WORKLOAD)
        self.batches: list[pa.RecordBatch] = []
        self.started: list[StageStarted] = []
        self.progress: list[Progress] = []
        plan = StagePlan(0, "batch", StageLoad(ClosedArrivals(1, 0.0), duration_s, max_requests=requests), seed=1)
        self.ended: StageEnded = self.job.run_stage(plan, self.batches.append, self.started.append, self._on_progress)

    def _on_progress(self, progress: Progress) -> bool:
        self.progress.append(progress)
        return True

    @property
    def rows(self) -> pd.DataFrame:
        rows: pd.DataFrame = pa.Table.from_batches(self.batches, REQUEST_SCHEMA).to_pandas()
        return rows


def test_batch_job_is_uploaded_created_polled_and_downloaded() -> None:
    with BatchServer() as server:
        run = JobRun(server)
    assert [(method, path) for method, path, _ in server.http_requests] == [
        ("POST", "/v1/files"),
        ("POST", "/v1/batches"),
        ("GET", "/v1/batches/batch_1"),
        ("GET", "/v1/batches/batch_1"),
        ("GET", "/v1/files/file-output_file_id/content"),
    ]
    assert {headers["Authorization"] for _, _, headers in server.http_requests} == {f"Bearer {KEY}"}
    creation_request = {"input_file_id": "file-in", "endpoint": "/v1/chat/completions", "completion_window": "24h"}
    assert server.batch["creation_request"] == creation_request
    assert [request["custom_id"] for request in server.requests] == [f"request-{number}" for number in range(4)]
    assert {request["url"] for request in server.requests} == {"/v1/chat/completions"}
    bodies = [request["body"] for request in server.requests]
    assert bodies[0]["model"] == "m"
    assert (bodies[0] == bodies[3], bodies[0] == bodies[1]) == (True, False), "prompts start over after the last one"
    outcome, rows = run.ended.batch, run.rows
    assert outcome is not None
    assert (outcome.status, sum(outcome.request_counts.values()), outcome.request_counts["completed"]) == (
        "completed",
        4,
        4,
    )
    assert (outcome.tokens_in, outcome.tokens_out) == (28, 20)
    assert rows["error"].isna().all()
    assert set(rows["end_ns"] - rows["sent_ns"]) == {run.ended.end_ns - run.ended.start_ns}
    assert (set(rows["tokens_out"]), set(rows["max_output_tokens"]), set(rows["status"])) == ({5}, {5}, {200})
    assert run.ended.duration_s == pytest.approx(outcome.job_s)
    assert run.started[0].scheduled == run.progress[-1].completed == 4
    assert not run.ended.stopped_early


def test_url_query_is_sent_with_each_request_but_not_reported() -> None:
    with BatchServer() as server:
        endpoint = Endpoint((f"{server.url}?api-version=7",), headers=HEADERS)
        run = JobRun(server, endpoint=endpoint)
        preflight = run.job.preflight()
    assert {path.partition("?")[2] for _, path, _ in server.http_requests} == {"api-version=7", "limit=1&api-version=7"}
    assert "api-version" not in preflight.detail


def test_each_request_of_batch_job_has_its_own_outcome() -> None:
    def end(requests: list[Row]) -> tuple[str, list[Row], list[Row]]:
        first, second, third, fourth, *_ = (request["custom_id"] for request in requests)
        malformed = {"custom_id": fourth, "response": {"status_code": 200, "body": {"choices": []}}}
        output = [
            output_line(first, 9),
            output_line(second, status=500),
            malformed,
            output_line("request-99"),
            output_line(first, 1),
        ]
        return "expired", output, [error_line(third, "batch_expired"), output_line("x", status=400)]

    with BatchServer(end) as server:
        run = JobRun(server, requests=6)
    outcome, rows = run.ended.batch, run.rows
    assert list(rows["error"].fillna("")) == ["", "http-5xx", "timeout", "bad-payload", "timeout", "timeout"]
    assert outcome is not None
    assert (
        outcome.status,
        outcome.request_counts["completed"],
        outcome.request_counts["failed"],
        outcome.request_counts["expired"],
    ) == ("expired", 1, 2, 3)
    assert outcome.tokens_out == 9
    texts = {error.error: error.text for error in run.ended.first_errors}
    assert texts["http-5xx"] == "status 500 (Internal Server Error)"
    assert "expired" in texts["timeout"]
    assert KEY not in str(texts)


def test_failed_batch_job_reports_sanitized_reason_of_server() -> None:
    def end(_: object) -> tuple[str, list[Row], list[Row]]:
        server.batch["errors"] = {"data": [{"message": "the model\x1b[31m is\nunknown" + "x" * 999}]}
        return "failed", [], []

    with BatchServer(end) as server:
        outcome = JobRun(server).ended.batch
    assert outcome is not None
    assert (outcome.status, outcome.request_counts["failed"]) == ("failed", 4)
    assert str(outcome.detail).startswith("the model [31m is unknownx")
    assert len(str(outcome.detail)) <= 300


def test_each_prompt_is_sent_once_by_default() -> None:
    with BatchServer() as server:
        JobRun(server, requests=None)
    assert len(server.requests) == 3


@pytest.mark.parametrize("is_timeout", [True, False])
def test_stopped_or_late_batch_job_is_canceled_with_completed_requests(is_timeout: bool) -> None:
    job = BatchJob()

    def stop(number: int) -> None:
        if number == 2 and not is_timeout:
            job.stop(True)

    with BatchServer(polls=99, on_poll=stop) as server:
        run = JobRun(server, job, duration_s=0.05 if is_timeout else 30)
    outcome = run.ended.batch
    assert outcome is not None
    assert (outcome.status, outcome.request_counts["completed"], outcome.request_counts["cancelled"]) == (
        "cancelled",
        1,
        3,
    )
    assert [path for _, path, _ in server.http_requests].count("/v1/batches/batch_1/cancel") == 1
    assert list(run.rows["error"].fillna("")) == ["", "not-started", "not-started", "not-started"]
    assert run.rows["sent_ns"].isna().sum() == 3
    assert (run.ended.stopped_early, run.ended.never_started) == (True, 3)


def test_second_stop_does_not_wait_for_cancellation() -> None:
    job = BatchJob()
    with BatchServer(polls=99, cancels=False, on_poll=lambda number: job.stop(number < 3)) as server:
        outcome = JobRun(server, job).ended.batch
    assert outcome is not None
    assert (outcome.status, outcome.request_counts["completed"], outcome.request_counts["cancelled"]) == (
        "cancelled",
        0,
        4,
    )


def test_cancellation_that_does_not_end_is_abandoned_after_60_s() -> None:
    clock_ns = count(0, 1_000_000_000)
    job = BatchJob(lambda: next(clock_ns), lambda _: None)
    with BatchServer(polls=9999, cancels=False) as server:
        outcome = JobRun(server, job, duration_s=5).ended.batch
    assert outcome is not None
    assert outcome.status == "cancelled"
    assert 60 <= outcome.job_s < 90


def test_temporary_polling_errors_do_not_end_batch_job() -> None:
    with BatchServer(statuses=[200, 200, 503, 429, 200, 500]) as server:
        assert JobRun(server).ended.batch is not None


@pytest.mark.parametrize(
    ("statuses", "message", "error"),
    [
        ([401], "the batch could not be created: status 401", "http-4xx"),
        ([200, 400], "the batch could not be created: status 400", "http-4xx"),
        ([200, 200, *[503] * 5], "the end of the batch batch_1 could not be observed: status 503", "http-5xx"),
        ([200, 200, 404], "could not be observed: status 404", "http-4xx"),
        ([200, 200, 200, 200, 500], "could not be observed: status 500", "http-5xx"),
        ([302], "could not be created: status 302", "bad-payload"),
    ],
)
def test_rejected_http_request_is_reported_without_response_text(statuses: list[int], message: str, error: str) -> None:
    with BatchServer(statuses=statuses) as server, pytest.raises(LoadError, match=message) as failed:
        JobRun(server)
    assert failed.value.error == error
    assert KEY not in f"{failed.value.message}{failed.value.hint}"


DONE = {"id": "batch_1", "status": "completed"}
BATCH, OUTPUT = "/v1/batches/batch_1", "/v1/files/f/content"


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        ({"/v1/files": b"[]"}, "not a JSON object"),
        ({"/v1/files": b" " * (1 << 20) + b"{}"}, "not a JSON object"),
        ({"/v1/files": b'{"id": "../../secrets"}'}, "no valid ID"),
        ({"/v1/batches": b'{"id": "a b", "status": "validating"}'}, "no valid ID"),
        ({"/v1/batches": b'{"id": "a"}'}, "not a batch"),
        ({BATCH: json.dumps({**DONE, "output_file_id": "f/../x"}).encode()}, "no valid ID"),
        ({BATCH: json.dumps({**DONE, "output_file_id": "f"}).encode(), OUTPUT: b"<html>"}, "a line of the output file"),
        ({BATCH: json.dumps({**DONE, "output_file_id": "f"}).encode(), OUTPUT: b"\n" * 999}, "more than 108 lines"),
        ({BATCH: json.dumps({**DONE, "output_file_id": "f"}).encode(), OUTPUT: b" " * 2000 + b"{}"}, "a line of"),
    ],
)
def test_invalid_server_response_is_rejected(
    overrides: dict[str, bytes], message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(openai_batch, "_MAX_LINE_BYTES", 1000)
    with BatchServer(overrides=overrides) as server, pytest.raises(LoadError, match=message) as failed:
        JobRun(server)
    assert failed.value.error == "bad-payload"


@pytest.mark.parametrize("counts", [{"completed": -5, "failed": "x"}, {"completed": 10**30}, None])
def test_impossible_request_counts_are_ignored(counts: Any) -> None:
    def end(requests: list[Row]) -> tuple[str, list[Row], list[Row]]:
        return complete_all(requests)

    def set_counts(_: int) -> None:
        server.batch["request_counts"] = counts

    with BatchServer(end, polls=3, on_poll=set_counts) as server:
        run = JobRun(server)
    assert all(0 <= progress.in_flight <= 4 for progress in run.progress if progress.in_flight is not None)
    assert all(progress.completed <= 4 for progress in run.progress)


@pytest.mark.parametrize(
    ("statuses", "error", "status"), [([], None, 200), ([404], "http-4xx", 404), ([401], "http-4xx", 401)]
)
def test_preflight_lists_batches_and_uploads_nothing(statuses: list[int], error: str | None, status: int) -> None:
    with BatchServer(statuses=statuses) as server:
        job = BatchJob()
        job.configure(Endpoint((server.url,), headers=HEADERS), WORKLOAD)
        report = job.preflight()
    assert (report.error, report.status, report.prepared) == (error, status, 3)
    assert report.detail.startswith(f"GET {server.url}/batches, status {status}")
    assert KEY not in report.detail
    assert not server.requests


def test_unreachable_server_is_connect_error_in_preflight() -> None:
    job = BatchJob()
    with BatchServer() as server:
        url = server.url
    job.configure(Endpoint((url,), timeouts=Timeouts(total_s=5)), WORKLOAD)
    assert job.preflight().error == "connect"


def test_api_key_is_read_from_key_file(tmp_path: Path) -> None:
    (tmp_path / "key").write_text(f"{KEY}\n")
    keys = (KeyFile("Authorization", str(tmp_path / "key"), prefix="Bearer "),)
    with BatchServer() as server:
        JobRun(server, endpoint=Endpoint((server.url,), key_files=keys))
    assert {headers["Authorization"] for _, _, headers in server.http_requests} == {f"Bearer {KEY}"}


def test_unreadable_key_file_is_workload_error_and_later_ends_batch_job(tmp_path: Path) -> None:
    key = tmp_path / "key"
    keys = (KeyFile("Authorization", str(key), prefix="Bearer "),)
    with BatchServer(polls=99, on_poll=lambda _: key.unlink(missing_ok=True)) as server:
        with pytest.raises(LoadError, match="cannot be read") as failed:
            JobRun(server, endpoint=Endpoint((server.url,), key_files=keys))
        assert failed.value.is_workload_invalid
        key.write_text(KEY)
        with pytest.raises(LoadError, match="could not be observed: the key file") as failed:
            JobRun(server, endpoint=Endpoint((server.url,), key_files=keys))
    assert not failed.value.is_workload_invalid


def test_batch_file_larger_than_api_limit_is_workload_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(openai_batch, "MAX_FILE_BYTES", 500)
    with BatchServer() as server, pytest.raises(LoadError, match="the file of the batch exceeds") as failed:
        JobRun(server)
    assert failed.value.is_workload_invalid
    assert not server.http_requests
