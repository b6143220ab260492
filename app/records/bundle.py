"""`bundle.json`, the metadata of a bundle beside the run's folder in the zip, and `labels.json`, user labels of a run.

Labels are stored beside a run's sealed data, which they do not change.
"""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec

from app.records.control import MAX_NOTE_LENGTH

TAG_PATTERN = r"^[A-Za-z0-9][A-Za-z0-9._:/=@+-]{0,63}$"
MAX_TAGS = MAX_NOTES = 100
MAX_TITLE_LENGTH = 120
Tag = Annotated[str, msgspec.Meta(pattern=TAG_PATTERN)]


class Note(msgspec.Struct, frozen=True):
    """A note on a run. `at` is wall time with zone, ISO 8601."""

    at: str
    text: Annotated[str, msgspec.Meta(max_length=MAX_NOTE_LENGTH)]


class Labels(msgspec.Struct, frozen=True):
    """User labels of a run. Version 1 is the first. Tags are in alphabetical order, notes in the order added. `title`
    is a display name besides the run's own name, which assigns it to a series; empty if not set."""

    sizewise_labels: Literal[1] = 1
    title: Annotated[str, msgspec.Meta(max_length=MAX_TITLE_LENGTH)] = ""
    tags: Annotated[tuple[Tag, ...], msgspec.Meta(max_length=MAX_TAGS)] = ()
    notes: Annotated[tuple[Note, ...], msgspec.Meta(max_length=MAX_NOTES)] = ()


class BundledFile(msgspec.Struct, frozen=True):
    """A file of a bundle. `path` is relative to the run's directory, with slashes."""

    path: str
    size: int
    sha256: str


class Bundle(msgspec.Struct, frozen=True):
    """Contents of a bundle. Version 1 is the first. Additions keep the number."""

    sizewise_bundle: Literal[1]
    run_id: str
    files: tuple[BundledFile, ...]
