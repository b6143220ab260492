from __future__ import annotations

from pathlib import Path

import pytest

from app.inference.precision.conversion import (
    find_cached_conversion,
    get_cached_model_path,
    get_default_cache,
    store_conversion,
)
from app.inference.precision.conversion_records import ConversionResult
from app.inference.precision.recipe import build_recipe
from app.inference.probe import DIGITS_MODEL

CONVERSION_RESULT = ConversionResult(calibration_rows=None, notes=("a note",))


def write_draft(folder: Path, content: bytes) -> Path:
    folder.mkdir(exist_ok=True)
    (folder / "draft.onnx").write_bytes(content)
    return folder / "draft.onnx"


def test_cached_conversion_is_identified_by_its_recipe(tmp_path: Path) -> None:
    recipe = build_recipe(DIGITS_MODEL, "fp16", None)
    assert find_cached_conversion(tmp_path, recipe) is None
    entry = store_conversion(tmp_path, recipe, write_draft(tmp_path / "d", b"made"), CONVERSION_RESULT)
    assert find_cached_conversion(tmp_path, recipe) == entry
    assert get_cached_model_path(tmp_path, entry).read_bytes() == b"made"
    assert find_cached_conversion(tmp_path, build_recipe(DIGITS_MODEL, "int8-dynamic", None)) is None


def test_second_conversion_does_not_overwrite_the_first_model(tmp_path: Path) -> None:
    recipe = build_recipe(DIGITS_MODEL, "fp16", None)
    first = store_conversion(tmp_path, recipe, write_draft(tmp_path / "d", b"one"), CONVERSION_RESULT)
    second = store_conversion(tmp_path, recipe, write_draft(tmp_path / "d", b"other"), CONVERSION_RESULT)
    assert get_cached_model_path(tmp_path, first).read_bytes() == b"one"
    assert find_cached_conversion(tmp_path, recipe) == second


def test_cache_entry_with_a_changed_or_missing_model_is_a_cache_miss(tmp_path: Path) -> None:
    recipe = build_recipe(DIGITS_MODEL, "fp16", None)
    entry = store_conversion(tmp_path, recipe, write_draft(tmp_path / "d", b"made"), CONVERSION_RESULT)
    get_cached_model_path(tmp_path, entry).write_bytes(b"else")
    assert find_cached_conversion(tmp_path, recipe) is None
    get_cached_model_path(tmp_path, entry).unlink()
    assert find_cached_conversion(tmp_path, recipe) is None


def test_conversion_cache_is_in_the_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SIZEWISE_HOME", str(tmp_path))
    assert get_default_cache() == tmp_path / "cache" / "precision"
    monkeypatch.delenv("SIZEWISE_HOME")
    assert get_default_cache().parts[-2:] == ("sizewise", "precision") or "Cache" in str(get_default_cache())
