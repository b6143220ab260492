"""Compare stored runs, or measure two profiles in interleaved A/B pairs.

The comparison lists the environment differences first, then whether each metric is better, worse or
the same.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from app.cli.options import parse_tolerance
from app.errors import ExitCode, UsageError

if TYPE_CHECKING:
    from app.records.comparison import Comparison
    from app.session.interleaved import PairResults

_MAX_PAIRS = 50
_DEFAULT_MAX_DURATION_S = 20 * 60.0


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("baseline", metavar="BASELINE",
                        help="run ID, run directory, result.json, 'last' or 'promoted'; repeated runs separated by "
                        "commas; with --measure, a profile")  # fmt: skip
    parser.add_argument(
        "candidate",
        nargs="+",
        metavar="CANDIDATE",
        help="the run or runs to compare with BASELINE, specified like BASELINE; several runs are repeated runs of one "
        "candidate",
    )
    parser.add_argument("--tolerance", type=parse_tolerance, default=None, metavar="SHARE",
                        help="smallest change that counts as a difference (default: 5%%)")  # fmt: skip
    parser.add_argument("--force", action="store_true",
                        help="compare despite environment differences that forbid it, and mark the comparison as "
                        "FORCED")  # fmt: skip
    parser.add_argument("--on-inconclusive", choices=["warn", "fail"], default="warn",
                        help="exit code if a metric is inconclusive: 0 for warn (default), 12 for fail")  # fmt: skip
    parser.add_argument("--json", action="store_true", help="print the comparison as JSON")
    parser.add_argument("--format", choices=["text", "markdown", "html", "json"], help="output format (default: text)")
    parser.add_argument("--out", type=Path, metavar="FILE", help="write the comparison to this file and print its path")
    measure_group = parser.add_argument_group(
        "measure two profiles in interleaved A/B pairs, each run in a new process"
    )
    measure_group.add_argument(
        "--measure", action="store_true", help="measure BASELINE and CANDIDATE, which are profiles"
    )
    measure_group.add_argument("--pairs", type=_parse_pair_count, default=None, metavar="N",
                           help="number of A/B pairs; doubled if a change is suspected (default: 7)")  # fmt: skip
    measure_group.add_argument("--max-duration", type=_parse_duration, default=_DEFAULT_MAX_DURATION_S, metavar="TIME",
                           dest="max_duration_s",
                           help="time limit; a pair that would exceed it is not started (default: 20m)")  # fmt: skip
    measure_group.add_argument("--record", type=Path, metavar="DIR",
                           help="directory for progress events, which `runs attach` and `runs stop` use "
                           "(default: next to the runs)")  # fmt: skip


def execute(arguments: argparse.Namespace) -> int:
    if arguments.measure:
        return _measure_profiles(arguments)
    return _report_comparison(_compare_pair_results(_read_pair_results(arguments), arguments), arguments)


def _measure_profiles(arguments: argparse.Namespace) -> int:
    from app.cli.measuring_pairs import measure_pairs
    from app.session.interleaved import DEFAULT_PAIR_COUNT, PairPlan

    pair_plan = PairPlan(
        arguments.pairs or DEFAULT_PAIR_COUNT, arguments.max_duration_s, _get_tolerance(arguments), arguments.force
    )
    return measure_pairs(
        arguments,
        pair_plan,
        lambda pair_results: _compare_pair_results(pair_results, arguments),
        lambda comparison: _report_comparison(comparison, arguments),
    )


def _compare_pair_results(pair_results: PairResults, arguments: argparse.Namespace) -> Comparison:
    import msgspec

    from app.analysis.comparisons.comparison import compare_runs

    tolerance = _get_tolerance(arguments)
    comparison = compare_runs(
        pair_results.baseline, pair_results.candidate, tolerance=tolerance, is_forced=arguments.force
    )
    return msgspec.structs.replace(comparison, notes=(*pair_results.notes, *comparison.notes))


def _get_tolerance(arguments: argparse.Namespace) -> float:
    from app.analysis.comparisons.comparison import TOLERANCE

    return TOLERANCE if arguments.tolerance is None else float(arguments.tolerance)


def _report_comparison(comparison: Comparison, arguments: argparse.Namespace) -> int:
    """Print the comparison and return the exit code. Raises UsageError if the runs are not
    comparable or have no metric in common."""
    from app.analysis.comparisons.environment_differences import format_differences

    _print_comparison(comparison, arguments)
    forbidding_differences = [difference for difference in comparison.differences if difference.forbids]
    if forbidding_differences and not arguments.force:
        raise UsageError(
            f"these runs are not comparable: {format_differences(forbidding_differences)}",
            hint="Measure both on the same machine with the same workload, or use --force.",
        )
    if not comparison.changes:
        raise UsageError("these runs have no metric in common", hint="Compare runs that share a stage or a variant.")
    return compute_exit_code(comparison, is_inconclusive_failure=arguments.on_inconclusive == "fail")


def compute_exit_code(comparison: Comparison, *, is_inconclusive_failure: bool) -> int:
    """Return the exit code of a comparison, and print the reasons to standard error."""
    from app.analysis.comparisons.comparison import (
        find_inconclusive_changes,
        find_regressions,
        format_change,
        format_regression,
    )
    from app.cli.tables import format_cell

    regressions, inconclusive_changes = find_regressions(comparison), find_inconclusive_changes(comparison)
    for change in regressions:
        print(f"regression: {format_cell(format_regression(change))}", file=sys.stderr)
    if inconclusive_changes:
        changes_text = "; ".join(map(format_change, inconclusive_changes[:3])) + (
            f" and {len(inconclusive_changes) - 3} more" if inconclusive_changes[3:] else ""
        )
        severity_text = "error" if is_inconclusive_failure else "warning"
        print(f"{severity_text}: these changes are inconclusive: {changes_text}", file=sys.stderr)
    if regressions:
        return ExitCode.REGRESSION
    return ExitCode.INCONCLUSIVE if inconclusive_changes and is_inconclusive_failure else ExitCode.OK


def _read_pair_results(arguments: argparse.Namespace) -> PairResults:
    from app.session.interleaved import PairResults
    from app.storage.baselines import read_sides

    if arguments.pairs is not None:
        raise UsageError("--pairs requires --measure", hint="Separate existing repeated runs with commas.")
    if arguments.record is not None:
        raise UsageError("--record requires --measure", hint="Use --out FILE to write the comparison to a file.")
    return PairResults(*read_sides(arguments.baseline, arguments.candidate))


def _print_comparison(comparison: Comparison, arguments: argparse.Namespace) -> None:
    if arguments.json or arguments.format == "json":
        import msgspec

        content = msgspec.json.format(msgspec.json.encode(comparison), indent=2).decode()
    else:
        from app.reporting.comparison import build_comparison_report
        from reports.rendering import render_comparison

        content = render_comparison(
            build_comparison_report(comparison, _build_command(arguments, comparison)), arguments.format or "text"
        )
    if arguments.out is None:
        print(content.removesuffix("\n"))
    else:
        from app.storage.run_directory import write_document

        print(write_document(arguments.out, content.encode()))


def _build_command(arguments: argparse.Namespace, comparison: Comparison) -> str:
    from app.reporting.comparison import build_comparison_command

    run_arguments = (arguments.baseline, arguments.candidate)
    extra_options = ["--measure"] if arguments.measure else []
    return build_comparison_command(
        *run_arguments, comparison.tolerance, is_forced=arguments.force, options=extra_options
    )


def _parse_pair_count(text: str) -> int:
    if not (text.isascii() and text.isdecimal() and 1 <= int(text) <= _MAX_PAIRS):
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of pairs from 1 to {_MAX_PAIRS}")
    return int(text)


def _parse_duration(text: str) -> float:
    from app.profiles.problems import BadValueError
    from app.profiles.units import parse_duration_s

    try:
        return parse_duration_s(text)
    except BadValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None
