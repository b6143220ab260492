"""Run the benchmark of a profile or a URL, evaluate the result, and store the run.

`runs resume` continues an interrupted run after its last complete stage.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, get_args

import click

from app.cli.commands import PATH, Arguments, Command, CommandOption
from app.cli.options import (
    BASELINE_OPTIONS,
    GATING_OPTIONS,
    REMOTE_OPTIONS,
    WORKERS_OPTION,
    OutputFormat,
    build_workers_override,
    json_option,
    out_option,
    parse_baseline,
    parse_gating,
    parse_remote_workers,
    profile_argument,
    refuse_options,
    run_argument,
    set_option,
    verbosity_options,
)
from app.cli.secret_consent import allow_command_line, consent_option
from app.cli.url import URL_OPTIONS, save_profile
from app.errors import UsageError

if TYPE_CHECKING:
    from app.profiles.profile import Profile


OUTPUT_OPTIONS: tuple[CommandOption, ...] = (
    CommandOption(
        ["--recalibrate"],
        is_flag=True,
        help="measure the load generator's capacity again, even if a recent value is stored",
    ),
    json_option("print result.json to standard output"),
    CommandOption(
        ["--events"], type=click.Choice(["-"]), metavar="-", help="stream events as JSON lines to standard output"
    ),
    *verbosity_options(),
)
RUN_OPTIONS: tuple[CommandOption, ...] = (
    WORKERS_OPTION,
    out_option(
        "DIR",
        "directory for this run (default: in the user's data directory); if it already contains a run, a folder in it",
    ),
    *OUTPUT_OPTIONS,
)


_TABLE_OPTION = CommandOption(
    ["--output"],
    type=click.Choice(get_args(OutputFormat)),
    help="print the tests of a language model to standard output, with the columns of llama-bench: table, csv (numbers "
    "with full precision), md (Markdown), or json",
)
_LOCUST_SECTION = "Your own Locust test instead of a profile"
LOCUST_OPTIONS: tuple[CommandOption, ...] = (
    CommandOption(
        ["--locustfile"],
        type=PATH,
        metavar="FILE",
        section=_LOCUST_SECTION,
        help="Locust test to run unchanged",
    ),
    CommandOption(["--users"], type=int, metavar="N", section=_LOCUST_SECTION, help="number of users (default: 10)"),
    CommandOption(
        ["--spawn-rate", "spawn_per_s"],
        type=float,
        metavar="N",
        section=_LOCUST_SECTION,
        help="users started per second (default: 10)",
    ),
    CommandOption(
        ["--host"],
        metavar="URL",
        section=_LOCUST_SECTION,
        help="host of the users, if the test does not set it",
    ),
)


def refuse_two_outputs(arguments: Arguments) -> None:
    """Raise UsageError if both --json and --events are given, since both print to standard output."""
    if arguments.json and arguments.events is not None:
        raise UsageError("--json and --events cannot be combined", hint="Use one of them.")


def _run(arguments: Arguments) -> int:
    refuse_two_outputs(arguments)
    profile = _load_profile(arguments, [*arguments.overrides, *build_workers_override(arguments)])
    if arguments.output is not None:
        from app.cli.language_model_table import check_output

        check_output(arguments, profile)
    remote_workers = parse_remote_workers(arguments)

    from app.cli.measuring import measure_profile  # imported late, since it takes 1 s

    return measure_profile(
        profile,
        arguments,
        remote_workers,
        parse_gating(arguments),
        parse_baseline(arguments, profile.name),
        on_measured=lambda: save_profile(arguments),
    )


def _load_profile(arguments: Arguments, overrides: list[str]) -> Profile:
    from app.cli.url import is_url, load_url_profile
    from app.profiles.bundled import find_profile
    from app.profiles.loading import load_profile
    from app.profiles.locust import build_locust_profile

    if is_url(arguments):
        hint = "Use either a URL or a Locust test."
        refuse_options(LOCUST_OPTIONS, vars(arguments), "cannot be combined with a URL", hint)
        return load_url_profile(arguments, overrides)
    if arguments.locustfile is not None:
        hint = "A Locust test defines its own requests; it has --users, --spawn-rate, --duration and --host."
        refuse_options(URL_OPTIONS, vars(arguments), "requires a URL", hint, allowed=("duration",))
        if arguments.profile is not None:
            raise UsageError(
                "a profile and --locustfile cannot be combined", hint="Specify either a profile or a Locust test."
            )
        names = ("users", "spawn_per_s", "duration", "host")
        locust_options = {name: value for name in names if (value := getattr(arguments, name)) is not None}
        profile = build_locust_profile(arguments.locustfile, **locust_options, overrides=overrides)
        allow_command_line(profile, arguments)
        return profile
    if arguments.profile is None:
        raise UsageError(
            "neither a profile, a URL nor a Locust test is specified",
            hint="Specify a profile, a URL such as http://127.0.0.1:8000/score, or a Locust test with --locustfile.",
        )
    path = find_profile(arguments.profile)
    hint = "In a profile, set it there or with --set; `sizewise profiles keys` lists the keys."
    refuse_options(LOCUST_OPTIONS, vars(arguments), "requires --locustfile", hint)
    refuse_options(URL_OPTIONS, vars(arguments), "requires a URL", hint)
    return load_profile(path, overrides)


def _resume_run(arguments: Arguments) -> int:
    refuse_two_outputs(arguments)
    from app.cli.measuring import resume_run
    from app.storage.run_directory import find_run

    run = find_run(arguments.run)
    gating, remote_workers = parse_gating(arguments), parse_remote_workers(arguments)
    return resume_run(run, arguments, remote_workers, gating, lambda name: parse_baseline(arguments, name))


COMMAND = Command(
    "run",
    _run,
    [
        profile_argument(
            "profile file, name of a bundled profile (`sizewise profiles list`), or URL to request", required=False
        ),
        set_option("override one value of the profile, e.g. --set load.seed=3"),
        *LOCUST_OPTIONS,
        *URL_OPTIONS,
        *BASELINE_OPTIONS,
        consent_option(),
        *REMOTE_OPTIONS,
        *GATING_OPTIONS,
        *RUN_OPTIONS,
        _TABLE_OPTION,
    ],
    documentation=__doc__,
    examples=(
        "sizewise run http://127.0.0.1:8000/ --rate 100/s --duration 30s",
        "sizewise run http://127.0.0.1:8000/score -d @body.json --concurrency 16 --requests 500 --slo 'p95 < 50ms'",
        "sizewise run --openai http://127.0.0.1:8000/v1 --concurrency 1,2,4,8,16",
        "sizewise run quickstart",
        "sizewise run profile.yaml --set load.seed=3 --baseline promoted",
        "sizewise run --locustfile locustfile.py --users 50 --duration 2m",
    ),
)
RESUME_COMMAND = Command(
    "resume",
    _resume_run,
    [run_argument(), *BASELINE_OPTIONS, consent_option(), *REMOTE_OPTIONS, *GATING_OPTIONS, *OUTPUT_OPTIONS],
    documentation="""Resume an interrupted run of an endpoint after its last complete stage.

    The run was killed or stopped by a signal, and is resumed in its own directory. It has one result, which states that
    the run was resumed. A run of a local model, or a run from before a restart of the machine, cannot be resumed.
    """,
    examples=("sizewise runs resume last",),
)
