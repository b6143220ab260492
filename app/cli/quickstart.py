"""Size a real endpoint on this machine: measure, plan and report, with no configuration and no network."""

from __future__ import annotations

import argparse

from app.cli.options import build_workers_override
from app.cli.run import add_run_arguments

_MAX_STEPS = 22
"""Number of steps that fit into the search.

With steps of 2 s, 98 % of 270 simulated searches found a rate by then; without the limit, all did.
"""
_MIN_SEARCH_S = 45
"""Minimum time of the search in s.

At a few requests per second, a step must be longer than requested to get enough responses.
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    what = (
        f"duration of each search step (default: 3); the search takes at most {_MAX_STEPS} steps or {_MIN_SEARCH_S} s"
    )
    parser.add_argument("--seconds", type=_parse_seconds, default=3.0, metavar="N", help=what)
    add_run_arguments(parser)


def execute(arguments: argparse.Namespace) -> int:
    from app.cli.measuring import measure
    from app.profiles.bundled import find_profile
    from app.profiles.loading import load_profile

    step_s = arguments.seconds
    within_s = max(_MIN_SEARCH_S, _MAX_STEPS * step_s)
    overrides = [f"load.search.step_duration={step_s:g}s", f"load.search.max_duration={within_s:g}s"]
    profile = load_profile(find_profile("quickstart"), [*overrides, *build_workers_override(arguments)])
    arguments.recalibrate = True
    return measure(profile, arguments)


def _parse_seconds(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of seconds") from None
    if not 1 <= seconds <= 600:
        raise argparse.ArgumentTypeError("between 1 and 600 seconds")
    return seconds
