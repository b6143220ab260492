"""Run the benchmark of a profile, evaluate the result, and store the run.

`runs resume` continues an interrupted run after its last complete stage.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from app.cli.options import (
    add_baseline_arguments,
    add_gating_arguments,
    add_remote_arguments,
    add_workers_argument,
    build_workers_override,
    parse_baseline,
    parse_gating,
    parse_remote_workers,
)
from app.cli.secret_consent import add_consent_argument
from app.errors import UsageError

if TYPE_CHECKING:
    from app.cli.tables import Subcommands
    from app.profiles.profile import Profile


_LOCUST = ("users", "spawn_per_s", "duration", "host")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("profile", nargs="?",
                        help="profile file, or name of a bundled profile (`sizewise profiles list`)")  # fmt: skip
    parser.add_argument("--set", dest="overrides", action="append", default=[], metavar="KEY=VALUE",
                        help="override one value of the profile, e.g. --set load.seed=3")  # fmt: skip
    locust = parser.add_argument_group("your own Locust test instead of a profile")
    locust.add_argument("--locustfile", type=Path, metavar="FILE", help="Locust test to run unchanged")
    locust.add_argument("--users", type=int, metavar="N", help="number of users (default: 10)")
    locust.add_argument("--spawn-rate", type=float, dest="spawn_per_s", metavar="N",
                        help="users started per second (default: 10)")  # fmt: skip
    locust.add_argument("--duration", metavar="TIME", help="duration of the test, like 30s (default: 1m)")
    locust.add_argument("--host", metavar="URL", help="host of the users, if the test does not set it")
    add_baseline_arguments(parser)
    add_consent_argument(parser)
    add_remote_arguments(parser)
    add_gating_arguments(parser)
    add_run_arguments(parser)


def add_run_arguments(parser: argparse.ArgumentParser) -> None:
    add_workers_argument(parser)
    parser.add_argument(
        "--out", type=Path, metavar="DIR", help="directory for this run (default: in the user's data directory)"
    )
    add_output_arguments(parser)


def add_output_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--recalibrate", action="store_true",
                        help="measure the load generator's capacity again, even if a recent value is "
                        "stored")  # fmt: skip
    output = parser.add_mutually_exclusive_group()
    output.add_argument("--json", action="store_true", help="print result.json to standard output")
    output.add_argument("--events", choices=["-"], metavar="-", help="stream events as JSON lines to standard output")


def execute(arguments: argparse.Namespace) -> int:
    profile = _profile(arguments, [*arguments.overrides, *build_workers_override(arguments)])
    remote = parse_remote_workers(arguments)

    from app.cli.measuring import measure  # imported late, since it takes 1 s

    return measure(profile, arguments, remote, parse_gating(arguments), parse_baseline(arguments, profile.name))


def _profile(arguments: argparse.Namespace, overrides: list[str]) -> Profile:
    from app.profiles.bundled import find_profile
    from app.profiles.loading import load_profile
    from app.profiles.locust import locust_profile

    given = {name: value for name in _LOCUST if (value := getattr(arguments, name)) is not None}
    if arguments.locustfile is not None:
        if arguments.profile is not None:
            raise UsageError("give either a profile or --locustfile, not both")
        return locust_profile(arguments.locustfile, **given, overrides=overrides)
    if arguments.profile is None:
        raise UsageError("nothing to run", hint="Name a profile, or give a Locust test with --locustfile.")
    if given:
        option = next(iter(given)).replace("spawn_per_s", "spawn-rate")
        raise UsageError(f"--{option} requires --locustfile", hint="In a profile, set it in load.stages.")
    return load_profile(find_profile(arguments.profile), overrides)


def add_resume_subcommand(subcommands: Subcommands) -> None:
    resume = subcommands.add_parser(
        "resume",
        help="resume an interrupted run of an endpoint after its last complete stage",
        description="Resume a run of an endpoint that was killed or stopped by a signal, after its last complete "
        "stage, in its own directory. It has one result, which states that the run was resumed. A run of a local "
        "model, or a run from before a restart of the machine, cannot be resumed.",
    )
    resume.add_argument("run", help="run directory, run ID or its prefix, or 'last'")
    add_baseline_arguments(resume)
    add_remote_arguments(resume)
    add_gating_arguments(resume)
    add_output_arguments(resume)
    resume.set_defaults(act=_resume)


def _resume(arguments: argparse.Namespace) -> int:
    from app.cli.measuring import resume
    from app.storage.run_directory import find_run

    run = find_run(arguments.run)
    gating, remote = parse_gating(arguments), parse_remote_workers(arguments)
    return resume(run, arguments, remote, gating, lambda name: parse_baseline(arguments, name))
