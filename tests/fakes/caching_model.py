"""A language model that remembers what it has read, counts what it need not read again, and stops early."""

from __future__ import annotations

import contextlib
import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import ClassVar

PROMPT_TOKENS, ANSWER_TOKENS = 50, 41


class CachingModel(ThreadingHTTPServer):
    """Whole chat completions of 41 tokens, whatever is asked; every prompt has 50, cached once they were read.

    With `block_words`, a prompt has as many tokens as words, and whole blocks of them are cached with all before
    them, except that the last word is always computed."""

    daemon_threads = True
    request_queue_size = 128

    def __init__(self, block_words: int | None = None) -> None:
        super().__init__(("127.0.0.1", 0), _Answers)
        self.block_words = block_words
        self.prompts: list[str] = []
        self.lock = threading.Lock()
        self.seen: set[str] = set()
        self.queries = self.hits = 0
        self.asked_for_metrics: list[dict[str, str]] = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}/v1"

    def read(self, body: bytes) -> None:
        messages = json.loads(body)["messages"]
        prompt = json.dumps(messages)
        with self.lock:
            if self.block_words is not None:
                self.read_words(messages[-1]["content"], self.block_words)
                return
            self.queries += PROMPT_TOKENS
            self.hits += PROMPT_TOKENS * (prompt in self.seen)
            self.seen.add(prompt)

    def read_words(self, prompt: str, size: int) -> None:
        words = prompt.split()
        blocks = [" ".join(words[:end]) for end in range(size, len(words) + 1, size)]
        hits = 0
        while (hits + 1) * size < len(words) and blocks[hits] in self.seen:
            hits += 1
        self.prompts.append(prompt)
        self.queries += len(words)
        self.hits += hits * size
        self.seen.update(blocks)


class _Answers(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    wbufsize: ClassVar[int] = -1  # the answer in one piece
    disable_nagle_algorithm = True
    server: CachingModel

    def do_POST(self) -> None:
        self.server.read(self.rfile.read(int(self.headers["Content-Length"])))
        usage = {"prompt_tokens": PROMPT_TOKENS, "completion_tokens": ANSWER_TOKENS}
        answer = {"choices": [{"message": {"role": "assistant", "content": "so"}}], "usage": usage}
        self._answer(json.dumps(answer).encode())

    def do_GET(self) -> None:
        self.server.asked_for_metrics.append(dict(self.headers))
        of = 'model_name="m"'
        self._answer(
            f"# TYPE vllm:prefix_cache_queries_total counter\nvllm:prefix_cache_queries_total{{{of}}} "
            f"{self.server.queries}\nvllm:prefix_cache_hits_total{{{of}}} {self.server.hits}\n".encode()
        )

    def _answer(self, body: bytes) -> None:
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


@contextlib.contextmanager
def caching_model(block_words: int | None = None) -> Iterator[CachingModel]:
    with CachingModel(block_words) as model:
        thread = threading.Thread(target=model.serve_forever, args=(0.05,), name="caching-model")
        thread.start()
        try:
            yield model
        finally:
            model.shutdown()
            thread.join()
