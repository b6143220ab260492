"""Measure what a profile asks for, judge it, and store the run."""

from __future__ import annotations

import argparse
from pathlib import Path


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("profile", help="a profile file, or the name of a bundled one (`sizewise profiles list`)")
    parser.add_argument("--set", dest="overrides", action="append", default=[], metavar="KEY=VALUE",
                        help="override one value of the profile, e.g. --set load.seed=3")  # fmt: skip
    add_run_arguments(parser)


def add_run_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--out", type=Path, metavar="DIR", help="directory of this run (default: the user's data folder)"
    )
    parser.add_argument("--recalibrate", action="store_true",
                        help="find the generator's ceiling again even where a recent one is stored")  # fmt: skip
    output = parser.add_mutually_exclusive_group()
    output.add_argument("--json", action="store_true", help="print result.json to standard output")
    output.add_argument("--events", choices=["-"], metavar="-", help="stream events as JSON lines to standard output")


def execute(arguments: argparse.Namespace) -> int:
    from app.profiles.bundled import find_profile
    from app.profiles.loading import load_profile

    profile = load_profile(find_profile(arguments.profile), arguments.overrides)

    from app.cli.measuring import measure  # a second of imports, which a wrong profile need not wait for

    return measure(profile, arguments)
