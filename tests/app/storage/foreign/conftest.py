from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from app.records.planning_inputs import ImportedCurve
from app.storage.foreign.reading import read_foreign

FILES = Path(__file__).parent / "files"


@pytest.fixture
def curve() -> Callable[..., ImportedCurve]:
    """The curve of fixture files, by name."""
    return lambda *names: read_foreign([FILES / name for name in names])


@pytest.fixture
def changed(tmp_path: Path) -> Callable[..., Path]:
    """A copy of a JSON fixture, changed: the value at a way of keys and indices, dotted."""

    def write(name: str, as_name: str | None = None, **ways: Any) -> Path:
        content = json.loads((FILES / name).read_text())
        for way, value in ways.items():
            *before, last = [int(key) if key.isdigit() else key for key in way.split("__")]
            place = content
            for key in before:
                place = place[key]
            place[last] = value
        path = tmp_path / (as_name or Path(name).name)
        path.write_text(json.dumps(content))
        return path

    return write
