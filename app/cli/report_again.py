"""`report --slo … --from … --to …` and `--recover`: a stored run judged again from its facts."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from app.errors import ExitCode, UsageError

if TYPE_CHECKING:
    from app.records.result import Result
    from app.storage.run_directory import StoredRun
    from reports.model import Report

_JUDGED = (ExitCode.INVALID, ExitCode.GATE_FAILED, ExitCode.INCONCLUSIVE)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--slo",
        action="append",
        metavar="OBJECTIVE",
        help='judge the run again by this, like "latency_ms.p95 < 30" (several: all of them), and exit as it is judged',
    )
    parser.add_argument(
        "--from",
        dest="from_s",
        metavar="TIME",
        help="judge only requests due from here on, counted from the start of the load, such as 10s",
    )
    parser.add_argument("--to", dest="to_s", metavar="TIME", help="and up to here")
    parser.add_argument(
        "--recover", action="store_true", help="of a run whose engine was killed, from what it had stored"
    )


def is_asked(arguments: argparse.Namespace) -> bool:
    return is_judged_again(arguments) or arguments.recover


def is_judged_again(arguments: argparse.Namespace) -> bool:
    return any(one is not None for one in (arguments.slo, arguments.from_s, arguments.to_s))


def report_again(run: StoredRun, arguments: argparse.Namespace) -> tuple[Report, Result, int]:
    """With the exit code of the command: that of the new judgement, where there is one."""
    from app.reporting.opened import open_facts

    opened = open_facts(run, recover=arguments.recover)
    if not is_judged_again(arguments):
        return opened.report(), opened.result, 0
    result = opened.rescored(arguments.slo, _window(arguments, opened.result.clock.duration_s))
    judged = [cause.code for cause in result.exit.causes if cause.code in _JUDGED]
    return opened.report(result), result, judged[0] if judged else 0


def refuse_for_others(arguments: argparse.Namespace, what: str) -> None:
    if is_asked(arguments):
        raise UsageError(
            f"{what} cannot be judged again from rows", hint="Give a run, and a --format that tells of its verdict."
        )


def rescored_name(name: str) -> str:
    """Of the file beside the run's own, which stays: report.html, report-rescored.html."""
    path = Path(name)
    return f"{path.stem}-rescored{path.suffix}"


def _window(arguments: argparse.Namespace, duration_s: float) -> tuple[float, float] | None:
    if arguments.from_s is None and arguments.to_s is None:
        return None
    from_s = 0.0 if arguments.from_s is None else _seconds(arguments.from_s, "--from")
    return from_s, duration_s if arguments.to_s is None else _seconds(arguments.to_s, "--to")


def _seconds(text: str, flag: str) -> float:
    from app.profiles.problems import BadValueError
    from app.profiles.units import parse_duration_s

    try:
        return parse_duration_s(text)
    except BadValueError as error:
        raise UsageError(f"{flag}: {error}", hint=error.hint) from None
