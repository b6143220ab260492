"""Run a job of the OpenAI Batch API: upload the requests as a file, create a batch, poll its status,
and read the output and error files.

A job takes minutes to hours, so its requests are sent with plain blocking calls. The API is
described at https://platform.openai.com/docs/api-reference/batch.
"""

from __future__ import annotations

import http.client
import os
import re
import secrets
import socket
import ssl
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from http import HTTPStatus
from typing import Any

import msgspec
import pyarrow as pa

from loadgen.child import LoadError
from loadgen.decoding import decode_json, json_decoder
from loadgen.protocols.openai import build_openai
from loadgen.protocols.openai_chunks import parse_usage
from loadgen.protocols.prepared import PreparedWorkload, WorkloadError, classify_status, format_status, read_key
from loadgen.records import (
    NOT_STARTED,
    REQUEST_SCHEMA,
    Endpoint,
    FirstError,
    LoadWorker,
    PreflightDone,
    Progress,
    StageEnded,
    StagePlan,
    StageStarted,
)
from loadgen.sanitizing import sanitize_line
from loadgen.transport.address import EndpointError, parse_url
from loadgen.transport.opener import Opener, RemainingTime, limit_time, read_body
from loadgen.workloads import BatchOutcome, BatchStatus, BatchWorkload, Workload

MAX_FILE_BYTES = 200_000_000
"""Maximum size in bytes of an uploaded file, which is the limit of the API."""
_MAX_DOCUMENT_BYTES = 1 << 20
_MAX_LINE_BYTES = 16 << 20
_MAX_DETAIL_CHARS = 300
_PATH = "/v1/chat/completions"
_WINDOW = "24h"
_ID = re.compile(r"[A-Za-z0-9_.:=-]{1,512}", re.ASCII)
_FINAL_STATUSES: dict[str, BatchStatus] = {
    "completed": "completed", "failed": "failed", "expired": "expired", "cancelled": "cancelled",
}  # fmt: skip
_ROWS_PER_BATCH = 500
_SLICE_S = 0.2
"""Maximum duration in seconds of a pause, after which a requested stop takes effect."""
_MAX_DOWNLOAD_S = 3600.0
"""Maximum time in seconds to download an output file, which may have hundreds of megabytes."""
_MAX_CANCEL_S = 60.0
"""Maximum time in seconds to wait until a canceled job has ended."""
_MAX_POLL_FAILURES = 5
"""Number of consecutive failed requests for the status after which the job is given up."""


class _RequestError(Exception):
    """Error that is raised when a request fails. `error` is one of ERROR_CLASSES."""

    def __init__(self, message: str, error: str, status: int | None = None) -> None:
        super().__init__(message)
        self.error, self.status = error, status


class _Batch(msgspec.Struct, frozen=True):
    """Batch object of the API."""

    id: str
    status: str
    output_file_id: str | None = None
    error_file_id: str | None = None
    request_counts: dict[str, Any] | None = None
    errors: Any = None

    def read_count(self, name: str, maximum: int) -> int:
        """Return a number of requests, which is 0 if the server reports none."""
        value = (self.request_counts or {}).get(name)
        return min(value, maximum) if type(value) is int and value > 0 else 0

    def read_detail(self) -> str | None:
        """Return the first error of a batch that could not be started; None without errors."""
        errors = self.errors.get("data") if isinstance(self.errors, dict) else None
        first = errors[0] if isinstance(errors, list) and errors else None
        message = first.get("message") if isinstance(first, dict) else None
        return sanitize_line(message, _MAX_DETAIL_CHARS) if isinstance(message, str) else None


class _Line(msgspec.Struct, frozen=True):
    """Line of an output or error file."""

    custom_id: str
    response: dict[str, Any] | None = None
    error: dict[str, Any] | None = None


_decode_line = json_decoder(_Line)


class _Answer(msgspec.Struct, frozen=True):
    """Result of one request of the job. `error` is one of ERROR_CLASSES or NOT_STARTED."""

    error: str | None
    status: int | None = None
    tokens_in: int | None = None
    tokens_out: int | None = None
    is_expired: bool = False


