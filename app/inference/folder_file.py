"""Check a file that a model refers to: it must be a regular file in the folder of the model."""

from __future__ import annotations

import stat
from pathlib import Path, PurePosixPath, PureWindowsPath

from app.errors import UsageError
from app.inference.tensor_spec import printable
from app.records.model import ExternalFile

EXPORT_HINT = "Export the model again, with its weights in plain files in its own folder or in the model itself."


def find_file_in_folder(folder: Path, location: str, contents: str = "its weights are") -> ExternalFile:
    """Return the size of a file that a model refers to by its location in the folder of the model.
    `contents` begins the sentence of the error about the file.

    Raises UsageError for a file outside the folder, a file that is not a regular file, and a file
    with several hard links."""
    display_name = printable(location)
    if not location or "\0" in location:
        raise build_rejection_error("it refers to external weights without a file name")
    for pure_path in (PurePosixPath(location), PureWindowsPath(location)):
        if pure_path.is_absolute() or pure_path.drive or pure_path.root:
            raise build_rejection_error(f"{contents} in {display_name}, an absolute path")
        if ".." in pure_path.parts:
            raise build_rejection_error(f"{contents} in {display_name}, outside the model's folder")
    file = folder / location
    try:
        is_inside = file.resolve(strict=True).is_relative_to(folder.resolve())
        status = file.stat()
    except (OSError, RuntimeError) as error:
        # A cycle of symbolic links raises RuntimeError in older versions of Python.
        raise build_rejection_error(f"{contents} in {display_name}, which cannot be read") from error
    if not is_inside:
        raise build_rejection_error(
            f"{contents} in {display_name}, a symbolic link to a file outside the model's folder"
        )
    if not stat.S_ISREG(status.st_mode):
        raise build_rejection_error(f"{contents} in {display_name}, which is not a regular file")
    if status.st_nlink > 1:
        raise build_rejection_error(f"{contents} in {display_name}, a file with several hard links")
    return ExternalFile(display_name, status.st_size)


def build_rejection_error(reason: str) -> UsageError:
    return UsageError(f"the model is rejected: {reason}", hint=EXPORT_HINT)
