"""Compare runs, or measure two profiles in interleaved pairs: environment differences, then better, worse or the
same.
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
_MAX_DURATION_S = 20 * 60.0


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("base", metavar="BASE",
                        help="a run's id, directory or result.json, 'last' or 'promoted'; several repeats by commas; "
                        "with --measure a profile")  # fmt: skip
    parser.add_argument("candidate", nargs="+", metavar="CANDIDATE", help="likewise; several are repeats")
    parser.add_argument("--tolerance", type=parse_tolerance, default=None, metavar="SHARE",
                        help="what a metric may change by and still be the same (default 5%%)")  # fmt: skip
    parser.add_argument("--force", action="store_true",
                        help="compare although the environments forbid it; the comparison is stamped")  # fmt: skip
    parser.add_argument("--on-inconclusive", choices=["warn", "fail"], default="warn",
                        help="whether a metric that cannot be told ends with 12 (default warn: with 0)")  # fmt: skip
    parser.add_argument("--json", action="store_true", help="print the comparison as JSON")
    parser.add_argument("--format", choices=["text", "markdown", "html", "json"], help="default: text")
    parser.add_argument("--out", type=Path, metavar="FILE", help="write it there, and print where")
    measuring = parser.add_argument_group("measuring two profiles in turns, each time in a new process")
    measuring.add_argument("--measure", action="store_true", help="BASE and CANDIDATE are profiles")
    measuring.add_argument("--pairs", type=_parse_pairs, default=None, metavar="N",
                           help="of runs; as many again where a change is suspected (default 7)")  # fmt: skip
    measuring.add_argument("--max-duration", type=_parse_duration, default=_MAX_DURATION_S, metavar="TIME",
                           dest="max_s",
                           help="begin no pair that would not end by then (default 20m)")  # fmt: skip
    measuring.add_argument("--record", type=Path, metavar="DIR",
                           help="where it tells how it goes, for `runs attach` and `runs stop` of that directory "
                           "(default: beside the runs)")  # fmt: skip


def execute(arguments: argparse.Namespace) -> int:
    if arguments.measure:
        return _measure(arguments)
    return _report(_compare(_read_sides(arguments), arguments), arguments)


def _measure(arguments: argparse.Namespace) -> int:
    from app.cli.measuring_pairs import measure_pairs
    from app.session.interleaved import DEFAULT_PAIRS, PairPlan

    order = PairPlan(arguments.pairs or DEFAULT_PAIRS, arguments.max_s, _tolerance(arguments), arguments.force)
    return measure_pairs(
        arguments, order, lambda turns: _compare(turns, arguments), lambda comparison: _report(comparison, arguments)
    )


def _compare(turns: PairResults, arguments: argparse.Namespace) -> Comparison:
    import msgspec

    from app.analysis.comparisons.comparison import compare_runs

    tolerance = _tolerance(arguments)
    comparison = compare_runs(turns.base, turns.candidate, tolerance=tolerance, is_forced=arguments.force)
    return msgspec.structs.replace(comparison, notes=(*turns.notes, *comparison.notes))


def _tolerance(arguments: argparse.Namespace) -> float:
    from app.analysis.comparisons.comparison import TOLERANCE

    return TOLERANCE if arguments.tolerance is None else float(arguments.tolerance)


def _report(comparison: Comparison, arguments: argparse.Namespace) -> int:
    """Print the comparison and return the exit code. Raises UsageError if there is nothing to evaluate."""
    from app.analysis.comparisons.environment_differences import format_differences

    _show(comparison, arguments)
    forbidding = [difference for difference in comparison.differences if difference.forbids]
    if forbidding and not arguments.force:
        raise UsageError(
            f"these may not be compared: {format_differences(forbidding)}",
            hint="Measure both on one machine with one workload, or have it compared and stamped with --force.",
        )
    if not comparison.changes:
        raise UsageError(
            "these have no metric in common", hint="Compare runs that have a stage or a variant in common."
        )
    return exit_code(comparison, is_inconclusive_failure=arguments.on_inconclusive == "fail")


def exit_code(comparison: Comparison, *, is_inconclusive_failure: bool) -> int:
    """Return the exit code of a comparison, and print the reasons to standard error."""
    from app.analysis.comparisons.comparison import (
        find_inconclusive,
        find_regressions,
        format_change,
        format_regression,
    )
    from app.cli.tables import format_cell

    worse, open_ones = find_regressions(comparison), find_inconclusive(comparison)
    for change in worse:
        print(f"regression: {format_cell(format_regression(change))}", file=sys.stderr)
    if open_ones:
        named = "; ".join(map(format_change, open_ones[:3])) + (
            f" and {len(open_ones) - 3} more" if open_ones[3:] else ""
        )
        print(f"{'error' if is_inconclusive_failure else 'warning'}: inconclusive: {named}", file=sys.stderr)
    if worse:
        return ExitCode.REGRESSION
    return ExitCode.INCONCLUSIVE if open_ones and is_inconclusive_failure else ExitCode.OK


def _read_sides(arguments: argparse.Namespace) -> PairResults:
    from app.session.interleaved import PairResults
    from app.storage.baselines import read_sides

    if arguments.pairs is not None:
        raise UsageError("--pairs is for --measure", hint="Repeats that were made already are given by commas.")
    if arguments.record is not None:
        raise UsageError("--record is for --measure", hint="--out FILE writes the comparison down.")
    return PairResults(*read_sides(arguments.base, arguments.candidate))


def _show(comparison: Comparison, arguments: argparse.Namespace) -> None:
    if arguments.json or arguments.format == "json":
        import msgspec

        content = msgspec.json.format(msgspec.json.encode(comparison), indent=2).decode()
    else:
        from app.reporting.comparison import build_comparison_report
        from reports.rendering import render_comparison

        content = render_comparison(
            build_comparison_report(comparison, _command(arguments, comparison)), arguments.format or "text"
        )
    if arguments.out is None:
        print(content.removesuffix("\n"))
    else:
        from app.storage.run_directory import write_document

        print(write_document(arguments.out, content.encode()))


def _command(arguments: argparse.Namespace, comparison: Comparison) -> str:
    from app.reporting.comparison import build_comparison_command

    sides = (arguments.base, arguments.candidate)
    measured = ["--measure"] if arguments.measure else []
    return build_comparison_command(*sides, comparison.tolerance, is_forced=arguments.force, options=measured)


def _parse_pairs(text: str) -> int:
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