class BatchJob:
    """Load generator that runs each stage as one job of the Batch API.

    `stop` may be called from a signal handler. The first call cancels the job at the server and
    waits for its end; the second call ends the wait.
    """

    pacing = event_loop = "none"
    workers: tuple[LoadWorker, ...] = ()

    def __init__(
        self,
        now_ns: Callable[[], int] = time.perf_counter_ns,
        pause: Callable[[float], None] = time.sleep,
    ) -> None:
        self._now_ns, self._pause = now_ns, pause
        self._endpoint: Endpoint | None = None
        self._workload: BatchWorkload | None = None
        self._prepared: PreparedWorkload | None = None
        self._stop_count = 0

    @property
    def pid(self) -> int:
        return os.getpid()

    def configure(self, endpoint: Endpoint, workload: Workload) -> None:
        """Use an endpoint and a workload for all later calls. Raises LoadError if a setting is
        invalid or the requests cannot be built."""
        assert isinstance(workload, BatchWorkload)
        self._endpoint, self._workload = endpoint, workload
        try:
            self._prepared = build_openai(workload.requests, endpoint, parse_url(endpoint.urls[0]))
            self._client = _Client(endpoint)
            self._client.build_headers()
        except (WorkloadError, EndpointError) as error:
            raise LoadError(str(error), hint=getattr(error, "hint", None), is_workload_invalid=True) from error

    def preflight(self) -> PreflightDone:
        """List a batch, to find out whether the server has the API."""
        assert self._prepared is not None
        start_ns = self._now_ns()
        label = f"GET {self._client.base_url}/batches"
        error: str | None = None
        status: int | None = 200
        detail = f"{label}, status 200: the response is as expected"
        try:
            self._client.fetch("GET", "/batches?limit=1")
        except _RequestError as failure:
            detail, error, status = f"{label}, {failure}", failure.error, failure.status
        end_ns = self._now_ns()
        return PreflightDone(
            error,
            status,
            detail,
            None,
            end_ns=end_ns,
            notes=self._prepared.notes,
            prepared=len(self._prepared.requests),
            distinct=self._prepared.distinct_prompts,
            first_byte_ms=(end_ns - start_ns) / 1e6 if error is None else None,
        )

    def run_stage(
        self,
        plan: StagePlan,
        on_rows: Callable[[pa.RecordBatch], None],
        on_started: Callable[[StageStarted], None],
        on_progress: Callable[[Progress], bool],
    ) -> StageEnded:
        """Run a job of `plan.load.max_requests` requests, for at most `plan.load.duration_s` seconds. Raises
        LoadError if the job cannot be created or its end cannot be observed."""
        assert self._prepared is not None
        assert self._workload is not None
        count = plan.load.max_requests or len(self._prepared.requests)
        cpu_start_s = time.process_time()
        try:
            content = _encode_requests(self._prepared, count, plan.first_request)
            upload_start_ns = self._now_ns()
            file_id = self._client.upload(content)
            start_ns = self._now_ns()
            batch = self._client.create(file_id)
        except WorkloadError as error:
            raise LoadError(str(error), hint=error.hint, is_workload_invalid=True) from error
        except _RequestError as error:
            raise LoadError(f"the batch could not be created: {error}", error=error.error) from error
        on_started(StageStarted(plan.index, start_ns, count))
        try:
            batch = self._wait_for_end(batch, plan, start_ns, count, on_progress)
            end_ns = self._now_ns()
            answers = self._read_answers(batch, count)
        except _RequestError as error:
            message = f"the end of the batch {batch.id} could not be observed: {error}"
            raise LoadError(message, hint="The batch may still run at the server.", error=error.error) from error
        outcome = _summarize(batch, answers, (start_ns - upload_start_ns) / 1e9, (end_ns - start_ns) / 1e9)
        for rows in _build_rows(plan.index, answers, start_ns, end_ns, self._prepared, plan.first_request):
            on_rows(rows)
        first_errors = tuple(
            FirstError(error, end_ns, _describe_error(error, answers))
            for error in dict.fromkeys(answer.error for answer in answers)
            if error is not None
        )
        completed = outcome.request_counts["completed"]
        on_progress(Progress(plan.index, end_ns, count, count, completed, count - completed, 0, 0.0, first_errors))
        return StageEnded(
            index=plan.index,
            start_ns=start_ns,
            end_ns=end_ns,
            scheduled=count,
            never_started=outcome.request_counts["cancelled"],
            cpu_s=time.process_time() - cpu_start_s,
            connections_opened=self._client.sent_count,
            stopped_early=batch.status == "cancelled",
            first_errors=first_errors,
            duration_s=(end_ns - start_ns + 1) / 1e9,
            batch=outcome,
        )

    def stop(self, drain: bool) -> None:
        self._stop_count += 1 if drain else 2

    def change_rate(self, _: float) -> None:
        raise RuntimeError("a batch has no rate")

    def extend(self, _: float) -> None:
        raise RuntimeError("a batch has no duration")

    def close(self) -> None:
        """Do nothing: each request has its own connection."""

    def _wait_for_end(
        self, batch: _Batch, plan: StagePlan, start_ns: int, count: int, on_progress: Callable[[Progress], bool]
    ) -> _Batch:
        """Poll the batch until it has ended. Cancel it after the maximum duration, or if a stop is
        requested; the end of a canceled batch is awaited for a limited time."""
        assert self._workload is not None
        deadline_ns, cancel_ns, failure_count = start_ns + round(plan.load.duration_s * 1e9), None, 0
        while batch.status not in _FINAL_STATUSES:
            now_ns = self._now_ns()
            if cancel_ns is None and (self._stop_count or now_ns >= deadline_ns):
                cancel_ns = now_ns
                self._client.cancel(batch.id)
            if cancel_ns is not None and (self._stop_count > 1 or now_ns - cancel_ns >= _MAX_CANCEL_S * 1e9):
                return msgspec.structs.replace(batch, status="cancelled")
            completed = batch.read_count("completed", count)
            failed = batch.read_count("failed", count - completed)
            in_flight = count - completed - failed
            if not on_progress(Progress(plan.index, now_ns, count, count, completed, failed, in_flight, 0.0)):
                self._stop_count += 1
            self._pause_until(
                now_ns + round(self._workload.poll_s * 1e9), deadline_ns, is_canceled=cancel_ns is not None
            )
            try:
                batch, failure_count = self._client.fetch_batch(batch.id), 0
            except _RequestError as error:
                failure_count += 1
                if failure_count >= _MAX_POLL_FAILURES or not _is_transient(error):
                    raise
        return batch

    def _pause_until(self, until_ns: int, deadline_ns: int, *, is_canceled: bool) -> None:
        stop_count = self._stop_count
        end_ns = until_ns if is_canceled else min(until_ns, deadline_ns)
        while (remaining_ns := end_ns - self._now_ns()) > 0 and self._stop_count == stop_count:
            self._pause(min(_SLICE_S, remaining_ns / 1e9))

    def _read_answers(self, batch: _Batch, count: int) -> list[_Answer]:
        """Return the result of each request. A request that is in no file was canceled, expired, or
        lost by the server."""
        missing = {
            "cancelled": _Answer(NOT_STARTED),
            "expired": _Answer("timeout", is_expired=True),
        }.get(batch.status, _Answer("bad-payload"))
        answers: dict[str, _Answer] = {}
        for file_id in (batch.output_file_id, batch.error_file_id):
            if file_id is None:
                continue
            for line in self._client.iterate_lines(file_id, 2 * count + 100):
                answers.setdefault(line.custom_id, _read_answer(line))
        return [answers.get(_format_custom_id(number), missing) for number in range(count)]


