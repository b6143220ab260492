"""Compare stored runs, or measure two profiles in interleaved A/B pairs.

The comparison lists the environment differences first, then whether each metric is better, worse or
the same.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Literal, NamedTuple

import click

from app.cli.commands import PATH, Command, CommandOption
from app.cli.options import (
    FORCE_OPTION,
    TOLERANCE_OPTION,
    OutputOptions,
    VerbosityOptions,
    complete_runs,
    out_option,
    output_options,
    parse_output,
    parse_verbosity,
    refuse_options,
    verbosity_options,
)
from app.cli.secret_consent import consent_option
from app.cli.streams import print_whole
from app.errors import ExitCode, UsageError

if TYPE_CHECKING:
    from app.cli.options import OutputFormat
    from app.records.comparison import Comparison
    from app.session.interleaved import PairResults

_MAX_PAIRS = 50
_DEFAULT_MAX_DURATION_S = 20 * 60.0


class PairsOptions(NamedTuple):
    """Values of `_PAIRS_OPTIONS`, without the verbosity."""

    pairs: int | None
    max_duration_s: float | None
    record: Path | None
    allow_secrets: tuple[str, ...]


class _ComparedRuns(NamedTuple):
    """Runs or profiles to compare, and how."""

    baseline: str
    candidate: tuple[str, ...]
    measure: bool
    tolerance: float | None
    force: bool
    on_inconclusive: Literal["warn", "fail"]


class _Document(NamedTuple):
    """Format and file of the comparison, other than `OutputOptions`."""

    format: Literal["text", "markdown", "html", "json"] | None
    out: Path | None


def _compare(
    compared: _ComparedRuns,
    pairs: PairsOptions,
    verbosity: VerbosityOptions,
    document: _Document,
    requested_output: OutputOptions,
) -> int:
    output = parse_output(requested_output)  # conflicting options are reported before anything is measured
    parse_verbosity(verbosity)
    if document.format is not None and (requested_output.json or requested_output.output is not None):
        option = "--json" if requested_output.json else "--output"
        raise UsageError(f"{option} and --format cannot be combined", hint="Use one of them.")

    def compare(pair_results: PairResults) -> Comparison:
        return _compare_pair_results(pair_results, compared)

    def report(comparison: Comparison) -> int:
        return _report_comparison(comparison, compared, document, output)

    if not compared.measure:
        hint = "Add --measure to measure two profiles; separate existing repeated runs with commas."
        refuse_options(_PAIRS_OPTIONS, pairs._asdict() | verbosity._asdict(), "requires --measure", hint)
        return report(compare(_read_pair_results(compared)))

    from app.cli.measuring_pairs import measure_pairs
    from app.session.interleaved import DEFAULT_PAIR_COUNT, PairPlan

    pair_plan = PairPlan(
        pairs.pairs or DEFAULT_PAIR_COUNT,
        pairs.max_duration_s or _DEFAULT_MAX_DURATION_S,
        _get_tolerance(compared),
        compared.force,
    )
    return measure_pairs(compared.baseline, compared.candidate, pairs, verbosity, pair_plan, compare, report)


def _compare_pair_results(pair_results: PairResults, compared: _ComparedRuns) -> Comparison:
    import msgspec

    from app.analysis.comparisons.comparison import compare_runs

    tolerance = _get_tolerance(compared)
    comparison = compare_runs(
        pair_results.baseline, pair_results.candidate, tolerance=tolerance, is_forced=compared.force
    )
    return msgspec.structs.replace(comparison, notes=(*pair_results.notes, *comparison.notes))


def _get_tolerance(compared: _ComparedRuns) -> float:
    from app.analysis.comparisons.comparison import TOLERANCE

    return TOLERANCE if compared.tolerance is None else compared.tolerance


def _report_comparison(
    comparison: Comparison, compared: _ComparedRuns, document: _Document, output: OutputFormat
) -> int:
    """Print the comparison and return the exit code. Raises UsageError if the runs are not
    comparable or have no metric in common."""
    from app.analysis.comparisons.environment_differences import format_differences

    _print_comparison(comparison, compared, document, output)
    forbidding_differences = [difference for difference in comparison.differences if difference.forbids]
    if forbidding_differences and not compared.force:
        raise UsageError(
            f"these runs are not comparable: {format_differences(forbidding_differences)}",
            hint="Measure both on the same machine with the same workload, or use --force.",
        )
    if not comparison.changes:
        raise UsageError("these runs have no metric in common", hint="Compare runs that share a stage or a variant.")
    return compute_exit_code(comparison, is_inconclusive_failure=compared.on_inconclusive == "fail")


def compute_exit_code(comparison: Comparison, *, is_inconclusive_failure: bool) -> int:
    """Return the exit code of a comparison, and print the reasons to standard error."""
    from app.analysis.comparisons.comparison import (
        NO_HEADLINE_METRIC,
        find_inconclusive_changes,
        find_regressions,
        format_change,
        format_regression,
        has_no_headline_metric,
    )
    from app.cli.tables import format_cell

    regressions, inconclusive_changes = find_regressions(comparison), find_inconclusive_changes(comparison)
    for change in regressions:
        print(f"regression: {format_cell(format_regression(change))}", file=sys.stderr)
    severity_text = "error" if is_inconclusive_failure else "warning"
    has_nothing_to_compare = has_no_headline_metric(comparison)
    if has_nothing_to_compare:
        print(f"{severity_text}: {NO_HEADLINE_METRIC}, so the comparison is inconclusive", file=sys.stderr)
    if inconclusive_changes:
        changes_text = "; ".join(map(format_change, inconclusive_changes[:3])) + (
            f" and {len(inconclusive_changes) - 3} more" if inconclusive_changes[3:] else ""
        )
        print(f"{severity_text}: these changes are inconclusive: {changes_text}", file=sys.stderr)
    if regressions:
        return ExitCode.REGRESSION
    is_inconclusive = bool(inconclusive_changes) or has_nothing_to_compare
    return ExitCode.INCONCLUSIVE if is_inconclusive and is_inconclusive_failure else ExitCode.OK


def _read_pair_results(compared: _ComparedRuns) -> PairResults:
    from app.session.interleaved import PairResults
    from app.storage.baselines import read_sides

    return PairResults(*read_sides(compared.baseline, compared.candidate))


def _print_comparison(
    comparison: Comparison, compared: _ComparedRuns, document: _Document, output: OutputFormat
) -> None:
    if output == "json" or document.format == "json":
        import msgspec

        content = msgspec.json.format(msgspec.json.encode(comparison), indent=2).decode()
    elif output != "table":
        from app.reporting.comparison import build_comparison_section
        from reports.formatting import sanitize
        from reports.markdown import build_rows_table
        from reports.sections.comparison import CHANGES
        from reports.tables import build_section_table

        section = build_comparison_section(comparison)
        if output == "csv":
            content = build_section_table(CHANGES, section.rows)
        else:
            content = "\n".join(build_rows_table(CHANGES, sanitize(section).rows))
    else:
        from app.reporting.comparison import build_comparison_report
        from reports.rendering import render

        content = render(
            build_comparison_report(comparison, _build_command(compared, comparison)), document.format or "text"
        )
    if document.out is None:
        print_whole(content.removesuffix("\n"))
    else:
        from app.storage.run_directory import write_document

        print(write_document(document.out, content.encode()))


def _build_command(compared: _ComparedRuns, comparison: Comparison) -> str:
    from app.reporting.comparison import build_comparison_command

    run_arguments = (compared.baseline, compared.candidate)
    extra_options = ["--measure"] if compared.measure else []
    return build_comparison_command(
        *run_arguments, comparison.tolerance, is_forced=compared.force, options=extra_options
    )


def _parse_duration(text: str) -> float:
    from app.profiles.problems import BadValueError
    from app.profiles.units import parse_duration_s

    try:
        return parse_duration_s(text)
    except BadValueError as error:
        raise click.BadParameter(str(error)) from None


_PAIRS_SECTION = "Measure two profiles in interleaved A/B pairs, each run in a new process"

_PAIRS_OPTIONS: tuple[CommandOption, ...] = (
    CommandOption(
        ["--pairs"],
        type=click.IntRange(1, _MAX_PAIRS),
        metavar="N",
        section=_PAIRS_SECTION,
        help="number of A/B pairs; doubled if a change is suspected (default: 7)",
    ),
    CommandOption(
        ["--max-duration", "max_duration_s"],
        type=_parse_duration,
        metavar="TIME",
        section=_PAIRS_SECTION,
        help="time limit; a pair that would exceed it is not started (default: 20m)",
    ),
    CommandOption(
        ["--record"],
        type=PATH,
        metavar="DIR",
        section=_PAIRS_SECTION,
        help="directory for progress events, which `runs attach` and `runs stop` use (default: next to the runs)",
    ),
    consent_option(_PAIRS_SECTION),
    *verbosity_options(_PAIRS_SECTION),
)

COMMAND = Command(
    "compare",
    _compare,
    [
        click.Argument(
            ["baseline"],
            shell_complete=complete_runs,
            help="run ID, run directory, result.json, 'last' or 'promoted'; repeated runs separated by commas; with "
            "--measure, a profile",
        ),
        click.Argument(
            ["candidate"],
            nargs=-1,
            required=True,
            shell_complete=complete_runs,
            help="the run or runs to compare with BASELINE, specified like BASELINE; several runs are repeated runs "
            "of one candidate",
        ),
        TOLERANCE_OPTION,
        FORCE_OPTION,
        CommandOption(
            ["--on-inconclusive"],
            type=click.Choice(["warn", "fail"]),
            default="warn",
            help="exit code if a metric is inconclusive: 0 for warn (default), 12 for fail",
        ),
        *output_options("print the comparison as JSON"),
        CommandOption(
            ["--format"],
            type=click.Choice(["text", "markdown", "html", "json"]),
            help="output format (default: text)",
        ),
        out_option("FILE", "write the comparison to this file and print its path"),
        CommandOption(
            ["--measure"],
            is_flag=True,
            section=_PAIRS_SECTION,
            help="measure BASELINE and CANDIDATE, which are profiles",
        ),
        *_PAIRS_OPTIONS,
    ],
    documentation=__doc__,
    examples=(
        "sizewise compare promoted last",
        "sizewise compare 20261128-1,20261128-2 20261129-1 20261129-2 --format html --out comparison.html",
        "sizewise compare --measure before.yaml after.yaml",
    ),
)
