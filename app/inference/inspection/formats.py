"""Detect the format of a language model before its files are read."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

from app.errors import UsageError
from app.records.language_model import GENAI_CONFIG_NAME, LanguageModelFormat
from loadgen.regular_files import open_regular

GGUF_MAGIC = b"GGUF"
_GGUF_SUFFIX, SAFETENSORS_SUFFIX = ".gguf", ".safetensors"
_FOLDER_HINT = (
    "Set a folder with genai_config.json (ONNX Runtime GenAI), or with config.json and safetensors files (Hugging "
    "Face)."
)


@contextlib.contextmanager
def report_unreadable(model: Path) -> Iterator[None]:
    """Raise UsageError if the operating system refuses to read a file of a model."""
    try:
        yield
    except OSError as error:
        raise UsageError(
            f"{model.name} cannot be read: {error.strerror}", hint="Check the permissions of its files."
        ) from error


def find_language_model_format(path: Path) -> LanguageModelFormat | None:
    """Return the format of a language model; `None` for a file of another kind, such as an ONNX
    model. Raises UsageError for a folder that is no language model, and for a missing file."""
    with report_unreadable(path):
        return _find_format(path)


def _find_format(path: Path) -> LanguageModelFormat | None:
    if path.is_dir():
        return _find_folder_format(path)
    if not path.is_file():
        if path.suffix in (_GGUF_SUFFIX, SAFETENSORS_SUFFIX):
            problem = "is not a file" if path.exists() else "does not exist"
            raise UsageError(f"the model {path} {problem}", hint="Set the path of a file or folder of a model.")
        return None
    if path.suffix == SAFETENSORS_SUFFIX:
        return "safetensors"
    with open_regular(path) as file:
        has_magic = file.read(len(GGUF_MAGIC)) == GGUF_MAGIC
    return "gguf" if has_magic or path.suffix == _GGUF_SUFFIX else None


def _find_folder_format(folder: Path) -> LanguageModelFormat:
    names = {path.name for path in folder.iterdir()}
    if GENAI_CONFIG_NAME in names:
        return "genai"
    if any(name.endswith(SAFETENSORS_SUFFIX) for name in names):
        return "safetensors"
    gguf_names = sorted(name for name in names if name.endswith(_GGUF_SUFFIX))
    if gguf_names:
        raise UsageError(
            f"{folder} is a folder with {len(gguf_names)} GGUF files", hint="Set the path of one file, the first shard."
        )
    raise UsageError(f"{folder} is a folder without a language model", hint=_FOLDER_HINT)
