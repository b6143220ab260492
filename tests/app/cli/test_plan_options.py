from __future__ import annotations

from pathlib import Path
from typing import Any

import click
import pytest
from click.testing import CliRunner

from app.cli.plan_options import OPTIONS, ModelOptions, build_overrides
from app.errors import UsageError


def parse(*arguments: str) -> dict[str, Any]:
    """Return the values of the options, and raise click's error about a bad one."""
    command = click.Command("plan", params=list(OPTIONS), callback=lambda **values: values)
    result = CliRunner().invoke(command, arguments, standalone_mode=False)
    if result.exception is not None:
        raise result.exception
    values: dict[str, Any] = result.return_value
    return values


def overrides_of(*arguments: str, overrides: tuple[str, ...] = (), traffic: Path | None = None) -> tuple[str, ...]:
    return build_overrides(ModelOptions(**parse(*arguments)), (), overrides, traffic)


ALONE = ("--model", "llama-3.1-8b", "--peak", "5/s")


def test_options_set_their_plan_keys() -> None:
    assert overrides_of() == ()
    lengths = ("--input-tokens", "2000", "--output-tokens", "300")
    assert overrides_of(
        *ALONE, *lengths, "--accelerator", "h100, A100 80GB", "--precision", "fp8", "--engine", "tensorrt-llm"
    ) == (
        "plan.accelerators=h100,A100 80GB",
        "traffic.peak=5/s",
        "traffic.tokens={input: 2000, output: 300}",
        "precision.weights=fp8",
        "precision.compute=fp8",
        "engine.name=trtllm",
    )


def test_the_first_of_several_precisions_and_engines_is_planned_and_the_others_are_alternatives() -> None:
    arguments = ("--precision", "bf16, fp8,int4,bf16", "--engine", "trtllm,tensorrt-llm,vllm")
    assert overrides_of(*ALONE, *arguments)[1:] == (
        "precision.weights=bf16",
        "precision.compute=bf16",
        "alternatives.weights=fp8,int4",
        "engine.name=trtllm",
        "alternatives.engines=vllm",
    )


def test_options_override_a_traffic_file() -> None:
    lengths = ("--input-tokens", "2000", "--output-tokens", "300")
    assert overrides_of(*ALONE, *lengths, traffic=Path("traffic.yaml")) == (
        "traffic.peak=5/s",
        "traffic.tokens={input: 2000, output: 300}",
    )


def test_token_length_options_need_no_peak_if_an_override_sets_the_traffic() -> None:
    arguments = ("--model", "llama-3.1-8b", "--input-tokens", "9", "--output-tokens", "9")
    with pytest.raises(UsageError, match="set the same value"):
        overrides_of(*arguments, overrides=("traffic={users: {count: 9, requests: 1/s}}",))
    assert overrides_of(*arguments, overrides=("traffic.users={count: 9, requests: 1/s}",))


def test_int4_weights_are_computed_in_bf16() -> None:
    assert overrides_of(*ALONE, "--precision", "int4")[-1] == "precision.compute=bf16"


@pytest.mark.parametrize(
    "arguments",
    [
        ("--accelerator", "h1000"),
        ("--accelerator", ","),
        ("--peak", "5"),
        ("--peak", "-5/s"),
        ("--input-tokens", "0"),
        ("--output-tokens", "many"),
        ("--precision", "fp9"),
        ("--precision", "fp8,fp9"),
        ("--precision", "fp8,"),
        ("--engine", "vllm,tgi"),
        ("--prefix-cached", "60"),
        ("--prefix-cached", "100%"),
    ],
)
def test_invalid_value_is_reported_with_its_option(arguments: tuple[str, ...]) -> None:
    with pytest.raises(click.BadParameter) as caught:
        parse(*arguments)
    assert arguments[0] in caught.value.format_message()


@pytest.mark.parametrize(
    ("arguments", "others", "options"),
    [
        ((*ALONE, "--input-tokens", "9"), {}, ("--input-tokens", "--output-tokens")),
        ((*ALONE, "--output-tokens", "9"), {}, ("--output-tokens", "--input-tokens")),
        (("--input-tokens", "9", "--output-tokens", "9"), {}, ("--input-tokens", "--peak")),
        (("--precision", "fp8"), {}, ("--precision", "--model")),
        (ALONE, {"overrides": ("traffic.peak=6/s",)}, ("--peak", "--set traffic.peak")),
        (ALONE, {"overrides": ("traffic={peak: 6/s}",)}, ("--peak", "--set traffic ")),
        (
            ("--accelerator", "h100"),
            {"overrides": ("plan.accelerators[0]=l4",)},
            ("--accelerator", "--set plan.accelerators[0]"),
        ),
        ((*ALONE, "--precision", "fp8"), {"overrides": ("precision={weights: bf16}",)}, ("--precision", "--set prec")),
    ],
)
def test_contradictory_options_are_reported(
    arguments: tuple[str, ...], others: dict[str, Any], options: tuple[str, str]
) -> None:
    with pytest.raises(UsageError) as caught:
        overrides_of(*arguments, **others)
    assert all(option in str(caught.value) for option in options)
