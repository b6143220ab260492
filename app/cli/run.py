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


_LOCUST_OPTIONS = ("users", "spawn_per_s", "duration", "host")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("profile", nargs="?",
                        help="profile file, or name of a bundled profile (`sizewise profiles list`)")  # fmt: skip
    parser.add_argument("--set", dest="overrides", action="append", default=[], metavar="KEY=VALUE",
                        help="override one value of the profile, e.g. --set load.seed=3")  # fmt: skip
    locust_group = parser.add_argument_group("your own Locust test instead of a profile")
    locust_group.add_argument("--locustfile", type=Path, metavar="FILE", help="Locust test to run unchanged")
    locust_group.add_argument("--users", type=int, metavar="N", help="number of users (default: 10)")
    locust_group.add_argument("--spawn-rate", type=float, dest="spawn_per_s", metavar="N",
                        help="users started per second (default: 10)")  # fmt: skip
    locust_group.add_argument("--duration", metavar="TIME", help="duration of the test, like 30s (default: 1m)")
    locust_group.add_argument("--host", metavar="URL", help="host of the users, if the test does not set it")
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
    output_group = parser.add_mutually_exclusive_group()
    output_group.add_argument("--json", action="store_true", help="print result.json to standard output")
    output_group.add_argument(
        "--events", choices=["-"], metavar="-", help="stream events as JSON lines to standard output"
    )


def execute(arguments: argparse.Namespace) -> int:
    profile = _load_profile(arguments, [*arguments.overrides, *build_workers_override(arguments)])
    remote_workers = parse_remote_workers(arguments)

    from app.cli.measuring import measure_profile  # imported late, since it takes 1 s

    return measure_profile(
        profile, arguments, remote_workers, parse_gating(arguments), parse_baseline(arguments, profile.name)
    )


def _load_profile(arguments: argparse.Namespace, overrides: list[str]) -> Profile:
    from app.profiles.bundled import find_profile
    from app.profiles.loading import load_profile
    from app.profiles.locust import build_locust_profile

    locust_options = {name: value for name in _LOCUST_OPTIONS if (value := getattr(arguments, name)) is not None}
    if arguments.locustfile is not None:
        if arguments.profile is not None:
            raise UsageError(
                "a profile and --locustfile cannot be combined", hint="Specify either a profile or a Locust test."
            )
        return build_locust_profile(arguments.locustfile, **locust_options, overrides=overrides)
    if arguments.profile is None:
        raise UsageError(
            "neither a profile nor a Locust test is specified",
            hint="Specify a profile, or a Locust test with --locustfile.",
        )
    if locust_options:
        option = next(iter(locust_options)).replace("spawn_per_s", "spawn-rate")
        raise UsageError(f"--{option} requires --locustfile", hint="In a profile, set it in load.stages.")
    return load_profile(find_profile(arguments.profile), overrides)


def add_resume_subcommand(subcommands: Subcommands) -> None:
    resume_parser = subcommands.add_parser(
        "resume",
        help="resume an interrupted run of an endpoint after its last complete stage",
        description="Resume a run of an endpoint that was killed or stopped by a signal, after its last complete "
        "stage, in its own directory. It has one result, which states that the run was resumed. A run of a local "
        "model, or a run from before a restart of the machine, cannot be resumed.",
    )
    resume_parser.add_argument("run", help="run directory, run ID or its prefix, or 'last'")
    add_baseline_arguments(resume_parser)
    add_remote_arguments(resume_parser)
    add_gating_arguments(resume_parser)
    add_output_arguments(resume_parser)
    resume_parser.set_defaults(handler=_resume_run)


def _resume_run(arguments: argparse.Namespace) -> int:
    from app.cli.measuring import resume_run
    from app.storage.run_directory import find_run

    run = find_run(arguments.run)
    gating, remote_workers = parse_gating(arguments), parse_remote_workers(arguments)
    return resume_run(run, arguments, remote_workers, gating, lambda name: parse_baseline(arguments, name))
