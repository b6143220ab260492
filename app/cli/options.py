"""Arguments and options that several commands share: runs, output, baselines, checks that determine
the exit code, and load workers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Literal, NamedTuple, get_args

import click

from app.cli.commands import DEFAULT_SECTION, PATH, CommandOption
from app.cli.streams import warn
from app.errors import UsageError

if TYPE_CHECKING:
    from click.shell_completion import CompletionItem

    from app.analysis.gating import GateKind, Gating
    from app.session.spec import BaselineSpec
    from app.wiring.workers import RemoteWorkers


RUN_HELP = "run directory, run ID or its prefix, or 'last'"


def run_argument(help_text: str = RUN_HELP) -> click.Argument:
    """Return the argument `run`, a stored run, whose value is completed from the runs folder."""
    return click.Argument(["run"], shell_complete=complete_runs, help=help_text)


def complete_runs(_context: click.Context, _parameter: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Return the stored runs whose ID begins with `incomplete`, newest first; files if there are none."""
    from click.shell_completion import CompletionItem

    from app.storage.run_directory import runs_home

    try:
        run_ids = sorted((path.name for path in runs_home().iterdir() if path.is_dir()), reverse=True)
    except OSError:
        run_ids = []
    matches = [CompletionItem(name) for name in ("last", *run_ids) if name.startswith(incomplete)]
    return matches or [CompletionItem(incomplete, type="file")]  # bash cannot show both


def profile_argument(help_text: str, *, required: bool = True) -> click.Argument:
    """Return the argument `profile`, whose value is completed from the bundled profiles and files."""
    return click.Argument(["profile"], required=required, shell_complete=_complete_profiles, help=help_text)


def _complete_profiles(_context: click.Context, _parameter: click.Parameter, incomplete: str) -> list[CompletionItem]:
    from click.shell_completion import CompletionItem

    from app.profiles.bundled import bundled_profiles

    matches = [CompletionItem(name) for name in bundled_profiles() if name.startswith(incomplete)]
    return matches or [CompletionItem(incomplete, type="file")]  # bash cannot show both


def json_option(help_text: str = "print as JSON") -> CommandOption:
    return CommandOption(["--json"], is_flag=True, help=help_text)


OutputFormat = Literal["table", "csv", "md", "json"]


class OutputOptions(NamedTuple):
    """Values of `output_options`."""

    json: bool
    output: OutputFormat | None


def output_options(json_help: str = "print as JSON") -> tuple[CommandOption, ...]:
    """Return the options for the output format of a command that prints a table (see
    `parse_output`)."""
    return (
        json_option(json_help),
        CommandOption(
            ["--output"],
            type=click.Choice(get_args(OutputFormat)),
            help="format of the table: table (default), csv (numbers with full precision), md (Markdown), or json (as "
            "--json)",
        ),
    )


def refuse_options(
    options: Sequence[click.Parameter],
    values: Mapping[str, object],
    problem: str,
    hint: str,
    allowed: Sequence[str] = (),
) -> None:
    """Raise UsageError for the first of the options that the user has set, other than `allowed`. `values` are by name.
    The message is the name of the option followed by `problem`."""
    for option in options:
        name = option.name or ""
        if name not in allowed and values[name] not in (None, (), False):
            raise UsageError(f"{max(option.opts, key=len)} {problem}", hint=hint)


def parse_output(requested: OutputOptions) -> OutputFormat:
    """Return the requested output format. Raises UsageError for conflicting options."""
    if requested.json and requested.output not in (None, "json"):
        raise UsageError(f"--json and --output {requested.output} cannot be combined", hint="Use one of them.")
    output: OutputFormat = "json" if requested.json else requested.output or "table"
    return output


Verbosity = Literal["quiet", "normal", "verbose"]


class VerbosityOptions(NamedTuple):
    """Values of `verbosity_options`."""

    quiet: bool
    verbose: bool


def verbosity_options(section: str = DEFAULT_SECTION) -> tuple[CommandOption, ...]:
    """Return the options for the progress of a measurement (see `parse_verbosity`)."""
    return (
        CommandOption(["-q", "--quiet"], is_flag=True, section=section, help="print only errors and the result"),
        CommandOption(
            ["-v", "--verbose"],
            is_flag=True,
            section=section,
            help="print each check and stage, and a line with the readings every second",
        ),
    )


