"""Child process that inspects one model within resource limits, without running it, and prints its
ModelMetadata or LanguageModelMetadata as MessagePack."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from app.errors import UsageError
from app.inference.child import exit_with_parent, run_reporting_errors
from app.inference.inspection.limits import limit_this_process
from app.inference.model_file import check_model_file
from app.records.model import ShapeOverrides
from loadgen.decoding import decode_json

if TYPE_CHECKING:
    from app.records.language_model import LanguageModelMetadata
    from app.records.model import ModelMetadata


def main() -> None:
    exit_with_parent()
    path = Path(sys.argv[1])
    try:
        metadata = _read_onnx_model(path, sys.argv[2]) if len(sys.argv) > 2 else _read_language_model(path)
    except (MemoryError, RecursionError) as error:
        raise UsageError(
            f"{path.name} is rejected: reading it needs far more memory than expected from its size",
            hint="Export the model again with a tool you trust.",
        ) from error
    sys.stdout.buffer.write(msgspec.msgpack.encode(metadata))


def _read_onnx_model(path: Path, shapes: str) -> ModelMetadata:
    from app.inference.inspection.metadata import read_model_metadata

    shape_overrides = decode_json(shapes, ShapeOverrides)
    check_model_file(path)
    limit_this_process(path.stat().st_size)
    return read_model_metadata(path, shape_overrides)


def _read_language_model(path: Path) -> LanguageModelMetadata:
    from app.inference.inspection.language_model import estimate_header_bytes, read_language_model

    limit_this_process(estimate_header_bytes(path))
    return read_language_model(path)


if __name__ == "__main__":
    sys.exit(run_reporting_errors(main))
