"""Read JSON files of a model that nobody has checked: of limited size, and with typed contents."""

from __future__ import annotations

from pathlib import Path
from typing import TypeVar

import msgspec

from app.errors import UsageError
from app.inference.folder_file import find_file_in_folder
from app.inference.tensor_spec import printable
from loadgen.decoding import decode_json
from loadgen.regular_files import open_regular

_T = TypeVar("_T")
MAX_CONFIG_BYTES = 4 << 20
MAX_INDEX_BYTES = 64 << 20


def read_json(folder: Path, name: str, value_type: type[_T], max_bytes: int = MAX_CONFIG_BYTES) -> _T:
    """Read a JSON file in the folder of a model. Raises UsageError if the file is too large, is not
    valid, or lies outside the folder."""
    file = find_file_in_folder(folder, name, "its configuration is")
    if file.size_bytes > max_bytes:
        raise UsageError(
            f"{file.name} has {file.size_bytes:,} bytes, above the maximum of {max_bytes:,}",
            hint="Check that the file belongs to the model.",
        )
    with open_regular(folder / name) as stream:
        content = stream.read(file.size_bytes)
    return decode(content, value_type, file.name)


def decode(content: bytes, value_type: type[_T], name: str) -> _T:
    """Decode JSON from the file `name`. Raises UsageError if it is not valid."""
    try:
        return decode_json(content, value_type)
    except msgspec.MsgspecError as error:
        raise UsageError(
            f"{name} is not valid: {printable(str(error))}", hint="Download the file again, or export the model again."
        ) from error
