from __future__ import annotations

from pathlib import Path

import pytest

from app.profiles.bundled import bundled_profiles
from app.profiles.document import read_document
from app.profiles.editing import as_text
from app.profiles.loading import load_profile, load_profile_text
from app.profiles.relocating import relocated
from app.profiles.resolved import profile_hash


@pytest.mark.parametrize("name", bundled_profiles())
def test_a_profile_asks_the_same_from_another_folder(name: str, tmp_path: Path) -> None:
    path = bundled_profiles()[name]
    text = as_text(relocated(read_document(path.read_bytes(), "x").value, path.parent))
    assert profile_hash(load_profile_text(text.encode(), tmp_path / "x.yaml")) == profile_hash(load_profile(path))


def test_models_data_sets_and_secrets_lead_where_they_led(tmp_path: Path) -> None:
    tree = {
        "target": {"protocol": "openai-chat", "url": "http://127.0.0.1/v1", "api_key": "file:key", "model": "m",
                   "start": {"command": "./serve", "ready": "/health"}},
        "workload": {"dataset": "prompts.jsonl"},
    }  # fmt: skip
    moved = relocated(tree, tmp_path)
    assert moved["workload"]["dataset"] == str(tmp_path / "prompts.jsonl")
    assert moved["target"]["api_key"] == f"file:{tmp_path / 'key'}"
    assert moved["target"]["start"]["directory"] == str(tmp_path)
    assert moved["target"]["model"] == "m"
    local = relocated({"target": {"model": ["a.onnx", "digits"], "variants": [{"model": "b.onnx"}]}}, tmp_path)
    assert local["target"]["model"] == [str(tmp_path / "a.onnx"), "digits"]
    assert local["target"]["variants"][0]["model"] == str(tmp_path / "b.onnx")
