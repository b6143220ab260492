from __future__ import annotations

from pathlib import Path

import pytest

from app.errors import ProfileError
from app.profiles.generation_tests import parse_generation_test
from app.profiles.loading import load_profile
from app.profiles.local import LocalProfile
from app.profiles.problems import BadValueError
from app.records.language_model import is_language_model
from app.records.local import GenerationTest


@pytest.mark.parametrize(
    ("text", "test", "name"),
    [
        ("pp512", GenerationTest(512, 0), "pp512"),
        ("tg128", GenerationTest(0, 128), "tg128"),
        ("pp512+tg128", GenerationTest(512, 128), "pp512+tg128"),
        ("tg128 @ d4096", GenerationTest(0, 128, 4096), "tg128 @ d4096"),
        (" pp16@d32 ", GenerationTest(16, 0, 32), "pp16 @ d32"),
        ("tg8 @ d0", GenerationTest(0, 8), "tg8"),
    ],
)
def test_generation_test_names_follow_llama_bench(text: str, test: GenerationTest, name: str) -> None:
    assert parse_generation_test(text) == test
    assert test.name == name
    assert parse_generation_test(name) == test, "a result has this name"


@pytest.mark.parametrize("value", ["512", "pp", "tg128+pp512", "pp512tg128", "pp512+", "+tg128", "d64", 512, None])
def test_invalid_generation_test_names_are_rejected_with_an_example(value: object) -> None:
    with pytest.raises(BadValueError, match="is unknown") as problem:
        parse_generation_test(value)
    assert problem.value.hint is not None
    assert "pp512+tg128" in problem.value.hint


def test_generation_tests_need_between_1_and_1048576_tokens() -> None:
    for text in ("", "pp0", "tg0", "pp0+tg0", "@ d64"):
        with pytest.raises(BadValueError, match="has no tokens"):
            parse_generation_test(text)
    assert parse_generation_test("pp1048575+tg1").total_tokens == 1_048_576
    with pytest.raises(BadValueError, match="exceeds the maximum of 1,048,576 tokens"):
        parse_generation_test("pp1048576+tg1")


def test_language_model_is_a_folder_with_a_configuration(tmp_path: Path) -> None:
    assert not is_language_model(tmp_path)
    (tmp_path / "genai_config.json").write_text("{}")
    assert is_language_model(tmp_path)
    assert not is_language_model(tmp_path / "genai_config.json")
    assert not is_language_model(tmp_path / ("a" * 3000)), "the name of a stored profile may be too long"


def load_local_profile(folder: Path, target: str, rest: str = "") -> LocalProfile:
    (folder / "model.gguf").write_bytes(b"GGUF")
    (folder / "text.txt").write_text("a text")
    path = folder / "profile.yaml"
    path.write_text(f"sizewise: 1\nname: x\ntarget: {target}\n{rest}")
    profile = load_profile(path, [])
    assert isinstance(profile, LocalProfile)
    return profile


def test_variants_inherit_a_gguf_file_and_its_precisions(tmp_path: Path) -> None:
    profile = load_local_profile(tmp_path, "{model: model.gguf, variants: [{precision: int8}, {precision: int4}]}")
    assert [variant.precision for variant in profile.target.all_variants] == ["int8", "int4"]
    with pytest.raises(ProfileError, match="the precision 'int8' is not available for digits"):
        load_local_profile(tmp_path, "{model: digits, variants: [{precision: int8}]}")


@pytest.mark.parametrize(
    ("rest", "message"),
    [
        ("load: {tests: [pp512, pp512]}", "load.tests contains a duplicate"),
        ("workload: {text: text.txt, text_tokens: 1}", "text_tokens"),
    ],
)
def test_invalid_generation_settings_are_rejected(tmp_path: Path, rest: str, message: str) -> None:
    with pytest.raises(ProfileError, match=message):
        load_local_profile(tmp_path, "{model: model.gguf}", rest)
