"""The converting child process: converts one model within limits, tries it, writes a draft, and prints a Delivery as
JSON.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

import msgspec

from app.errors import SizewiseError, UsageError
from app.inference.child import leave_with_parent, reported
from app.inference.model_file import check_model_file
from app.inference.output_capture import captured_output
from app.inference.precision.made import Delivery, Order, limit_memory
from app.inference.rows import Feeds, synthetic_feeds
from app.inference.tensor_spec import printable
from loadgen.decoding import decode_json


def main() -> None:
    leave_with_parent()
    order = decode_json(sys.argv[1], Order)
    # The parent deletes this folder, whatever happens to this process.
    tempfile.tempdir = str(Path(order.draft).parent)
    with captured_output():  # The tools print advice, warnings and progress.
        delivery = _convert_or_explain(order)
    sys.stdout.buffer.write(msgspec.json.encode(delivery))


def _convert_or_explain(order: Order) -> Delivery:
    try:
        return _convert(order)
    except SizewiseError:
        raise
    except Exception as error:  # Three libraries may raise any error on a model that they did not foresee.
        message = next(iter(str(error).strip().splitlines()), "")
        if isinstance(error, MemoryError) or "bad_alloc" in message:
            raise UsageError(
                "it takes far more memory than its size tells", hint="Make it elsewhere and measure that file as it is."
            ) from error
        raise UsageError(
            f"ONNX Runtime's tools fail on it: {printable(message) or type(error).__name__}",
            hint="Make it with the tool that exported it, and measure that file as it is.",
        ) from error


def _convert(order: Order) -> Delivery:
    path, draft = Path(order.model), Path(order.draft)
    check_model_file(path)
    from app.inference.precision.source import source_model
    from app.inference.precision.trial import opened, try_made

    limit_memory(order.model_bytes)
    model = source_model(path)
    original = opened(path)
    batches: list[Feeds] = []
    if order.calibration is not None:
        from app.inference.precision.int8 import load_batches

        batches = load_batches(Path(order.calibration), order.inputs, original.inputs)
    if order.precision == "fp16":
        from app.inference.precision.fp16 import make_fp16

        notes = make_fp16(model, draft)
    elif order.precision == "int8-dynamic":
        from app.inference.precision.int8 import make_int8_dynamic

        notes = make_int8_dynamic(model, draft, order.spares_a_bit)
    else:
        from app.inference.precision.int8 import make_int8_static

        notes = make_int8_static(model, draft, order.spares_a_bit, batches)
    trial_notes = try_made(original, draft, batches[0] if batches else synthetic_feeds(original.inputs, 1))
    rows = sum(len(next(iter(batch.values()))) for batch in batches)
    return Delivery(calibration_rows=rows or None, notes=(*notes, *trial_notes))


if __name__ == "__main__":
    sys.exit(reported(main))