class _Client:
    """HTTP client of the Batch API. `sent_count` is the number of requests that were sent."""

    def __init__(self, endpoint: Endpoint) -> None:
        base_url, separator, query = endpoint.urls[0].partition("?")
        self.base_url, self._query, self.sent_count = base_url.rstrip("/"), separator + query, 0
        self._endpoint, self._timeout_s = endpoint, endpoint.timeouts.total_s
        self._opener = Opener(endpoint.urls[:1], endpoint.tls, lambda _: endpoint.proxy)

    def upload(self, content: bytes) -> str:
        """Upload a file of requests, and return its ID."""
        boundary = secrets.token_hex(16)
        disposition = 'Content-Disposition: form-data; name="'
        head = (
            f'--{boundary}\r\n{disposition}purpose"\r\n\r\nbatch\r\n'
            f'--{boundary}\r\n{disposition}file"; filename="requests.jsonl"\r\n'
            "Content-Type: application/jsonl\r\n\r\n"
        )
        body = b"".join((head.encode(), content, f"\r\n--{boundary}--\r\n".encode()))
        document = self.fetch("POST", "/files", body, f"multipart/form-data; boundary={boundary}")
        return _check_id(document.get("id"))

    def create(self, file_id: str) -> _Batch:
        body = msgspec.json.encode({"input_file_id": file_id, "endpoint": _PATH, "completion_window": _WINDOW})
        return self._read_batch(self.fetch("POST", "/batches", body))

    def fetch_batch(self, batch_id: str) -> _Batch:
        return self._read_batch(self.fetch("GET", f"/batches/{batch_id}"))

    def cancel(self, batch_id: str) -> None:
        """Cancel a batch. A failure is ignored, because the batch may have ended in the meantime."""
        try:
            self.fetch("POST", f"/batches/{batch_id}/cancel", b"")
        except _RequestError:
            return

    def fetch(self, method: str, path: str, body: bytes | None = None, content_type: str = "application/json") -> Any:
        """Send a request and return the JSON object of the response. Raises _RequestError."""
        limit = limit_time(self._timeout_s)
        with self._open(method, path, body, content_type, limit) as response:
            content = _read_or_raise(lambda: read_body(response, _MAX_DOCUMENT_BYTES))
        try:
            return decode_json(content or b"", dict[str, Any])
        except msgspec.DecodeError as error:
            raise _RequestError("the response is not a JSON object", "bad-payload", 200) from error

    def iterate_lines(self, file_id: str, max_lines: int) -> Iterator[_Line]:
        """Yield the lines of an output or error file. Raises _RequestError for a file that does not
        conform to the API."""
        path, limit = f"/files/{_check_id(file_id)}/content", limit_time(_MAX_DOWNLOAD_S, self._timeout_s)
        with self._open("GET", path, None, "application/json", limit) as response:
            for _ in range(max_lines):
                line = _read_or_raise(lambda: response.readline(_MAX_LINE_BYTES + 1))
                if not line:
                    return
                if not line.strip():
                    continue
                try:
                    yield _decode_line(line if len(line) <= _MAX_LINE_BYTES else b"")
                except msgspec.DecodeError as error:
                    raise _RequestError("a line of the output file is invalid", "bad-payload", 200) from error
        raise _RequestError(f"the output file has more than {max_lines:,} lines", "bad-payload", 200)

    def build_headers(self) -> dict[str, str]:
        """Return the headers of a request, with the current keys. Raises WorkloadError if a key file
        cannot be read."""
        keys = {key_file.header: read_key(key_file) for key_file in self._endpoint.key_files}
        return {**dict(self._endpoint.headers), **keys, "Accept": "application/json"}

    def _read_batch(self, document: dict[str, Any]) -> _Batch:
        try:
            batch = msgspec.convert(document, _Batch)
        except msgspec.ValidationError as error:
            raise _RequestError("the response is not a batch", "bad-payload", 200) from error
        _check_id(batch.id)
        return batch

    def _open(
        self, method: str, path: str, body: bytes | None, content_type: str, limit: RemainingTime
    ) -> http.client.HTTPResponse:
        try:
            headers = self.build_headers()
        except WorkloadError as error:
            raise _RequestError(str(error), "send") from error
        if body is not None:
            headers["Content-Type"] = content_type
        query = self._query.replace("?", "&", 1) if "?" in path else self._query
        request = urllib.request.Request(f"{self.base_url}{path}{query}", data=body, headers=headers, method=method)
        self.sent_count += 1
        response: http.client.HTTPResponse = _read_or_raise(lambda: self._opener.open(request, limit))
        return response


