"""Run the benchmark of a profile or a URL, evaluate the result, and store the run.

`runs resume` continues an interrupted run after its last complete stage.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, get_args

import click

from app.cli.commands import PATH, Command, CommandOption
from app.cli.options import (
    BASELINE_OPTIONS,
    GATING_OPTIONS,
    REMOTE_OPTIONS,
    WORKERS_OPTION,
    BaselineOptions,
    GatingOptions,
    OutputFormat,
    ProgressOptions,
    RemoteOptions,
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
from app.cli.secret_consent import consent_option
from app.cli.url import URL_OPTIONS, UrlOptions, save_profile
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


class LocustOptions(NamedTuple):
    """Values of `LOCUST_OPTIONS`."""

    locustfile: Path | None
    users: int | None
    spawn_per_s: float | None
    host: str | None


class RequestedProfile(NamedTuple):
    """Profile that the command line names or describes.

    A user who describes it names all of its hosts, so `described_hosts` may receive its secrets and
    files. `save` writes it to --save.
    """

    profile: Profile
    described_hosts: tuple[str, ...] = ()
    save: Callable[[], None] = lambda: None


def _run(
    profile: str | None,
    overrides: tuple[str, ...],
    locust: LocustOptions,
    url: UrlOptions,
    baseline: BaselineOptions,
    allow_secrets: tuple[str, ...],
    remote: RemoteOptions,
    gating: GatingOptions,
    workers: str | None,
    out: Path | None,
    progress: ProgressOptions,
    output: OutputFormat | None,
) -> int:
    progress.refuse_two_outputs()
    requested = load_requested_profile(profile, locust, url, [*overrides, *build_workers_override(workers)])
    if output is not None:
        from app.cli.language_model_table import check_output

        check_output(requested.profile, progress)
    remote_workers = parse_remote_workers(remote)

    from app.cli.measuring import measure_profile  # imported late, since it takes 1 s

    return measure_profile(
        requested.profile,
        progress,
        remote_workers,
        parse_gating(gating),
        parse_baseline(baseline, requested.profile.name),
        allowed_hosts=(*allow_secrets, *requested.described_hosts),
        out=out,
        table_format=output,
        profile_argument=profile,
        on_measured=requested.save,
    )


def load_requested_profile(
    argument: str | None, locust: LocustOptions, url: UrlOptions, overrides: Sequence[str]
) -> RequestedProfile:
    from app.cli.url import is_url, load_url_profile
    from app.profiles.bundled import find_profile
    from app.profiles.loading import load_profile
    from app.profiles.locust import build_locust_profile
    from app.profiles.sent_references import find_sent_references

    if is_url(argument, url):
        hint = "Use either a URL or a Locust test."
        refuse_options(LOCUST_OPTIONS, locust._asdict(), "cannot be combined with a URL", hint)
        profile, text = load_url_profile(argument, url, overrides)
        hosts, path = tuple(find_sent_references(profile)), url.save
        return RequestedProfile(profile, hosts, lambda: None if path is None else save_profile(path, text))
    if locust.locustfile is not None:
        hint = "A Locust test defines its own requests; it has --users, --spawn-rate, --duration and --host."
        refuse_options(URL_OPTIONS, url.by_option(), "requires a URL", hint, allowed=("duration",))
        if argument is not None:
            raise UsageError(
                "a profile and --locustfile cannot be combined", hint="Specify either a profile or a Locust test."
            )
        profile = build_locust_profile(
            locust.locustfile,
            users=locust.users,
            spawn_per_s=locust.spawn_per_s,
            duration=url.duration,
            host=locust.host,
            overrides=overrides,
        )
        return RequestedProfile(profile, tuple(find_sent_references(profile)))
    if argument is None:
        raise UsageError(
            "neither a profile, a URL nor a Locust test is specified",
            hint="Specify a profile, a URL such as http://127.0.0.1:8000/score, or a Locust test with --locustfile.",
        )
    path = find_profile(argument)
    hint = "In a profile, set it there or with --set; `sizewise profiles keys` lists the keys."
    refuse_options(LOCUST_OPTIONS, locust._asdict(), "requires --locustfile", hint)
    refuse_options(URL_OPTIONS, url.by_option(), "requires a URL", hint)
    return RequestedProfile(load_profile(path, overrides))


def _resume_run(
    run: str,
    baseline: BaselineOptions,
    allow_secrets: tuple[str, ...],
    remote: RemoteOptions,
    gating: GatingOptions,
    progress: ProgressOptions,
) -> int:
    progress.refuse_two_outputs()
    from app.cli.measuring import resume_run
    from app.storage.run_directory import find_run

    stored_run, parsed_gating, remote_workers = find_run(run), parse_gating(gating), parse_remote_workers(remote)
    return resume_run(
        stored_run,
        progress,
        remote_workers,
        parsed_gating,
        lambda name: parse_baseline(baseline, name),
        allowed_hosts=allow_secrets,
    )


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
