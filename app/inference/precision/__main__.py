"""Child process that converts one model within resource limits. It writes the converted model,
tests it, and prints a ConversionResult as JSON."""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

import msgspec

from app.errors import SizewiseError, UsageError
from app.inference.child import exit_with_parent, run_reporting_errors
from app.inference.model_file import check_model_file
from app.inference.output_capture import capture_output
from app.inference.precision.conversion_records import ConversionJob, ConversionResult, limit_memory
from app.inference.rows import Feeds, build_synthetic_feeds
from app.inference.tensor_spec import printable
from loadgen.decoding import decode_json


def main() -> None:
    exit_with_parent()
    job = decode_json(sys.argv[1], ConversionJob)
    # The parent deletes this folder, even if this process is killed.
    tempfile.tempdir = str(Path(job.output_path).parent)
    with capture_output():  # The tools print hints, warnings and progress.
        result = _convert_or_raise(job)
    sys.stdout.buffer.write(msgspec.json.encode(result))


def _convert_or_raise(job: ConversionJob) -> ConversionResult:
    try:
        return _convert(job)
    except SizewiseError:
        raise
    except Exception as error:  # The conversion libraries may raise any error for an unexpected model.
        message = next(iter(str(error).strip().splitlines()), "")
        if isinstance(error, MemoryError) or "bad_alloc" in message:
            raise UsageError(
                "the conversion needs far more memory than expected from the model size",
                hint="Convert the model on another machine, and measure the result with precision as-is.",
            ) from error
        raise UsageError(
            f"ONNX Runtime's tools failed: {printable(message) or type(error).__name__}",
            hint="Convert the model with the tool that exported it, and measure the result with precision as-is.",
        ) from error


def _convert(job: ConversionJob) -> ConversionResult:
    path, output_path = Path(job.model), Path(job.output_path)
    check_model_file(path)
    from app.inference.precision.source import load_source_model
    from app.inference.precision.trial import open_on_cpu, run_converted_model

    limit_memory(job.model_bytes)
    model = load_source_model(path)
    original_session = open_on_cpu(path)
    batches: list[Feeds] = []
    if job.calibration is not None:
        from app.inference.precision.int8 import load_calibration_batches

        batches = load_calibration_batches(Path(job.calibration), job.inputs, original_session.inputs)
    if job.precision == "fp16":
        from app.inference.precision.fp16 import convert_to_fp16

        notes = convert_to_fp16(model, output_path)
    elif job.precision == "int8-dynamic":
        from app.inference.precision.int8 import convert_to_int8_dynamic

        notes = convert_to_int8_dynamic(model, output_path, job.has_7_bit_weights)
    else:
        from app.inference.precision.int8 import convert_to_int8_static

        notes = convert_to_int8_static(model, output_path, job.has_7_bit_weights, batches)
    trial_notes = run_converted_model(
        original_session, output_path, batches[0] if batches else build_synthetic_feeds(original_session.inputs, 1)
    )
    rows = sum(len(next(iter(batch.values()))) for batch in batches)
    return ConversionResult(calibration_rows=rows or None, notes=(*notes, *trial_notes))


if __name__ == "__main__":
    sys.exit(run_reporting_errors(main))
