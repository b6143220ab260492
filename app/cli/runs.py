"""List, show, tag, share or delete the stored runs, or speak to one that is going on."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from app.cli import run_attach, run_bundles, run_labels, run_listing, run_resume, run_trash, run_trend
from app.errors import UsageError

if TYPE_CHECKING:
    from app.records.control import Wish


def add_arguments(parser: argparse.ArgumentParser) -> None:
    verbs = parser.add_subparsers(metavar="ACTION", required=True, dest="action")
    for of_verbs in (run_listing, run_trend, run_attach, run_resume, run_labels, run_bundles, run_trash):
        of_verbs.add_verbs(verbs)
    stop = verbs.add_parser("stop", help="let a running run finish what is in flight, and report; twice: cut it")
    rate = verbs.add_parser("rate", help="change the rate of a running run's open stage, to its end")
    extend = verbs.add_parser("extend", help="make a running run's stage of one rate, or of clients, last longer")
    for verb in (stop, rate, extend):
        verb.add_argument("run", help="the directory, the id or its beginning, or 'last'")
        verb.set_defaults(act=_ask)
    promote = verbs.add_parser("promote", help="make a run the baseline of its profile: `run --baseline promoted`")
    promote.add_argument("run", help="a run that passed: its directory, its id or its beginning, or 'last'")
    promote.set_defaults(act=_promote)
    rate.add_argument("rate", help="like 300/s")
    extend.add_argument("by", metavar="DURATION", help="how much longer, like 30s")


def execute(arguments: argparse.Namespace) -> int:
    code: int = arguments.act(arguments)
    return code


def _promote(arguments: argparse.Namespace) -> int:
    from app.cli.tables import shown
    from app.storage.baselines import promote
    from app.storage.run_directory import find_run

    result = promote(find_run(arguments.run))
    print(f"{shown(result.run_id)} is the baseline of {result.name!r} now")
    return 0


def _ask(arguments: argparse.Namespace) -> int:
    from app.storage.control import ask_engine
    from app.storage.run_directory import find_run

    wish = _wish(arguments)
    print(ask_engine(find_run(arguments.run).directory, wish))
    return 0


def _wish(arguments: argparse.Namespace) -> Wish:
    from app.records.control import StopRun

    if arguments.action == "stop":
        return StopRun()

    from app.profiles.problems import BadValueError

    try:
        return _extension(arguments.by) if arguments.action == "extend" else _change(arguments.rate)
    except BadValueError as error:
        raise UsageError(str(error), hint=error.hint) from None


def _change(rate: str) -> Wish:
    from app.profiles.units import parse_rate_per_s
    from app.records.control import HIGHEST_RATE_PER_S, SetRate

    rate_per_s = parse_rate_per_s(rate)
    if rate_per_s > HIGHEST_RATE_PER_S:
        raise UsageError(f"{rate} is more than any generator sends")
    return SetRate(rate_per_s)


def _extension(by: str) -> Wish:
    from app.profiles.units import parse_duration_s
    from app.records.control import MOST_EXTENDED_S, Extend

    by_s = parse_duration_s(by)
    if not 0 < by_s <= MOST_EXTENDED_S:
        raise UsageError(f"a stage is extended by more than 0 s and at most a day, not by {by}")
    return Extend(by_s)
