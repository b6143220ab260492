"""The options of a run that is held against a baseline."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from app.errors import UsageError

if TYPE_CHECKING:
    from app.session.spec import BaselineSpec


def add_baseline_arguments(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("held against a baseline: a regression ends with 11")
    group.add_argument("--baseline", metavar="RUN",
                       help="a run's id, directory or result.json, 'last', or 'promoted' for what `runs promote` made "
                       "it; several repeats by commas")  # fmt: skip
    group.add_argument("--tolerance", type=tolerance_share, metavar="SHARE",
                       help="what a metric may change by and still be the same (default 5%%)")  # fmt: skip
    group.add_argument("--force", action="store_true",
                       help="compare although the environments forbid it; the comparison is stamped")  # fmt: skip


def baseline_of(arguments: argparse.Namespace, profile_name: str) -> BaselineSpec | None:
    """None where none is asked for. Raises UsageError for one that cannot be had."""
    if arguments.baseline is None:
        if arguments.tolerance is not None or arguments.force:
            option = "--force" if arguments.force else "--tolerance"
            raise UsageError(f"{option} is for a --baseline", hint="Say with --baseline RUN what to compare with.")
        return None

    from app.analysis.comparison import TOLERANCE
    from app.session.spec import BaselineSpec
    from app.storage.baselines import read_baselines

    tolerance = TOLERANCE if arguments.tolerance is None else arguments.tolerance
    return BaselineSpec(read_baselines(arguments.baseline, profile_name), tolerance, arguments.force)


def tolerance_share(text: str) -> float:
    """5% or 0.05."""
    number = text.strip().removesuffix("%")
    try:
        share = float(number) / (100 if number != text.strip() else 1)
    except ValueError:
        share = -1.0
    if not 0 < share < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a share between 0% and 100%, like 5%")
    return share
