"""Size a real endpoint on this machine: measure, plan and report, with no configuration and no network."""

from __future__ import annotations

import argparse

from app.cli.options import workers_override
from app.cli.run import add_run_arguments

_HOLDS = 22
"""So many fit into its search: with 2 s holds 98 % of 270 simulated ones found a rate by then, without an end all."""
_SHORTEST_S = 45
"""At a few requests a second a hold must be longer than was asked for, to have answers enough."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    what = f"of each probe and hold of the search (default 3), which ends within {_HOLDS} of them or {_SHORTEST_S} s"
    parser.add_argument("--seconds", type=_seconds, default=3.0, metavar="N", help=what)
    add_run_arguments(parser)


def execute(arguments: argparse.Namespace) -> int:
    from app.cli.measuring import measure
    from app.profiles.bundled import find_profile
    from app.profiles.loading import load_profile

    held_s = arguments.seconds
    within_s = max(_SHORTEST_S, _HOLDS * held_s)
    overrides = [f"load.search.hold={held_s:g}s", f"load.search.within={within_s:g}s"]
    profile = load_profile(find_profile("quickstart"), [*overrides, *workers_override(arguments)])
    arguments.recalibrate = True
    return measure(profile, arguments)


def _seconds(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of seconds") from None
    if not 1 <= seconds <= 600:
        raise argparse.ArgumentTypeError("between 1 and 600 seconds")
    return seconds
