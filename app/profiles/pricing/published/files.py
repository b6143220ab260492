"""Files of a published catalog. They are untrusted: their sizes and the sizes of archive members are
limited."""

from __future__ import annotations

from pathlib import Path

import msgspec

from app.errors import UsageError
from app.records.price_layouts import LAYOUT_IDS
from loadgen.regular_files import open_regular

FORMAT_HINT = f"Name the layout with --format: {', '.join(LAYOUT_IDS)}."
_ZIP_MAGIC = b"PK\x03\x04"
_MAX_JSON_BYTES = 2**29
_HEAD_BYTES = 2**16
_BLANKS = b"\xef\xbb\xbf \t\r\n"


class CatalogFile(msgspec.Struct, frozen=True):
    """File of a published catalog. `location` is the path or the URL that it comes from, without
    secrets; `name` is its original file name."""

    path: Path
    location: str
    name: str


def read_head(file: CatalogFile) -> bytes:
    """Read the beginning of a file. Raises UsageError if the file is empty, a web page or cannot be
    read."""
    try:
        with open_regular(file.path) as stream:
            head = stream.read(_HEAD_BYTES)
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else None
        raise UsageError(f"{file.location} cannot be read: {reason or 'invalid path'}") from error
    if not head.strip(_BLANKS):
        raise UsageError(f"{file.location} is empty")
    if head.lstrip(_BLANKS).startswith(b"<"):
        raise UsageError(
            f"{file.location} is a web page or XML, not a catalog",
            hint="Check the address: servers also send web pages for errors and logins.",
        )
    return head


def is_json(file: CatalogFile) -> bool:
    return read_head(file).lstrip(_BLANKS)[:1] in (b"{", b"[")


def is_archive(file: CatalogFile) -> bool:
    return read_head(file).startswith(_ZIP_MAGIC)


def read_json(file: CatalogFile) -> bytes:
    """Read a JSON file, without a byte order mark. Raises UsageError if it is too large."""
    with open_regular(file.path) as stream:
        content = stream.read(_MAX_JSON_BYTES + 1)
    if len(content) > _MAX_JSON_BYTES:
        raise UsageError(
            f"{file.location} is larger than {_MAX_JSON_BYTES // 2**20} MiB",
            hint="Use the CSV file of the same list, or the file of one region.",
        )
    return content.removeprefix(_BLANKS[:3])
