"""Which judgements decide the exit code, as the command line says it."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from app.analysis.gating import GateKind, Gating

_KINDS: tuple[GateKind, ...] = ("slo", "regression")


def add_gating_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--gate", type=_kinds, default=_KINDS, metavar="KINDS",
                        help="what decides the exit code: slo (SLO and gates), regression (gates on changes), or both, "
                             "as in slo,regression (default); what does not is judged and shown")  # fmt: skip
    parser.add_argument("--on-inconclusive", choices=["pass", "warn", "fail"], default="warn",
                        help="what becomes of an objective that its interval leaves open: nothing, a warning "
                             "(default), or exit code 12")  # fmt: skip


def gating_of(arguments: argparse.Namespace) -> Gating:
    from app.analysis.gating import Gating

    return Gating(arguments.on_inconclusive, arguments.gate)


def _kinds(text: str) -> tuple[GateKind, ...]:
    given = [part.strip() for part in text.split(",")]
    wrong = next((part for part in given if part not in _KINDS), None)
    if wrong is not None:
        raise argparse.ArgumentTypeError(f"{wrong!r} is not one of {', '.join(_KINDS)}")
    return tuple(kind for kind in _KINDS if kind in given)
