from __future__ import annotations

import datetime
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from app.profiles.loading import load_profile
from app.session.spec import RunSpec
from app.wiring.spec import build_spec

URL = "http://127.0.0.1:8000"
HTTP = {"protocol": "http", "url": f"{URL}/score"}
LOAD = {"stages": [{"rate": "1/s", "duration": "1s"}]}
Written = Callable[..., Any]
"""Gives an EndpointProfile or a LocalProfile: the target decides."""
Spec = Callable[..., RunSpec]


@pytest.fixture(autouse=True)
def no_proxy(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """And a home in which nothing is allowed yet."""
    monkeypatch.setenv("SIZEWISE_HOME", str(tmp_path / "home"))
    for name in ("http_proxy", "https_proxy", "all_proxy", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)


@pytest.fixture
def written(tmp_path: Path) -> Written:
    """Writes a profile of a target, a workload and a load, and reads it."""

    def write(target: Any = HTTP, workload: Any = None, load: Any = LOAD, **more: Any) -> Any:
        values = {"sizewise": 1, "name": "test", "target": target, "workload": workload or {}, "load": load, **more}
        path = tmp_path / "profile.yaml"
        path.write_text(yaml.safe_dump(values, sort_keys=False), encoding="utf-8")
        return load_profile(path)

    return write


@pytest.fixture
def spec(written: Written) -> Spec:
    def build(*args: Any, **more: Any) -> RunSpec:
        return build_spec(written(*args, **more), "run", today=datetime.date(2026, 1, 1), recalibrate=False)

    return build
