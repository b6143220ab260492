"""Headers whose value is the line of a file, which whoever renews the key rewrites."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from time import perf_counter_ns

import msgspec

from loadgen.protocols.built import WorkloadError
from loadgen.records import Endpoint, KeyFile

_MAX_KEY_BYTES = 64 * 1024
_AGAIN_NS = 1_000_000_000


class ApiKeys:
    """All methods belong to the loop's thread; files are read, and requests rewritten, off it."""

    def __init__(self, loop: asyncio.AbstractEventLoop, endpoint: Endpoint) -> None:
        """Raises WorkloadError."""
        self._loop, self._plain, self._files = loop, endpoint, endpoint.key_files
        self._values = [_value(file) for file in self._files]
        self._requests: list[bytes] = []
        self._on_new: Callable[[Endpoint], None] | None = None
        self._read_ns = 0
        self._renewing: asyncio.Task[None] | None = None

    def __bool__(self) -> bool:
        return bool(self._files)

    @property
    def endpoint(self) -> Endpoint:
        """With the keys among its headers."""
        headers = [(file.header, value) for file, value in zip(self._files, self._values, strict=True)]
        return msgspec.structs.replace(self._plain, headers=(*self._plain.headers, *headers))

    def guard(self, requests: list[bytes], on_new: Callable[[Endpoint], None] | None) -> None:
        """From now on these are what a new key goes into, in place; `on_new` is told it, for a transport that sends
        the headers itself."""
        self._requests, self._on_new = requests, on_new

    def refused(self) -> None:
        """A key was answered with 401: look for a new one, at most once a second."""
        now_ns = perf_counter_ns()
        is_renewing = self._renewing is not None and not self._renewing.done()
        if self._files and not is_renewing and now_ns - self._read_ns >= _AGAIN_NS:
            self._read_ns = now_ns
            self._renewing = self._loop.create_task(self._renew())

    async def _renew(self) -> None:
        renewed = await self._loop.run_in_executor(None, self._renewed)
        if renewed is not None:
            self._values, self._requests[:] = renewed
            if self._on_new is not None:
                self._on_new(self.endpoint)

    def _renewed(self) -> tuple[list[str], list[bytes]] | None:
        try:
            values = [_value(file) for file in self._files]
        except WorkloadError:  # it is being written, perhaps: the next 401 looks again
            return None
        if values == self._values:
            return None
        requests = list(self._requests)
        for file, old, new in zip(self._files, self._values, values, strict=True):
            old_line, new_line = _line(file.header, old), _line(file.header, new)
            requests = [request.replace(old_line, new_line, 1) for request in requests]
        return values, requests


def _line(header: str, value: str) -> bytes:
    return f"\r\n{header}: {value}\r\n".encode("latin-1")


def _value(file: KeyFile) -> str:
    try:
        with Path(file.path).open("rb") as stream:
            text = stream.read(_MAX_KEY_BYTES + 1).decode("ascii").strip()
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not text"
        raise WorkloadError(f"{file.path}, which holds the key, cannot be read: {reason}") from error
    if not text or len(text) > _MAX_KEY_BYTES or not text.isprintable():
        raise WorkloadError(f"{file.path} must hold the key, on one line, and nothing else")
    return file.prefix + text
