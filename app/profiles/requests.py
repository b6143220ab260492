"""The bytes a plain HTTP workload sends."""

from __future__ import annotations

import json
from pathlib import Path

from pydantic import JsonValue

from app.errors import ProfileError
from app.profiles.profile import HttpRequests


def request_bodies(workload: HttpRequests) -> tuple[bytes, ...]:
    """One for each request in turn; none for requests without a body. Raises ProfileError for a bad dataset."""
    if workload.dataset is not None:
        return _lines(workload.dataset)
    bodies = workload.bodies if workload.body is None else (workload.body,)
    return tuple(_encode(body) for body in bodies)


def _encode(body: JsonValue) -> bytes:
    return (body if isinstance(body, str) else json.dumps(body, ensure_ascii=False, separators=(",", ":"))).encode()


def _lines(dataset: Path) -> tuple[bytes, ...]:
    """The lines of a JSON-lines file as they stand, blank ones left out."""
    bodies: list[bytes] = []
    with dataset.open("rb") as file:
        for number, line in enumerate(file, start=1):
            if not line.strip():
                continue
            try:
                json.loads(line)
            except ValueError as error:
                raise ProfileError("not JSON", path=str(dataset), line=number, hint="One request a line.") from error
            bodies.append(line.strip())
    if not bodies:
        raise ProfileError("holds no request", path=str(dataset), hint="Write one request a line, as JSON.")
    return tuple(bodies)
