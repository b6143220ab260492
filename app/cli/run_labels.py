"""`runs rename`, `runs tag` and `runs note`: what people say of a run."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from app.cli.verbs import Verbs


def add_verbs(verbs: Verbs) -> None:
    rename = verbs.add_parser("rename", help="give a run a title; its name stays what series and baselines go by")
    rename.add_argument("run", help="the directory, the id or its beginning, or 'last'")
    rename.add_argument("title", help='empty ("") takes it away')
    rename.set_defaults(act=_rename)
    tag = verbs.add_parser("tag", help="give a run tags, or take them away")
    tag.add_argument("run", help="the directory, the id or its beginning, or 'last'")
    tag.add_argument("tags", nargs="+", metavar="TAG")
    tag.add_argument("--remove", action="store_true", help="take these tags away")
    tag.set_defaults(act=_tag)
    note = verbs.add_parser("note", help="write a note into a running run's events and result, or beside an ended one")
    note.add_argument("run", help="the directory, the id or its beginning, or 'last'")
    note.add_argument("text")
    note.set_defaults(act=_note)


def _rename(arguments: argparse.Namespace) -> int:
    from app.storage.labels import set_title
    from app.storage.run_directory import find_run

    labels = set_title(find_run(arguments.run).directory, arguments.title)
    print(f"title: {labels.title or 'none'}")
    return 0


def _tag(arguments: argparse.Namespace) -> int:
    from app.cli.tables import shown
    from app.storage.labels import add_tags, remove_tags
    from app.storage.run_directory import find_run

    change = remove_tags if arguments.remove else add_tags
    labels = change(find_run(arguments.run).directory, arguments.tags)
    print(f"tags: {shown(', '.join(labels.tags) or 'none')}")
    return 0


def _note(arguments: argparse.Namespace) -> int:
    from datetime import UTC, datetime

    from app.storage.run_directory import find_run
    from app.wiring.labelling import note_run

    print(note_run(find_run(arguments.run).directory, arguments.text, datetime.now(UTC)))
    return 0
