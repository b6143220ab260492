from __future__ import annotations

from pathlib import Path

import pytest

from app.profiles.generation_tests import is_language_model, parse_generation_test
from app.profiles.problems import BadValueError
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
def test_names_are_those_of_llama_bench(text: str, test: GenerationTest, name: str) -> None:
    assert parse_generation_test(text) == test
    assert test.name == name
    assert parse_generation_test(name) == test, "a result names its tests so"


@pytest.mark.parametrize("value", ["512", "pp", "tg128+pp512", "pp512tg128", "pp512+", "+tg128", "d64", 512, None])
def test_other_names_are_refused_with_an_example(value: object) -> None:
    with pytest.raises(BadValueError, match="is unknown") as problem:
        parse_generation_test(value)
    assert problem.value.hint is not None
    assert "pp512+tg128" in problem.value.hint


def test_tests_need_tokens_and_not_too_many() -> None:
    for text in ("", "pp0", "tg0", "pp0+tg0", "@ d64"):
        with pytest.raises(BadValueError, match="has no tokens"):
            parse_generation_test(text)
    assert parse_generation_test("pp1048575+tg1").total_tokens == 1_048_576
    with pytest.raises(BadValueError, match="exceeds the maximum of 1,048,576 tokens"):
        parse_generation_test("pp1048576+tg1")


def test_a_language_model_is_a_folder_with_a_configuration(tmp_path: Path) -> None:
    assert not is_language_model(tmp_path)
    (tmp_path / "genai_config.json").write_text("{}")
    assert is_language_model(tmp_path)
    assert not is_language_model(tmp_path / "genai_config.json")
