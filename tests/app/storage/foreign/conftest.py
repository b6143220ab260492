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
def read_curve() -> Callable[..., ImportedCurve]:
    """Return a function that reads fixture files as one load curve."""
    return lambda *names: read_foreign([FILES / name for name in names])


@pytest.fixture
def write_changed_copy(tmp_path: Path) -> Callable[..., Path]:
    """Return a function that writes a copy of a JSON fixture with changes; a key `a__0__b` changes the value at
    a[0].b."""

    def write(name: str, as_name: str | None = None, **changes: Any) -> Path:
        content = json.loads((FILES / name).read_text())
        for key_path, value in changes.items():
            *before, last = [int(key) if key.isdigit() else key for key in key_path.split("__")]
            container = content
            for key in before:
                container = container[key]
            container[last] = value
        path = tmp_path / (as_name or Path(name).name)
        path.write_text(json.dumps(content))
        return path

    return write
