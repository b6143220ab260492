"""`runs resume`: a run that was cut short, continued after its last complete stage."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from app.cli.baseline import add_baseline_arguments, baseline_of
from app.cli.gating import add_gating_arguments, gating_of
from app.cli.run import add_output_arguments
from app.cli.sharing import add_remote_arguments, remote_workers

if TYPE_CHECKING:
    from app.cli.verbs import Verbs


def add_verbs(verbs: Verbs) -> None:
    resume = verbs.add_parser(
        "resume",
        help="continue a run of an endpoint that was killed or stopped, after its last complete stage",
        description="Continue a run of an endpoint that was killed, or stopped by a signal, after its last complete "
        "stage, in its own directory. Its result is that of one run, and says that it was resumed. A run of a local "
        "model, or one from before a restart of the machine, cannot be resumed.",
    )
    resume.add_argument("run", help="the directory, the id or its beginning, or 'last'")
    add_baseline_arguments(resume)
    add_remote_arguments(resume)
    add_gating_arguments(resume)
    add_output_arguments(resume)
    resume.set_defaults(act=_resume)


def _resume(arguments: argparse.Namespace) -> int:
    from app.cli.measuring import resume
    from app.storage.run_directory import find_run

    run = find_run(arguments.run)
    gating, remote = gating_of(arguments), remote_workers(arguments)
    return resume(run, arguments, remote, gating, lambda name: baseline_of(arguments, name))
