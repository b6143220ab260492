"""The user's price list that was imported: kept beside the runs, and over the bundled catalogue in every plan."""

from __future__ import annotations

import os
from pathlib import Path

import msgspec

from app.errors import UsageError
from app.records.prices import PriceList, PriceRow
from loadgen.decoding import decode_json

VERSION = 1
_AGAIN = "Import the price list again with `sizewise offers import`, or remove this file."


def imported_path() -> Path:
    """In SIZEWISE_HOME, else in the user's data folder, as the runs are."""
    home = os.environ.get("SIZEWISE_HOME")
    if home:
        return Path(home) / "offers.json"
    import platformdirs

    return Path(platformdirs.user_data_dir("sizewise", appauthor=False)) / "offers.json"


def imported_list() -> PriceList | None:
    """None where none was imported. Raises UsageError where it cannot be read."""
    path = imported_path()
    try:
        found = decode_json(path.read_bytes(), PriceList)
    except FileNotFoundError:
        return None
    except (OSError, msgspec.DecodeError) as error:
        raise UsageError(f"{path} cannot be read: {error}", hint=_AGAIN) from error
    if found.version != VERSION:
        raise UsageError(f"{path} is of version {found.version}; this Sizewise reads {VERSION}", hint=_AGAIN)
    return found


def imported_rows() -> tuple[PriceRow, ...]:
    found = imported_list()
    return () if found is None else found.rows


def encoded(prices: PriceList) -> bytes:
    return msgspec.json.format(msgspec.json.encode(prices), indent=2) + b"\n"
