from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from app.profiles.loading import load_profile

LOAD = {"stages": [{"rate": "1/s", "duration": "1s"}]}
Load = Callable[..., Any]
"""Returns an EndpointProfile or a LocalProfile, depending on the target."""


@pytest.fixture
def load(tmp_path: Path) -> Load:
    """Return a function that writes a profile of a target, a workload and a load, and loads it."""

    def write(target: Any, workload: Any = None, load: Any = LOAD, **more: Any) -> Any:
        values = {"sizewise": 1, "name": "test", "target": target, "load": load, **more}
        if workload is not None:
            values["workload"] = workload
        path = tmp_path / "profile.yaml"
        path.write_text(yaml.dump(values, Dumper=yaml.CSafeDumper, sort_keys=False), encoding="utf-8")
        return load_profile(path)

    return write
