"""`runs export` and `runs import`: a run travels as one zip."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from app.cli.verbs import Verbs


def add_verbs(verbs: Verbs) -> None:
    export = verbs.add_parser("export", help="write a finished run as one zip, with checksums")
    export.add_argument("run", help="the directory, the id or its beginning, or 'last'")
    export.add_argument("-o", dest="out", type=Path, metavar="FILE.zip", help="default: the run's id, here")
    export.set_defaults(act=_export)
    taking = verbs.add_parser("import", help="take in a run that was exported, or that lies elsewhere")
    taking.add_argument("bundle", type=Path, metavar="FILE.zip", help="or a run's directory")
    taking.set_defaults(act=_import)


def _export(arguments: argparse.Namespace) -> int:
    from app.storage.run_directory import find_run
    from app.wiring.sharing_runs import share_run

    run = find_run(arguments.run)
    path = arguments.out or Path(f"{run.measured.run_id}.zip")
    bundle = share_run(run, path)
    print(f"{path}: {bundle.run_id}, {len(bundle.files)} files, {path.stat().st_size / 2**20:,.1f} MiB")
    return 0


def _import(arguments: argparse.Namespace) -> int:
    from app.wiring.sharing_runs import take_run

    directory, is_new = take_run(arguments.bundle)
    print(directory if is_new else f"{directory} is there already, and is the same run")
    return 0
