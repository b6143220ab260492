"""Inputs that once caused a defect are read or refused, and each fuzz target accepts a well-formed input."""

from __future__ import annotations

import contextlib
import importlib
from pathlib import Path
from types import ModuleType

import pytest

from app.errors import SizewiseError
from tests.fuzz.__main__ import CORPUS, TARGETS
from tests.tiers import first_in_unit_tier

STORED_INPUTS = sorted(CORPUS.glob("*/*"))
_LONG, _IN_UNIT_TIER = "stored_run", 6
"""Reading a run with all its files takes a third of a second."""


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SIZEWISE_HOME", str(tmp_path))


def _target(name: str) -> ModuleType:
    return importlib.import_module(f"tests.fuzz.targets.{name}")


@pytest.mark.parametrize("name", TARGETS)
def test_fuzz_target_accepts_well_formed_input(name: str) -> None:
    """A target that refuses all its seeds would fuzz only the refusal."""
    target = _target(name)
    refusals = []
    for content in target.seeds():
        try:
            target.read(content)
            return
        except SizewiseError as error:
            refusals.append(str(error))
    pytest.fail("; ".join(refusals))


@pytest.mark.parametrize(
    "path",
    [
        *[path for path in STORED_INPUTS if path.parent.name != _LONG],
        *first_in_unit_tier([path for path in STORED_INPUTS if path.parent.name == _LONG], _IN_UNIT_TIER),
    ],
    ids=lambda path: f"{path.parent.name}-{path.name}",
)
def test_input_of_former_defect_is_read_or_refused(path: Path) -> None:
    with contextlib.suppress(SizewiseError):
        _target(path.parent.name).read(path.read_bytes())


def test_every_stored_input_belongs_to_target() -> None:
    assert {path.parent.name for path in STORED_INPUTS} <= set(TARGETS)