def _read_or_raise(read: Callable[[], Any]) -> Any:
    """Return the result of `read`, which opens or reads a response. Raises _RequestError if the
    request fails. The server's own text is omitted, because it may contain a secret."""
    try:
        return read()
    except urllib.error.HTTPError as error:
        error.close()
        kind = classify_status(error.code) or "bad-payload"
        raise _RequestError(format_status(error.code), kind, error.code) from error
    except (TimeoutError, urllib.error.URLError) as error:
        reason = getattr(error, "reason", error)
        if isinstance(reason, TimeoutError):
            raise _RequestError("the request timed out", "timeout") from error
        kind = (
            "tls" if isinstance(reason, ssl.SSLError) else "dns" if isinstance(reason, socket.gaierror) else "connect"
        )
        raise _RequestError(f"the connection failed: {sanitize_line(str(reason), 200)}", kind) from error
    except (OSError, http.client.HTTPException, ValueError) as error:
        raise _RequestError("the connection was lost within the response", "truncated") from error


def _is_transient(error: _RequestError) -> bool:
    is_busy = error.status in (HTTPStatus.REQUEST_TIMEOUT, HTTPStatus.TOO_MANY_REQUESTS)
    return is_busy or error.error in ("connect", "timeout", "truncated", "http-5xx")


def _check_id(value: object) -> str:
    """Return an ID from a response, which becomes part of a path. Raises _RequestError if it is no
    ID."""
    if not isinstance(value, str) or not _ID.fullmatch(value):
        raise _RequestError("the response has no valid ID", "bad-payload", 200)
    return value


