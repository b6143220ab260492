from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from app.analysis.language_models import load_language_models
from app.errors import ProfileError, UsageError
from app.records.planning_inputs import AssumedModel, Precision
from app.wiring.assumed_models import find_model, load_assumed_model, load_model_by_name
from tests.fakes.language_model_files import published_model, write_folder
from tests.studies.model_shapes import load_published_models

CONFIG = load_published_models()["qwen3-30b-a3b"].config


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with the configuration of a published model."""
    folder = tmp_path / "my model"
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps(CONFIG))
    return folder


def test_configuration_in_a_folder_or_file_has_the_shape_of_the_bundled_model(folder: Path, tmp_path: Path) -> None:
    expected = load_language_models()["qwen3-30b-a3b"].shape
    for text in (str(folder), str(folder / "config.json"), "my model", "./my model/config.json"):
        model = find_model(text, tmp_path)
        assert (model.name, model.shape) == ("my-model", expected)


def test_path_in_a_model_file_is_relative_to_its_folder(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = folder / "model.yaml"
    file.write_text("name: mine\nlanguage_model: config.json\n")
    assert load_assumed_model(file).model == load_language_models()["qwen3-30b-a3b"].shape
    monkeypatch.chdir(folder)
    assert load_model_by_name("config.json").model == load_assumed_model(file).model


def test_configuration_may_be_inline_in_a_model_file(tmp_path: Path) -> None:
    file = tmp_path / "model.yaml"
    file.write_text(f"name: mine\nlanguage_model: {json.dumps(CONFIG)}\n")
    assert load_assumed_model(file) == AssumedModel("mine", load_language_models()["qwen3-30b-a3b"].shape)
    file.write_text(f"language_model: {json.dumps(CONFIG | {'vocab_size': None})}\n")
    with pytest.raises(ProfileError, match="vocab_size") as caught:
        load_assumed_model(file)
    assert caught.value.line == 1


@pytest.mark.process
def test_folder_with_weights_has_the_parameters_of_its_tensors(tmp_path: Path) -> None:
    published = published_model("smollm2-135m")
    folder = write_folder(tmp_path / "weights", published.tensors, published.config)
    model = find_model(str(folder), tmp_path)
    assert model.shape.layers == 30
    assert model.shape.parameters == pytest.approx(134.5e6, rel=0.001)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"num_key_value_heads": 5}, "must be a multiple of kv_heads"),
        ({"num_hidden_layers": 1_000_000_000}, "1,000,000,000 layers, above the maximum of 10,000"),
        ({"num_experts_per_tok": 129}, "must not exceed experts"),
        ({"hidden_size": "wide"}, r"config\.json is not valid"),
        ({"vocab_size": None}, "vocab_size"),
    ],
)
def test_configuration_with_impossible_numbers_is_rejected_with_one_error(
    folder: Path, changes: dict[str, Any], message: str
) -> None:
    (folder / "config.json").write_text(json.dumps(CONFIG | changes))
    with pytest.raises(ProfileError, match=message) as caught:
        load_model_by_name(str(folder))
    assert caught.value.other_errors == ()


@pytest.mark.parametrize("text", ["none/config.json", "./none", "/none", "~/none.safetensors", "config.json"])
def test_missing_model_path_is_a_usage_error(tmp_path: Path, text: str) -> None:
    with pytest.raises(UsageError, match="does not exist"):
        find_model(text, tmp_path)


def test_folder_without_a_model_and_oversized_configuration_are_rejected(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(UsageError):
        find_model("empty", tmp_path)
    (tmp_path / "config.json").write_bytes(b" " * ((4 << 20) + 1))
    with pytest.raises(UsageError, match="4 MiB"):
        find_model("config.json", tmp_path)


def test_model_name_too_long_for_a_path_is_unknown(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="is unknown"):
        find_model("x" * 5000, tmp_path)


def test_precision_defaults_to_that_of_the_published_weights(tmp_path: Path) -> None:
    file = tmp_path / "model.yaml"
    file.write_text("language_model: deepseek-r1\n")
    read = load_assumed_model(file), load_assumed_model(file, ("language_model=llama-3.1-8b",))
    assert [model.precision for model in read] == [Precision("fp8", "fp8"), Precision()]
    stated = load_model_by_name("deepseek-r1", ("precision.weights=bf16", "precision.compute=bf16"))
    assert stated.precision == Precision()
    assert load_model_by_name("deepseek-r1-awq").precision == Precision("int4", "bf16")
    assert load_model_by_name("moonshotai/Kimi-K2-Thinking").precision == Precision("int4", "bf16")


def test_precision_follows_the_quantization_config(folder: Path) -> None:
    quantized = CONFIG | {"quantization_config": {"quant_method": "fp8"}}
    (folder / "config.json").write_text(json.dumps(quantized))
    assert load_model_by_name(str(folder)).precision == Precision("fp8", "fp8")
    (folder / "model.yaml").write_text(f"language_model: {json.dumps(quantized)}\n")
    assert load_assumed_model(folder / "model.yaml").precision == Precision("fp8", "fp8")
    stated = load_model_by_name(str(folder), ("precision.weights=bf16", "precision.compute=bf16"))
    assert stated.precision == Precision()
