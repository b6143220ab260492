"""Read the text on which the quality of language models is evaluated. The file is untrusted."""

from __future__ import annotations

from pathlib import Path

from app.errors import UsageError

MAX_TEXT_BYTES = 2**23
"""Maximum size of the text in bytes. The test set of WikiText-2 has 1.3 MB."""


def read_evaluation_text(path: Path) -> str:
    """Read a text file in UTF-8. Raises UsageError if it does not exist, is too large, is empty or
    has another encoding."""
    if not path.is_file():
        raise UsageError(f"the text {path} is not a file", hint="Set the path of a text file in UTF-8.")
    try:
        with path.open("rb") as file:
            content = file.read(MAX_TEXT_BYTES + 1)
    except OSError as error:
        raise UsageError(f"the text {path} cannot be read: {error.strerror}", hint="Check its permissions.") from error
    if len(content) > MAX_TEXT_BYTES:
        raise UsageError(
            f"the text {path.name} exceeds the maximum of {MAX_TEXT_BYTES} bytes", hint="Use a part of the text."
        )
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise UsageError(
            f"the text {path.name} is not valid UTF-8 at byte {error.start}", hint="Convert the file to UTF-8."
        ) from error
    if not text.strip() or "\0" in text:
        problem = "contains NUL characters" if "\0" in text else "is empty"
        raise UsageError(f"the text {path.name} {problem}", hint="Set the path of a text file in UTF-8.")
    return text
