"""`runs export` and `runs import`: a run travels as one zip."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from app.errors import UsageError

if TYPE_CHECKING:
    from app.cli.verbs import Verbs


def add_verbs(verbs: Verbs) -> None:
    export = verbs.add_parser("export", help="write a finished run as one zip, with checksums")
    export.add_argument("run", help="the directory, the id or its beginning, or 'last'")
    export.add_argument("-o", dest="out", type=Path, metavar="FILE.zip", help="default: the run's id, here")
    export.set_defaults(act=_export)
    taking = verbs.add_parser("import", help="take in a run that was exported")
    taking.add_argument("bundle", type=Path, metavar="FILE.zip")
    taking.set_defaults(act=_import)


def _export(arguments: argparse.Namespace) -> int:
    from app.profiles.redaction import places_of_secrets
    from app.storage.bundle import export_run
    from app.storage.run_directory import find_run

    run = find_run(arguments.run)
    found = places_of_secrets(run.spec_text or "")
    if found:
        hint = "Give it as env:NAME or file:PATH there, and export again."
        raise UsageError(f"{run.directory / 'spec.yaml'} holds what may be a secret: {', '.join(found)}", hint=hint)
    path = arguments.out or Path(f"{run.measured.run_id}.zip")
    if path.resolve().is_relative_to(run.directory.resolve()):
        raise UsageError(f"{path} is in the run that it is to hold", hint="Choose another -o.")
    bundle = export_run(run, path)
    print(f"{path}: {bundle.run_id}, {len(bundle.files)} files, {path.stat().st_size / 2**20:,.1f} MiB")
    return 0


def _import(arguments: argparse.Namespace) -> int:
    from app.storage.bundle_import import import_run

    directory, is_new = import_run(arguments.bundle)
    print(directory if is_new else f"{directory} is there already, and is the same run")
    return 0