def parse_verbosity(requested: VerbosityOptions) -> Verbosity:
    """Return the requested verbosity. Raises UsageError for conflicting options."""
    if requested.quiet and requested.verbose:
        raise UsageError("--quiet and --verbose cannot be combined", hint="Use one of them.")
    return "quiet" if requested.quiet else "verbose" if requested.verbose else "normal"


class ProgressOptions(NamedTuple):
    """Values of the output options of `run`: what is measured first, and what is printed during and after the run."""

    recalibrate: bool
    json: bool
    events: Literal["-"] | None
    quiet: bool
    verbose: bool

    @property
    def verbosity(self) -> Verbosity:
        """Verbosity of the run's progress. Raises UsageError for conflicting options."""
        return parse_verbosity(VerbosityOptions(self.quiet, self.verbose))

    def refuse_two_outputs(self) -> None:
        """Raise UsageError if both --json and --events are given, since both print to standard output."""
        if self.json and self.events is not None:
            raise UsageError("--json and --events cannot be combined", hint="Use one of them.")


def out_option(metavar: str, help_text: str) -> CommandOption:
    return CommandOption(["-o", "--out"], type=PATH, metavar=metavar, help=help_text)


def set_option(help_text: str) -> CommandOption:
    return CommandOption(["--set", "overrides"], multiple=True, metavar="KEY=VALUE", help=help_text)


def parse_tolerance(text: str) -> float:
    """Parse a share such as 5% or 0.05 as a fraction. Raises click.BadParameter."""
    number_text = text.strip().removesuffix("%")
    try:
        share = float(number_text) / (100 if number_text != text.strip() else 1)
    except ValueError:
        share = -1.0
    if not 0 < share < 1:
        raise click.BadParameter(f"{text!r} is not a share between 0% and 100%, like 5%")
    return share


_BASELINE_SECTION = "Comparison with a baseline (exit code 11 for a regression)"
TOLERANCE_OPTION = CommandOption(
    ["--tolerance"],
    section=_BASELINE_SECTION,
    type=parse_tolerance,
    metavar="SHARE",
    help="smallest change that counts as a difference (default: 5%)",
)
FORCE_OPTION = CommandOption(
    ["--force"],
    section=_BASELINE_SECTION,
    is_flag=True,
    help="compare despite environment differences that forbid it, and mark the comparison as FORCED",
)
BASELINE_OPTIONS: tuple[CommandOption, ...] = (
    CommandOption(
        ["--baseline"],
        metavar="RUN",
        section=_BASELINE_SECTION,
        shell_complete=complete_runs,
        help="run ID, run directory, result.json, 'last' for the last run of the profile that passed, or 'promoted' "
        "for the run set with `runs promote`; repeated runs separated by commas",
    ),
    TOLERANCE_OPTION,
    FORCE_OPTION,
)


class BaselineOptions(NamedTuple):
    """Values of `BASELINE_OPTIONS`."""

    baseline: str | None
    tolerance: float | None
    force: bool


def parse_baseline(requested: BaselineOptions, profile_name: str) -> BaselineSpec | None:
    """Read the requested baseline; `None` if no baseline was requested.

    `None` is also returned, with a warning, if there is no last or promoted run yet, so that the
    first run of a pipeline is not an error. Raises UsageError if the baseline cannot be read, or
    for conflicting options.
    """
    if requested.baseline is None:
        if requested.tolerance is not None or requested.force:
            option = "--force" if requested.force else "--tolerance"
            raise UsageError(f"{option} requires --baseline", hint="Add --baseline RUN, the run to compare with.")
        return None

    from app.analysis.comparisons.comparison import TOLERANCE
    from app.session.spec import BaselineSpec
    from app.storage.baselines import MissingBaselineError, read_baselines

    tolerance = TOLERANCE if requested.tolerance is None else requested.tolerance
    try:
        return BaselineSpec(read_baselines(requested.baseline, profile_name), tolerance, requested.force)
    except MissingBaselineError as error:
        warn(f"{error}, so this run is not compared")
        return None


_GATE_KINDS: tuple[GateKind, ...] = ("slo", "regression")


def _parse_gate_kinds(text: str) -> tuple[GateKind, ...]:
    requested_kinds = [kind.strip() for kind in text.split(",")]
    unknown_kind = next((kind for kind in requested_kinds if kind not in _GATE_KINDS), None)
    if unknown_kind is not None:
        raise click.BadParameter(f"{unknown_kind!r} is not one of {', '.join(_GATE_KINDS)}")
    return tuple(kind for kind in _GATE_KINDS if kind in requested_kinds)


