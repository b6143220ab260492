"""Measure a demo endpoint on this machine, plan a fleet for it and write a report.

No configuration and no network access are needed. This is a demonstration: the exit code
is 0 even if the measurement is INVALID or misses the SLO, which the report states.
`sizewise run quickstart` exits with 4 or 10 in these cases.

With --llm, the endpoint serves a language model with random weights, and the load is chats. A
separate plan shows how a model with 8 billion parameters is planned on GPUs from its shape.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING

import click

from app.cli.commands import PATH, Command, CommandOption
from app.cli.options import ProgressOptions, build_workers_override
from app.cli.run import RUN_OPTIONS
from app.cli.streams import escape_controls
from app.errors import ExitCode, UsageError
from app.extras import require_extra

if TYPE_CHECKING:
    from app.cli.measuring import MeasuredRun
    from app.profiles.endpoint_profile import EndpointProfile
    from app.records.result import Result

_MAX_STEPS = 22
"""Maximum number of steps of the search.

In 270 simulated searches with steps of 2 s, 98 % found a rate within this limit. Without the limit,
all of them found a rate.
"""
_MIN_SEARCH_LIMIT_S = 45
"""Minimum time limit of the search in s.

If an endpoint sustains only a few requests per second, the search makes steps longer than
requested, to collect enough responses.
"""
_STEP_DURATION_FACTOR = 2
"""Factor by which the step duration is multiplied for the second attempt."""


def _quickstart(
    seconds: float,
    llm: bool,
    model: Path | None,
    retry: bool,
    workers: str | None,
    out: Path | None,
    progress: ProgressOptions,
) -> int:
    progress.refuse_two_outputs()
    if llm:
        require_extra("llm")
        if model is not None and not model.is_dir():
            hint = "Set the folder of a model that was exported for ONNX Runtime GenAI."
            raise UsageError(f"--model: {model} is not a folder", hint=hint)
    elif model is not None:
        raise UsageError("--model requires --llm", hint="Add --llm to measure a language model.")

    from app.cli.measuring import measure_demonstration, show_run

    overrides = build_workers_override(workers)
    if llm:
        return show_run(_measure_language_model(model, seconds, overrides, out, progress), progress)

    def measure(step_duration_s: float, directory: Path | None) -> MeasuredRun:
        return measure_demonstration(_load_profile(step_duration_s, overrides), progress, directory)

    return show_run(measure_twice_if_invalid(measure, seconds, out) if retry else measure(seconds, out), progress)


def _measure_language_model(
    model: Path | None, step_duration_s: float, overrides: list[str], out: Path | None, progress: ProgressOptions
) -> MeasuredRun:
    """Measure a language model once, whatever the validity: a second measurement would take too
    long for a demonstration."""
    from app.cli.measuring import measure_demonstration
    from app.wiring.dependencies import get_utc_now
    from app.wiring.llm_quickstart import build_profile, build_shape_inputs, write_demonstration_model

    profile = build_profile(
        model or write_demonstration_model(),
        step_duration_s,
        is_own_model=model is not None,
        overrides=overrides,
    )
    return measure_demonstration(profile, progress, out, build_shape_inputs(get_utc_now().date()))


MeasureFunction = Callable[[float, Path | None], "MeasuredRun"]
"""Function that measures with the given step duration in s and stores the run in the given
directory."""


def measure_twice_if_invalid(measure: MeasureFunction, step_duration_s: float, out: Path | None) -> MeasuredRun:
    """Measure once. If the run is INVALID, measure again with longer steps and return the second
    run, whatever its validity."""
    first_run = measure(step_duration_s, out)
    reason = _find_invalid_reason(first_run.outcome.result)
    if reason is None:
        return first_run
    step_duration_s *= _STEP_DURATION_FACTOR
    print(
        f"{escape_controls(reason)}. The measurement is repeated with steps of {step_duration_s:g} s.", file=sys.stderr
    )
    return measure(step_duration_s, None if out is None else _find_next_directory(out))


def _find_invalid_reason(result: Result) -> str | None:
    """Return why the measurement is INVALID; `None` if the measurement is valid, or if the exit
    code of the run is not OK."""
    if result.exit.code != ExitCode.OK:
        return None
    return next((cause.text for cause in result.exit.causes if cause.id == "invalid"), None)


def _find_next_directory(out: Path) -> Path:
    """Return an unused directory for the second attempt, next to the directory `out` of the first
    attempt."""
    return next(path for number in count(2) if not (path := out.with_name(f"{out.name}-{number}")).exists())


def _load_profile(step_duration_s: float, overrides: list[str]) -> EndpointProfile:
    from app.profiles.bundled import find_profile
    from app.profiles.loading import load_profile
    from app.profiles.profile import OipProfile

    max_duration_s = max(_MIN_SEARCH_LIMIT_S, _MAX_STEPS * step_duration_s)
    durations = [f"load.search.step_duration={step_duration_s:g}s", f"load.search.max_duration={max_duration_s:g}s"]
    profile = load_profile(find_profile("quickstart"), [*durations, *overrides])
    assert isinstance(profile, OipProfile)
    return profile


COMMAND = Command(
    "quickstart",
    _quickstart,
    [
        CommandOption(
            ["--seconds"],
            type=click.FloatRange(1, 600),
            default=3.0,
            metavar="N",
            help="duration of each search step in seconds (default: 3); the search ends after at most "
            f"{_MAX_STEPS} steps or {_MIN_SEARCH_LIMIT_S} s, and earlier with --llm",
        ),
        CommandOption(
            ["--llm"],
            is_flag=True,
            help='measure a language model with random weights, once; requires `pip install "sizewise[llm]"`',
        ),
        CommandOption(
            ["--model"],
            type=PATH,
            metavar="DIR",
            help="with --llm: folder of a model that was exported for ONNX Runtime GenAI, instead of random weights",
        ),
        CommandOption(
            ["--no-retry", "retry"],
            flag_value=False,
            default=True,
            help="do not measure again, with longer steps, if the measurement is INVALID",
        ),
        *RUN_OPTIONS,
    ],
    documentation=__doc__,
    examples=("sizewise quickstart", "sizewise quickstart --seconds 1 --out demo", "sizewise quickstart --llm"),
)
