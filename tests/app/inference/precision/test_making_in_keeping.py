from __future__ import annotations

from pathlib import Path

import pytest

from app.inference.precision.made import Delivery
from app.inference.precision.making import default_cache, keep, kept_entry, model_path
from app.inference.precision.recipe import recipe_of
from app.inference.probe import DIGITS_MODEL

DELIVERY = Delivery(calibration_rows=None, notes=("a note",))


def drafted(folder: Path, content: bytes) -> Path:
    folder.mkdir(exist_ok=True)
    (folder / "draft.onnx").write_bytes(content)
    return folder / "draft.onnx"


def test_what_is_kept_is_found_by_its_recipe_alone(tmp_path: Path) -> None:
    recipe = recipe_of(DIGITS_MODEL, "fp16", None)
    assert kept_entry(tmp_path, recipe) is None
    entry = keep(tmp_path, recipe, drafted(tmp_path / "d", b"made"), DELIVERY)
    assert kept_entry(tmp_path, recipe) == entry
    assert model_path(tmp_path, entry).read_bytes() == b"made"
    assert kept_entry(tmp_path, recipe_of(DIGITS_MODEL, "int8-dynamic", None)) is None


def test_later_maker_leaves_the_earlier_ones_model_as_it_is(tmp_path: Path) -> None:
    recipe = recipe_of(DIGITS_MODEL, "fp16", None)
    first = keep(tmp_path, recipe, drafted(tmp_path / "d", b"one"), DELIVERY)
    second = keep(tmp_path, recipe, drafted(tmp_path / "d", b"other"), DELIVERY)
    assert model_path(tmp_path, first).read_bytes() == b"one"
    assert kept_entry(tmp_path, recipe) == second


def test_entry_without_its_model_or_with_another_is_none(tmp_path: Path) -> None:
    recipe = recipe_of(DIGITS_MODEL, "fp16", None)
    entry = keep(tmp_path, recipe, drafted(tmp_path / "d", b"made"), DELIVERY)
    model_path(tmp_path, entry).write_bytes(b"else")
    assert kept_entry(tmp_path, recipe) is None
    model_path(tmp_path, entry).unlink()
    assert kept_entry(tmp_path, recipe) is None


def test_home_of_the_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SIZEWISE_HOME", str(tmp_path))
    assert default_cache() == tmp_path / "cache" / "precision"
    monkeypatch.delenv("SIZEWISE_HOME")
    assert default_cache().parts[-2:] == ("sizewise", "precision") or "Cache" in str(default_cache())