GATING_OPTIONS: tuple[CommandOption, ...] = (
    CommandOption(
        ["--gate"],
        type=_parse_gate_kinds,
        default=",".join(_GATE_KINDS),
        metavar="KINDS",
        help="what determines the exit code: slo (SLO and gates), regression (gates on changes), or both, as in "
        "slo,regression (default); the other kind is evaluated and shown, but does not affect the exit code",
    ),
    CommandOption(
        ["--on-inconclusive"],
        type=click.Choice(["pass", "warn", "fail"]),
        default="warn",
        help="how to treat an objective whose confidence interval crosses the limit, and a search that decided no "
        "rate: pass, warning (default) or exit code 12",
    ),
)


class GatingOptions(NamedTuple):
    """Values of `GATING_OPTIONS`."""

    gate: tuple[GateKind, ...]
    on_inconclusive: Literal["pass", "warn", "fail"]


def parse_gating(requested: GatingOptions) -> Gating:
    from app.analysis.gating import Gating

    return Gating(requested.on_inconclusive, requested.gate)


_MAX_WORKERS = 1_000  # as in app.profiles.load, which takes too long to import here


def parse_worker_count(text: str) -> int:
    if not (text.isascii() and text.isdecimal() and 1 <= int(text) <= _MAX_WORKERS):
        raise click.BadParameter(f"{text!r} is not a whole number from 1 to {_MAX_WORKERS:,}")
    return int(text)


def parse_worker_counts(text: str) -> tuple[int, ...]:
    return tuple(parse_worker_count(part.strip()) for part in text.split(","))


def _parse_workers_setting(text: str) -> str:
    return text if text == "auto" else str(parse_worker_count(text))


WORKERS_OPTION = CommandOption(
    ["--workers"],
    type=_parse_workers_setting,
    metavar="N",
    help="number of load worker processes (default: auto, one per spare core)",
)
_REMOTE_SECTION = "Remote load workers, started with `sizewise worker` on other machines"
TOKEN_OPTION = CommandOption(
    ["--token"],
    metavar="REFERENCE",
    section=_REMOTE_SECTION,
    help="env:NAME or file:PATH of the secret shared by the run and its workers (default: env:SIZEWISE_TOKEN)",
)
REMOTE_OPTIONS: tuple[CommandOption, ...] = (
    CommandOption(
        ["--remote-workers"],
        type=parse_worker_count,
        metavar="N",
        section=_REMOTE_SECTION,
        help="number of remote workers to wait for",
    ),
    CommandOption(
        ["--bind"], metavar="HOST:PORT", section=_REMOTE_SECTION, help="address at which workers join this run"
    ),
    TOKEN_OPTION,
)


def build_workers_override(workers: str | None) -> list[str]:
    """Return the `--set` override that is equivalent to `--workers`; empty if the option is not
    set."""
    return [] if workers is None else [f"load.workers={workers}"]


class RemoteOptions(NamedTuple):
    """Values of `REMOTE_OPTIONS`."""

    remote_workers: int | None
    bind: str | None
    token: str | None


def parse_remote_workers(requested: RemoteOptions) -> RemoteWorkers | None:
    """Return the requested remote workers; `None` if none were requested. Raises UsageError for
    conflicting options."""
    worker_count, bind_text, token_reference = requested
    if worker_count is None and bind_text is None and token_reference is None:
        return None
    if bind_text is None:
        option = "--remote-workers" if token_reference is None else "--token"
        raise UsageError(
            f"{option} requires --bind", hint="Add --bind HOST:PORT, the address at which workers join this run."
        )
    if worker_count is None:
        raise UsageError(
            "--bind requires --remote-workers", hint="Add --remote-workers N, the number of workers to wait for."
        )

    from app.wiring.workers import DEFAULT_TOKEN_REFERENCE, RemoteWorkers, parse_address, read_token, resolve_address

    address = parse_address("--bind", bind_text)
    return RemoteWorkers(
        worker_count, resolve_address("--bind", address), read_token(token_reference or DEFAULT_TOKEN_REFERENCE)
    )


def format_worker_count(count: int) -> str:
    return "1 worker" if count == 1 else f"{count} workers"