def _format_custom_id(number: int) -> str:
    return f"request-{number}"


def _find_request_index(prepared: PreparedWorkload, number: int) -> int:
    indices = prepared.request_indices
    return number % len(prepared.requests) if indices is None else int(indices[number % len(indices)])


def _encode_requests(prepared: PreparedWorkload, count: int, first_request: int) -> bytes:
    """Return the file of the job, with one line per request. Raises WorkloadError if the file would
    be too large."""
    content = bytearray()
    for number in range(count):
        request = prepared.requests[_find_request_index(prepared, first_request + number)]
        body = request.partition(b"\r\n\r\n")[2]
        head = {"custom_id": _format_custom_id(number), "method": "POST", "url": _PATH}
        content += msgspec.json.encode(head)[:-1] + b',"body":' + body + b"}\n"
        if len(content) > MAX_FILE_BYTES:
            raise WorkloadError(
                f"the file of the batch exceeds {MAX_FILE_BYTES // 10**6} MB, the limit of the Batch API",
                hint="Set fewer requests in load.batch.requests, or shorter prompts.",
            )
    return bytes(content)


def _read_answer(line: _Line) -> _Answer:
    """Return the result of one request from its line in an output or error file."""
    response = line.response
    if response is None:
        code = (line.error or {}).get("code")
        if code == "batch_expired":
            return _Answer("timeout", is_expired=True)
        return _Answer(NOT_STARTED if code == "batch_cancelled" else "bad-payload")
    status, body = response.get("status_code"), response.get("body")
    if type(status) is not int or not 100 <= status <= 599:
        return _Answer("bad-payload")
    error = classify_status(status)
    if error is None and not (isinstance(body, dict) and isinstance(body.get("choices"), list) and body["choices"]):
        error = "bad-payload"
    tokens_in, tokens_out = parse_usage(body.get("usage")) if error is None and isinstance(body, dict) else (None, None)
    return _Answer(error, status, tokens_in, tokens_out)


def _summarize(batch: _Batch, answers: list[_Answer], upload_s: float, job_s: float) -> BatchOutcome:
    completed_answers = [answer for answer in answers if answer.error is None]
    completed = len(completed_answers)
    expired = sum(answer.is_expired for answer in answers)
    cancelled = sum(answer.error == NOT_STARTED for answer in answers)
    inputs = [answer.tokens_in for answer in completed_answers if answer.tokens_in is not None]
    outputs = [answer.tokens_out for answer in completed_answers if answer.tokens_out is not None]
    return BatchOutcome(
        status=_FINAL_STATUSES[batch.status],
        upload_s=upload_s,
        job_s=job_s,
        request_counts={
            "completed": completed,
            "failed": len(answers) - completed - expired - cancelled,
            "expired": expired,
            "cancelled": cancelled,
        },
        tokens_in=sum(inputs) if inputs else None,
        tokens_out=sum(outputs) if outputs else None,
        detail=batch.read_detail(),
    )


def _describe_error(error: str, answers: list[_Answer]) -> str:
    answer = next(answer for answer in answers if answer.error == error)
    if answer.is_expired:
        return "the batch expired before the request was processed"
    if error == NOT_STARTED:
        return "the batch was canceled before the request was processed"
    return "no valid response" if answer.status is None else format_status(answer.status)


def _build_rows(
    stage: int, answers: list[_Answer], start_ns: int, end_ns: int, prepared: PreparedWorkload, first_request: int
) -> Iterator[pa.RecordBatch]:
    """Yield the rows of the requests, which all start with the job and end with it."""
    limits = prepared.max_output_tokens
    rows = [
        {
            "stage": stage,
            "index": number,
            "scheduled_ns": start_ns,
            "sent_ns": None if answer.error == NOT_STARTED else start_ns,
            "end_ns": None if answer.error == NOT_STARTED else end_ns,
            "status": answer.status,
            "error": answer.error,
            "bytes_received": 0,
            "reused": False,
            "target": 0,
            "worker": 0,
            "tokens_in": answer.tokens_in,
            "tokens_out": answer.tokens_out,
            "token_source": None if answer.tokens_out is None else "server",
            "max_output_tokens": None
            if limits is None
            else limits[_find_request_index(prepared, first_request + number)],
        }
        for number, answer in enumerate(answers)
    ]
    yield from pa.Table.from_pylist(rows, REQUEST_SCHEMA).to_batches(_ROWS_PER_BATCH)
