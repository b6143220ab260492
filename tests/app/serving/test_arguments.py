from __future__ import annotations

from pathlib import Path

import click
import pytest

from app.errors import UsageError
from app.serving.arguments import PARAMETERS, ServingOptions, derive_model_name, format_arguments, parse_settings
from app.serving.settings import ServingSettings


def parse(*line: str) -> ServingSettings:
    context = click.Command("serve", params=[*PARAMETERS]).make_context("serve", [*line])
    return parse_settings(ServingOptions(**context.params))


def test_serve_defaults_equal_those_of_the_settings() -> None:
    assert parse("models/digits.onnx") == ServingSettings(model="models/digits.onnx", name="digits")


def test_formatted_serving_arguments_are_parsed_to_the_same_settings() -> None:
    settings = ServingSettings(
        model="-odd name.onnx",
        name="m",
        port=8000,
        provider="cuda",
        threads=2,
        max_batch=16,
        queue_delay_s=0.0005,
        queue_limit=7,
        exit_with_stdin=True,
    )
    assert parse(*format_arguments(settings)) == settings


@pytest.mark.parametrize(("text", "seconds"), [("2ms", 0.002), ("500us", 0.0005), ("0s", 0.0), ("1.5 ms", 0.0015)])
def test_queue_delay_is_parsed_with_its_unit(text: str, seconds: float) -> None:
    assert parse("m.onnx", "--queue-delay", text).queue_delay_s == pytest.approx(seconds)


@pytest.mark.parametrize(
    "line",
    [
        ("--queue-delay", "2"),
        ("--queue-delay", "90s"),
        ("--threads", "0"),
        ("--max-batch", "0"),
        ("--queue-limit", "0"),
        ("--max-batch", "4097"),
        ("--queue-limit", "100001"),
        ("--port", "70000"),
        ("--name", "a/b"),
        ("--name", ""),
    ],
)
def test_serving_arguments_outside_bounds_are_rejected(line: tuple[str, str]) -> None:
    with pytest.raises(UsageError):
        parse("m.onnx", *line)


def test_unset_batch_and_queue_delay_stay_unset() -> None:
    settings = ServingSettings(model="folder", name="m")
    assert (settings.max_batch, settings.queue_delay_s) == (None, None)
    assert parse(*format_arguments(settings)) == settings


@pytest.mark.parametrize(
    ("path", "name"), [("a/fraud.v2.onnx", "fraud.v2"), ("my model.onnx", "my-model"), ("ä.onnx", "model")]
)
def test_served_model_is_named_after_its_file(path: str, name: str) -> None:
    assert derive_model_name(path) == name


def test_served_language_model_is_named_after_its_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "SmolLM2-1.7B int4"
    folder.mkdir()
    monkeypatch.chdir(folder)
    assert derive_model_name(str(folder)) == derive_model_name(".") == "SmolLM2-1.7B-int4"
