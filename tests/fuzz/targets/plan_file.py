"""A plan file, beside the catalog of the golden plan."""

from __future__ import annotations

import functools
from collections.abc import Iterable
from typing import Any

import yaml

from app.wiring.plan_files import read_plan
from tests.fakes.golden_runs import golden_plan
from tests.fuzz.scratch import input_file, scratch_folder


def read(data: bytes) -> None:
    with input_file(b"\0" + data, "plan.yaml") as path:
        for name, content in _catalogs().items():
            (path.parent / name).write_bytes(content)
        read_plan(path)


@functools.cache
def _catalogs() -> dict[str, bytes]:
    with scratch_folder() as folder:
        golden_plan(folder)
        return {path.name: path.read_bytes() for path in folder.glob("catalogue-*.csv")}


def seeds() -> Iterable[bytes]:
    with scratch_folder() as folder:
        plan = yaml.load(golden_plan(folder).read_bytes(), Loader=yaml.CSafeLoader)
    yield yaml.dump(_shortened(plan), Dumper=yaml.CSafeDumper, sort_keys=False).encode()


def _shortened(value: Any) -> Any:
    """Return the same structure with lists of records cut to two, so that reading it takes milliseconds."""
    if isinstance(value, dict):
        return {key: _shortened(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_shortened(item) for item in (value[:2] if value and isinstance(value[0], dict) else value)]
    return value
