"""Options of `plan` for the most common inputs, which need no file: a language model, GPUs, and its traffic.

Each option stands for a key of `--set`, and its errors name the option.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import click

from app.cli.commands import CommandOption
from app.errors import UsageError
from app.records.dtypes import WEIGHT_DTYPES, choose_compute_dtype
from app.records.evidence import EngineName

_MAX_TOKENS = 10_000_000


def _parse_peak(text: str) -> str:
    """Check a rate such as 5/s. Raises click.BadParameter."""
    from app.profiles.units import parse_rate_per_s

    return _report_bad_value(parse_rate_per_s, text)


def _parse_accelerators(text: str) -> str:
    """Check names of accelerators, separated by commas. Raises click.BadParameter."""
    from app.profiles.pricing.catalog import check_accelerator, load_catalog

    names = [name.strip() for name in text.split(",") if name.strip()]
    if not names:
        raise click.BadParameter("it names no accelerator, such as h100,l40s")
    for name in names:
        _report_bad_value(lambda name: check_accelerator(load_catalog(), name), name)
    return ",".join(names)


def _parse_share(text: str) -> str:
    """Check a share below 100 %, such as 60%. Raises click.BadParameter."""
    from app.profiles.units import parse_share

    _report_bad_value(parse_share, text)
    if parse_share(text) == 1:
        raise click.BadParameter("100 % leaves no token of a prompt to process")
    return text


def _report_bad_value(check: Callable[[str], object], text: str) -> str:
    from app.profiles.problems import BadValueError

    try:
        check(text)
    except (BadValueError, UsageError) as error:
        raise click.BadParameter(" ".join([str(error).rstrip(".") + ".", error.hint or ""]).strip()) from None
    return text


class ListOfChoices(click.Choice[str]):
    """Choices of an option that takes one or several of them, separated by commas."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        parts = value if isinstance(value, tuple) else value.split(",")
        return tuple(dict.fromkeys(click.Choice.convert(self, part.strip(), param, ctx) for part in parts))


_ENGINES: dict[str, EngineName] = {"vllm": "vllm", "sglang": "sglang", "tensorrt-llm": "trtllm", "trtllm": "trtllm"}


class ModelOptions(NamedTuple):
    """Values of `OPTIONS`."""

    model: str | None
    accelerator: str | None
    peak: str | None
    input_tokens: int | None
    output_tokens: int | None
    prefix_cached: str | None
    precision: tuple[str, ...] | None
    engine: tuple[str, ...] | None


_SECTION = "Options for a model that you do not serve yet"
OPTIONS = (
    CommandOption(
        ["--model"],
        section=_SECTION,
        metavar="MODEL",
        help="language model to plan from its shape, without a source: a name like llama-3.1-70b, or the path of its "
        "config.json or folder",
    ),
    CommandOption(
        ["--accelerator", "--gpus"],
        section=_SECTION,
        type=_parse_accelerators,
        metavar="NAMES",
        elsewhere=("--gpu",),
        help="accelerators to consider, like h100,h200,l40s (plan.accelerators)",
    ),
    CommandOption(
        ["--peak"], section=_SECTION, type=_parse_peak, metavar="RATE", help="peak traffic, like 5/s (traffic.peak)"
    ),
    CommandOption(
        ["--input-tokens"],
        section=_SECTION,
        type=click.IntRange(1, _MAX_TOKENS),
        metavar="N",
        help="mean input tokens of a request (traffic.tokens)",
    ),
    CommandOption(
        ["--output-tokens"],
        section=_SECTION,
        type=click.IntRange(1, _MAX_TOKENS),
        metavar="N",
        help="mean output tokens of a request (traffic.tokens)",
    ),
    CommandOption(
        ["--prefix-cached"],
        section=_SECTION,
        type=_parse_share,
        metavar="SHARE",
        help="share of the input tokens that the prefix cache of a replica serves, like 60% (traffic.prefix_cached)",
    ),
    CommandOption(
        ["--precision"],
        section=_SECTION,
        type=ListOfChoices(WEIGHT_DTYPES),
        help="precision of weights and arithmetic (precision.weights, precision.compute; default: as published); of "
        "several, like bf16,fp8, each offer has the one that costs least (alternatives.weights)",
    ),
    CommandOption(
        ["--engine"],
        section=_SECTION,
        type=ListOfChoices(tuple(_ENGINES)),
        help="engine whose step times and default flags are assumed (engine.name; default: the step times of vLLM); of "
        "several, like vllm,sglang, each offer has the one that costs least (alternatives.engines)",
    ),
)


def build_overrides(
    options: ModelOptions, sources: Sequence[str], overrides: Sequence[str], traffic: Path | None
) -> tuple[str, ...]:
    """Return the `--set` overrides that the options stand for. Raises UsageError for options that contradict each
    other or a `--set` override."""
    input_tokens, output_tokens, precision = options.input_tokens, options.output_tokens, options.precision
    if (input_tokens is None) != (output_tokens is None):
        present, absent = ("--input-tokens", "--output-tokens")[:: 1 if output_tokens is None else -1]
        raise UsageError(f"{present} needs {absent}", hint=f"Add an option such as {absent} 300.")
    has_rate = options.peak is not None or any(_overlap("traffic", override) for override in overrides)
    if input_tokens is not None and not (sources or has_rate or traffic):
        raise UsageError("--input-tokens needs --peak", hint="Add an option such as --peak 5/s.")
    if precision is not None and options.model is None:
        raise UsageError("--precision needs --model", hint="Use --set precision.weights=fp8 with a file of a model.")
    if options.engine is not None and options.model is None:
        raise UsageError("--engine needs --model", hint="Use --set engine.name=sglang with a file of a model.")
    weights, *other_weights = precision or (None,)
    engine, *other_engines = dict.fromkeys(_ENGINES[name] for name in options.engine or ()) or (None,)
    values_by_key = {
        "plan.accelerators": ("--accelerator", options.accelerator),
        "traffic.peak": ("--peak", options.peak),
        "traffic.tokens": (
            "--input-tokens",
            None if input_tokens is None else f"{{input: {input_tokens}, output: {output_tokens}}}",
        ),
        "traffic.prefix_cached": ("--prefix-cached", options.prefix_cached),
        "precision.weights": ("--precision", weights),
        "precision.compute": ("--precision", None if weights is None else choose_compute_dtype(weights)),
        "alternatives.weights": ("--precision", ",".join(other_weights) or None),
        "engine.name": ("--engine", engine),
        "alternatives.engines": ("--engine", ",".join(other_engines) or None),
    }
    built = []
    for key, (option, value) in values_by_key.items():
        if value is None:
            continue
        check_set_once(option, key, overrides)
        built.append(f"{key}={value}")
    return tuple(built)


def check_set_once(option: str, key: str, overrides: Sequence[str]) -> None:
    """Raise UsageError if a `--set` override sets the key that an option stands for, or a part of it."""
    override = next((override for override in overrides if _overlap(key, override)), None)
    if override is not None:
        raise UsageError(f"{option} and --set {override.partition('=')[0]} set the same value", hint="Use one of them.")


def _overlap(key: str, override: str) -> bool:
    """Return whether an override sets a key, a key below it or a section that contains it."""
    override_key = override.partition("=")[0].replace("[", ".")
    return f"{override_key}.".startswith(f"{key}.") or f"{key}.".startswith(f"{override_key}.")
