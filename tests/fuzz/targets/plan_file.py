"""A plan file."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import yaml

from app.storage.plan_file import read_plan
from tests.fakes.golden_runs import golden_plan
from tests.fuzz.scratch import input_file, scratch_folder


def read(data: bytes) -> None:
    with input_file(b"\0" + data, "plan.yaml") as path:
        read_plan(path)


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
