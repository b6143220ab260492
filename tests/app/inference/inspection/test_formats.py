from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from app.errors import UsageError
from app.inference.inspection.formats import find_language_model_format
from app.inference.inspection.language_model import read_language_model
from tests.fakes.genai_folders import genai_folder
from tests.fakes.language_model_files import published_model, write_folder, write_gguf


def test_language_model_format_is_detected_by_content(tmp_path: Path) -> None:
    model = published_model("smollm2-135m")
    folder = write_folder(tmp_path / "hf", model.tensors, model.config)
    assert find_language_model_format(folder) == "safetensors"
    assert find_language_model_format(folder / "model.safetensors") == "safetensors"
    assert find_language_model_format(write_gguf(tmp_path / "without-suffix", {}, {})) == "gguf"
    decoder = genai_folder(tmp_path / "genai")
    assert find_language_model_format(decoder) == "genai"
    assert find_language_model_format(decoder / "model.onnx") is None
    assert find_language_model_format(tmp_path / "missing.onnx") is None


def test_unreadable_model_files_are_reported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write_gguf(tmp_path / "model.gguf", {}, {})

    def deny_access(*_: Any) -> None:
        raise PermissionError(13, "Permission denied")

    with monkeypatch.context() as patched:
        patched.setattr(os, "open", deny_access)
        with pytest.raises(UsageError, match=r"model\.gguf cannot be read: Permission denied"):
            find_language_model_format(path)
    monkeypatch.setattr("app.inference.inspection.language_model.read_gguf", deny_access)
    with pytest.raises(UsageError, match=r"model\.gguf cannot be read: Permission denied"):
        read_language_model(path)
