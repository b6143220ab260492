"""The catalog file of a plan, which has the digest that the plan file states."""

from __future__ import annotations

from collections.abc import Iterable

from app.profiles.pricing.catalog import load_bundled_catalog
from app.storage.catalog_file import build_catalog_reference, format_catalog, read_catalog
from tests.fuzz.scratch import scratch_folder


def read(data: bytes) -> None:
    reference = build_catalog_reference(data)
    with scratch_folder() as folder:
        (folder / reference.file).write_bytes(data)
        read_catalog(folder / "plan.yaml", reference)


def seeds() -> Iterable[bytes]:
    lines = format_catalog(load_bundled_catalog()).splitlines(keepends=True)
    yield b"".join([*lines[:3], lines[300], lines[-1]])
