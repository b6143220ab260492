"""Options that several commands share: baselines, checks that determine the exit code, and load
workers."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from app.errors import UsageError

if TYPE_CHECKING:
    from app.analysis.gating import GateKind, Gating
    from app.session.spec import BaselineSpec
    from app.wiring.workers import RemoteWorkers


def add_baseline_arguments(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("baseline comparison (exit code 11 for a regression)")
    group.add_argument("--baseline", metavar="RUN",
                       help="run ID, run directory, result.json, 'last', or 'promoted' for the run set with `runs "
                       "promote`; repeated runs separated by commas")  # fmt: skip
    group.add_argument("--tolerance", type=parse_tolerance, metavar="SHARE",
                       help="smallest change that counts as a difference (default: 5%%)")  # fmt: skip
    group.add_argument("--force", action="store_true",
                       help="compare despite environment differences that forbid it, and mark the comparison as "
                       "FORCED")  # fmt: skip


def parse_baseline(arguments: argparse.Namespace, profile_name: str) -> BaselineSpec | None:
    """Read the requested baseline; `None` if no baseline was requested. Raises UsageError if the
    baseline cannot be read, or for conflicting options."""
    if arguments.baseline is None:
        if arguments.tolerance is not None or arguments.force:
            option = "--force" if arguments.force else "--tolerance"
            raise UsageError(f"{option} requires --baseline", hint="Add --baseline RUN, the run to compare with.")
        return None

    from app.analysis.comparisons.comparison import TOLERANCE
    from app.session.spec import BaselineSpec
    from app.storage.baselines import read_baselines

    tolerance = TOLERANCE if arguments.tolerance is None else arguments.tolerance
    return BaselineSpec(read_baselines(arguments.baseline, profile_name), tolerance, arguments.force)


def parse_tolerance(text: str) -> float:
    """Parse a share such as 5% or 0.05 as a fraction. Raises argparse.ArgumentTypeError."""
    number_text = text.strip().removesuffix("%")
    try:
        share = float(number_text) / (100 if number_text != text.strip() else 1)
    except ValueError:
        share = -1.0
    if not 0 < share < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a share between 0% and 100%, like 5%")
    return share


_GATE_KINDS: tuple[GateKind, ...] = ("slo", "regression")


def add_gating_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--gate", type=_parse_gate_kinds, default=_GATE_KINDS, metavar="KINDS",
                        help="what determines the exit code: slo (SLO and gates), regression (gates on changes), or "
                        "both, as in slo,regression (default); the other kind is evaluated and shown, but does not "
                        "affect the exit code")  # fmt: skip
    parser.add_argument("--on-inconclusive", choices=["pass", "warn", "fail"], default="warn",
                        help="how to treat an objective whose confidence interval crosses the limit: pass, warning "
                             "(default) or exit code 12")  # fmt: skip


def parse_gating(arguments: argparse.Namespace) -> Gating:
    from app.analysis.gating import Gating

    return Gating(arguments.on_inconclusive, arguments.gate)


def _parse_gate_kinds(text: str) -> tuple[GateKind, ...]:
    requested_kinds = [kind.strip() for kind in text.split(",")]
    unknown_kind = next((kind for kind in requested_kinds if kind not in _GATE_KINDS), None)
    if unknown_kind is not None:
        raise argparse.ArgumentTypeError(f"{unknown_kind!r} is not one of {', '.join(_GATE_KINDS)}")
    return tuple(kind for kind in _GATE_KINDS if kind in requested_kinds)


_MAX_WORKERS = 1_000  # as in app.profiles.load, which takes too long to import here


def add_workers_argument(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--workers", type=_parse_workers_setting, metavar="N",
                        help="number of load worker processes (default: auto, one per spare core)")  # fmt: skip


def add_remote_arguments(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("remote load workers, started with `sizewise worker` on other machines")
    group.add_argument(
        "--remote-workers", type=parse_worker_count, metavar="N", help="number of remote workers to wait for"
    )
    group.add_argument("--bind", metavar="HOST:PORT", help="address at which workers join this run")
    add_token_argument(group)


def add_token_argument(parser: argparse._ActionsContainer) -> None:
    parser.add_argument("--token", metavar="REFERENCE",
                        help="env:NAME or file:PATH of the secret shared by the run and its workers "
                             "(default: env:SIZEWISE_TOKEN)")  # fmt: skip


def build_workers_override(arguments: argparse.Namespace) -> list[str]:
    """Return the `--set` override that is equivalent to `--workers`; empty if the option is not
    set."""
    return [] if arguments.workers is None else [f"load.workers={arguments.workers}"]


def parse_remote_workers(arguments: argparse.Namespace) -> RemoteWorkers | None:
    """Return the requested remote workers; `None` if none were requested. Raises UsageError for
    conflicting options."""
    worker_count, bind_text, token_reference = arguments.remote_workers, arguments.bind, arguments.token
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


def parse_worker_count(text: str) -> int:
    if not (text.isascii() and text.isdecimal() and 1 <= int(text) <= _MAX_WORKERS):
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number from 1 to {_MAX_WORKERS:,}")
    return int(text)


def format_worker_count(count: int) -> str:
    return "1 worker" if count == 1 else f"{count} workers"


def _parse_workers_setting(text: str) -> str:
    return text if text == "auto" else str(parse_worker_count(text))
