from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from app.errors import ProfileError
from app.profiles.language_model import EngineSettings, PrecisionSettings, ShapeSettings, is_language_model
from app.profiles.loading import load_language_model
from app.records.language_model import Engine, LanguageModel, Precision, SupposedModel
from tests.fakes.language_models import DEEPSEEK_V3, LLAMA_8B
from tests.fakes.plan_sources import MODEL

SHAPE = {
    "parameters": 46.7e9,
    "layers": 32,
    "hidden": 4096,
    "heads": 32,
    "kv_heads": 8,
    "head_dim": 128,
    "vocabulary": 32000,
    "active_parameters": 12.9e9,
    "experts": 8,
    "experts_per_token": 2,
    "latent_dim": 576,
    "window_layers": 16,
    "window_tokens": 1024,
    "linear_layers": 4,
}
PRECISION = {"weights": "int4", "compute": "fp16", "kv": "fp8"}
ENGINE = {"chunk_tokens": 8192, "max_sequences": 64, "utilisation": 0.8}


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "model.yaml"
    path.write_text(MODEL)
    return path


def test_a_shape_alone_is_a_model_in_bf16_on_an_engine_as_it_comes(path: Path) -> None:
    assert load_language_model(path) == SupposedModel("small", LLAMA_8B)
    path.write_text(MODEL.replace("name: small\n", ""))
    assert load_language_model(path).name == "model"


def test_every_key_is_taken(path: Path) -> None:
    path.write_text(yaml.safe_dump({"language_model": SHAPE, "precision": PRECISION, "engine": ENGINE}))
    model = LanguageModel(46.7e9, 32, 4096, 32, 8, 128, 32000, 12.9e9, 8, 2, 576, 16, 1024, 4)
    engine = Engine(chunk_tokens=8192, max_sequences=64, utilisation=0.8)
    assert load_language_model(path) == SupposedModel("model", model, Precision("int4", "fp16", "fp8"), engine)
    for kind, said in ((ShapeSettings, SHAPE), (PrecisionSettings, PRECISION), (EngineSettings, ENGINE)):
        assert set(kind.model_fields) == set(said)


def test_a_mixture_with_latent_attention_is_the_model_that_its_file_tells(path: Path) -> None:
    shape = {name: getattr(DEEPSEEK_V3, name) for name in SHAPE}
    path.write_text(yaml.safe_dump({"language_model": shape}))
    assert load_language_model(path).model == DEEPSEEK_V3


@pytest.mark.parametrize(
    ("right", "wrong", "line", "says", "hint"),
    [
        ("layers: 32", "layer: 32", 3, "unknown key 'layer' in language_model", "Did you mean 'layers'?"),
        ("layers: 32, ", "", 2, "language_model lacks layers", None),
        ("layers: 32", "layers: 0", 3, "language_model.layers must be greater than or equal to 1", None),
        ("layers: 32", "layers: 32.5", 3, "language_model.layers must be a whole number", None),
        ("layers: 32", "layers: many", 3, "must be a whole number, not 'many'", None),
        ("layers: 32", "layers: true", 3, "must be a whole number", None),
        ("layers: 32", "layers: 10000001", 3, "less than or equal to 10000000", None),
        ("parameters: 8.03e9", "parameters: 0", 3, "language_model.parameters must be greater than 0", None),
        ("parameters: 8.03e9", "parameters: 8B", 3, "language_model.parameters must be a number, not '8B'", None),
        ("parameters: 8.03e9", "parameters: 1e15", 3, "less than or equal to", None),
        ("layers: 32", "layers: 32, window_layers: -1", 3, "window_layers must be greater than or equal to 0", None),
        ("layers: 32", "layers: 32, linear_layers: -1", 3, "linear_layers must be greater than or equal to 0", None),
        ("layers: 32", "layers: 32, experts: 0", 3, "experts must be greater than or equal to 1", None),
        ("name: small", "name: small one", 1, "name must be text that fits the pattern", None),
        ("name: small", "nme: small", 1, "unknown key 'nme'", "Did you mean 'name'?"),
        ("name: small", "precision: {weight: int4}", 1, "unknown key 'weight' in precision", "Did you mean 'weights'?"),
        ("name: small", "precision: {weights: int3}", 1, "precision.weights must be", "Did you mean 'int"),
        ("name: small", "precision: {kv: bf61}", 1, "precision.kv must be", "Did you mean 'bf16'?"),
        ("name: small", "precision: {compute: 16}", 1, "precision.compute must be", None),
        ("name: small", "engine: {utilisation: 0}", 1, "engine.utilisation must be greater than 0", None),
        ("name: small", "engine: {utilisation: 90}", 1, "engine.utilisation must be less than or equal to 1", None),
        ("name: small", "engine: {utilization: 0.9}", 1, "unknown key 'utilization'", "Did you mean 'utilisation'?"),
        ("name: small", "engine: {max_sequences: 0}", 1, "engine.max_sequences must be greater", None),
        ("name: small", "engine: {chunk_tokens: 0}", 1, "engine.chunk_tokens must be greater", None),
        ("name: small", "engine: &a {}", 1, "anchors and aliases are not supported", None),
        ("name: small", "engine: !!python/name:os.system", 1, "tags are not supported", None),
    ],
)
def test_each_bad_value_has_its_line_and_the_nearest_right_name(
    path: Path, right: str, wrong: str, line: int, says: str, hint: str | None
) -> None:
    assert right in MODEL
    path.write_text(MODEL.replace(right, wrong, 1))
    with pytest.raises(ProfileError) as caught:
        load_language_model(path)
    assert str(caught.value).startswith(f"{path}:{line}: ")
    assert says in str(caught.value)
    assert hint is None or hint in (caught.value.hint or "")


@pytest.mark.parametrize(
    ("name", "content", "is_one"),
    [
        ("model.yaml", MODEL, True),
        ("model.yml", "# a comment\nlanguage_model:\n", True),
        ("model.json", MODEL, False),
        ("model.yaml", "model:\n  language_model: {}\n", False),
        ("model.yaml", "sizewise: 1\nname: language_model\n", False),
        ("model.yaml", "", False),
        ("model.yaml", "#" * 70_000 + "\n" + MODEL, False),
    ],
)
def test_a_language_model_is_told_by_its_key_at_the_top(tmp_path: Path, name: str, content: str, is_one: Any) -> None:
    path = tmp_path / name
    path.write_text(content)
    assert is_language_model(path) is is_one


def test_what_cannot_be_opened_is_none(tmp_path: Path) -> None:
    assert not is_language_model(tmp_path / "none.yaml")
    (tmp_path / "folder.yaml").mkdir()
    assert not is_language_model(tmp_path / "folder.yaml")
