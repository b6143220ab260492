"""A server with the Files and Batches API of OpenAI, whose jobs end as the test defines. It runs in threads of this
process."""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

KEY = "canary-key"
Row = dict[str, Any]


def output_line(custom_id: str, tokens: int = 5, status: int = 200) -> Row:
    """A line of an output file."""
    body: Row = {
        "choices": [{"message": {"content": "hi"}}],
        "usage": {"prompt_tokens": 7, "completion_tokens": tokens},
    }
    body = body if status == 200 else {"error": {"message": KEY}}
    return {"custom_id": custom_id, "response": {"status_code": status, "body": body}, "error": None}


def error_line(custom_id: str, code: str) -> Row:
    """A line of an error file."""
    return {"custom_id": custom_id, "response": None, "error": {"code": code, "message": KEY}}


def complete_all(requests: list[Row]) -> tuple[str, list[Row], list[Row]]:
    return "completed", [output_line(request["custom_id"]) for request in requests], []


@dataclass
class BatchServer:
    """`end` returns the status of a job and the lines of its output and error files. A job ends at poll number `polls`;
    `statuses` are the HTTP statuses of the next requests, before any are processed. `overrides` are complete response
    bodies by path."""

    end: Callable[[list[Row]], tuple[str, list[Row], list[Row]]] = complete_all
    polls: int = 2
    statuses: list[int] = field(default_factory=list)
    overrides: dict[str, bytes] = field(default_factory=dict)
    http_requests: list[tuple[str, str, dict[str, str]]] = field(default_factory=list)
    requests: list[Row] = field(default_factory=list)
    batch: Row = field(default_factory=dict)
    cancels: bool = True
    on_poll: Callable[[int], object] = lambda _: None
    _polled: int = 0
    _files: dict[str, bytes] = field(default_factory=dict)

    def __enter__(self) -> BatchServer:
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), _handler_for(self))
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}/v1"
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.01})
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    def respond(self, method: str, path: str, headers: dict[str, str], body: bytes) -> tuple[int, bytes]:
        self.http_requests.append((method, path, headers))
        if self.statuses and (status := self.statuses.pop(0)) != 200:
            return status, KEY.encode()
        if path in self.overrides:
            return 200, self.overrides[path]
        content = self._act(method, path.partition("?")[0], body)
        return (404, b"{}") if content is None else (200, content)

    def _act(self, method: str, path: str, body: bytes) -> bytes | None:
        if (method, path) == ("GET", "/v1/batches"):
            return b'{"object": "list", "data": []}'
        if (method, path) == ("POST", "/v1/files"):
            assert b'name="purpose"\r\n\r\nbatch\r\n' in body
            lines = re.search(rb"application/jsonl\r\n\r\n(.*)\r\n--", body, re.DOTALL)
            assert lines is not None
            self.requests = [json.loads(line) for line in lines[1].splitlines()]
            return b'{"id": "file-in"}'
        if (method, path) == ("POST", "/v1/batches"):
            self.batch = {"id": "batch_1", "status": "validating", "creation_request": json.loads(body)}
            return json.dumps(self.batch).encode()
        if (method, path) == ("POST", "/v1/batches/batch_1/cancel"):
            if self.cancels:
                self._finish("cancelled", [output_line(self.requests[0]["custom_id"])], [])
            return json.dumps(self.batch).encode()
        if (method, path) == ("GET", "/v1/batches/batch_1"):
            self._polled += 1
            self.on_poll(self._polled)
            if self._polled == self.polls:
                self._finish(*self.end(self.requests))
            return json.dumps(self.batch).encode()
        return self._files.get(path)

    def _finish(self, status: str, output: list[Row], errors: list[Row]) -> None:
        self.batch |= {
            "status": status,
            "request_counts": {"total": 9, "completed": len(output), "failed": len(errors)},
        }
        for name, rows in (("output_file_id", output), ("error_file_id", errors)):
            if rows:
                self.batch[name] = f"file-{name}"
                self._files[f"/v1/files/file-{name}/content"] = b"".join(
                    json.dumps(row).encode() + b"\n" for row in rows
                )


def _handler_for(server: BatchServer) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def _respond(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            status, content = server.respond(self.command, self.path, dict(self.headers), body)
            self.send_response(status)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def do_GET(self) -> None:
            self._respond()

        def do_POST(self) -> None:
            self._respond()

        def log_message(self, *_: object) -> None:
            """Log nothing."""

    return Handler
