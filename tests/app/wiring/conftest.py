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
MakeProfile = Callable[..., Any]
"""Returns an EndpointProfile or a LocalProfile, depending on the target."""
MakeSpec = Callable[..., RunSpec]


@pytest.fixture(autouse=True)
def no_proxy(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Remove the proxy variables, and use an empty home without permissions."""
    monkeypatch.setenv("SIZEWISE_HOME", str(tmp_path / "home"))
    for name in ("http_proxy", "https_proxy", "all_proxy", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)


@pytest.fixture
def make_profile(tmp_path: Path) -> MakeProfile:
    """Return a function that writes a profile of a target, a workload and a load, and loads it."""

    def write(target: Any = HTTP, workload: Any = None, load: Any = LOAD, **more: Any) -> Any:
        values = {"sizewise": 1, "name": "test", "target": target, "workload": workload or {}, "load": load, **more}
        path = tmp_path / "profile.yaml"
        path.write_text(yaml.safe_dump(values, sort_keys=False), encoding="utf-8")
        return load_profile(path)

    return write


@pytest.fixture
def make_spec(make_profile: MakeProfile) -> MakeSpec:
    def build(*args: Any, **more: Any) -> RunSpec:
        return build_spec(make_profile(*args, **more), "run", today=datetime.date(2026, 1, 1), recalibrate=False)

    return build
