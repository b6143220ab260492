"""Child process that inspects one model within resource limits, without running it, and prints
its ModelMetadata as MessagePack."""

from __future__ import annotations

import sys
from pathlib import Path

import msgspec

from app.errors import UsageError
from app.inference.child import exit_with_parent, run_reporting_errors
from app.inference.inspection.limits import limit_this_process
from app.inference.inspection.metadata import read_model_metadata
from app.inference.model_file import check_model_file
from app.records.model import ShapeOverrides
from loadgen.decoding import decode_json


def main() -> None:
    exit_with_parent()
    path, shapes = Path(sys.argv[1]), decode_json(sys.argv[2], ShapeOverrides)
    check_model_file(path)
    limit_this_process(path.stat().st_size)
    try:
        metadata = read_model_metadata(path, shapes)
    except (MemoryError, RecursionError) as error:
        raise UsageError(
            f"{path.name} is rejected: reading it needs far more memory than expected from its size",
            hint="Export the model again with a tool you trust.",
        ) from error
    sys.stdout.buffer.write(msgspec.msgpack.encode(metadata))


if __name__ == "__main__":
    sys.exit(run_reporting_errors(main))
