"""Formats of `bundle.json` and `labels.json`. `bundle.json` is the manifest of a bundle, stored
beside the run's folder in the zip file.

`labels.json` holds the user's labels of a run. Labels are stored next to the sealed run data and do
not change that data.
"""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec

from app.records.control import MAX_NOTE_LENGTH

TAG_PATTERN = r"^[A-Za-z0-9][A-Za-z0-9._:/=@+-]{0,63}$"
BUNDLE_EXTENSION = ".sizewise.zip"
"""Extension that desktops associate with the desktop app. An import accepts any name."""
MAX_TAGS = MAX_NOTES = 100
MAX_TITLE_LENGTH = 120
Tag = Annotated[str, msgspec.Meta(pattern=TAG_PATTERN)]


class Note(msgspec.Struct, frozen=True):
    """A user's note on a run. `at` is wall-clock time with time zone (ISO 8601)."""

    at: str
    text: Annotated[str, msgspec.Meta(max_length=MAX_NOTE_LENGTH)]


class Labels(msgspec.Struct, frozen=True):
    """Labels of a run, set by the user. Tags are sorted alphabetically; notes are in the order in
    which they were added.

    `title` is an additional display name, empty if not set. The run's name, which assigns the run
    to a series, stays unchanged. `sizewise_labels` is the format version.
    """

    sizewise_labels: Literal[1] = 1
    title: Annotated[str, msgspec.Meta(max_length=MAX_TITLE_LENGTH)] = ""
    tags: Annotated[tuple[Tag, ...], msgspec.Meta(max_length=MAX_TAGS)] = ()
    notes: Annotated[tuple[Note, ...], msgspec.Meta(max_length=MAX_NOTES)] = ()


class BundledFile(msgspec.Struct, frozen=True):
    """A file of a bundle. `path` is relative to the run directory and uses forward slashes."""

    path: str
    size: int
    sha256: str


class Bundle(msgspec.Struct, frozen=True):
    """Manifest of a bundle. `sizewise_bundle` is the format version; new fields do not change the
    version."""

    sizewise_bundle: Literal[1]
    run_id: str
    files: tuple[BundledFile, ...]
