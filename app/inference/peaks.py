"""Peak rates of this machine's CPU for the roofline of a model, measured with ONNX Runtime.

When run as a program in a child process, the module prints the peak rates."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from tempfile import TemporaryDirectory
from time import perf_counter_ns
from typing import TYPE_CHECKING

import msgspec

from app.inference.child import exit_with_parent, run_reporting_errors
from app.records.local import Peaks
from loadgen.decoding import decode_json

if TYPE_CHECKING:
    from app.inference.peak_graphs import PeakGraph

_DURATION_NS = 250_000_000
_MIN_CALLS = 3


def measure_peaks(threads: int, weight_bytes: int, timeout_s: float = 60.0) -> dict[str, Peaks]:
    """Measure the peak rates of this CPU for fp32, fp16 and int8: operations/s, and memory
    bandwidth in bytes/s. fp16 has no peak in operations/s, because a CPU computes fp16 in fp32.

    Each rate is the highest of all calls within 0.25 s; other load on the same cores reduces the
    rates. The bandwidth is measured by reading `weight_bytes` bytes of weights (limited to 4 to 128
    MiB). Like the weights of a model of this size, they may be cached. The measurement runs in a
    child process, so that its buffers are released. Raises UsageError for more threads than cores,
    and MeasurementError if the child process fails."""
    from app.inference.parent import run_child

    description = "the measurement of this CPU's peaks"
    arguments = ["--threads", str(threads), "--weight-bytes", str(weight_bytes)]
    output = run_child(description, "app.inference.peaks", *arguments, timeout_s=timeout_s)
    return decode_json(output, dict[str, Peaks])


def _main() -> None:
    exit_with_parent()
    parser = argparse.ArgumentParser(prog="python -m app.inference.peaks", allow_abbrev=False)
    parser.add_argument("--threads", type=int, required=True)
    parser.add_argument("--weight-bytes", type=int, required=True)
    arguments = parser.parse_args()
    sys.stdout.buffer.write(msgspec.json.encode(_measure_all_peaks(arguments.threads, arguments.weight_bytes)))


def _measure_all_peaks(threads: int, weight_bytes: int) -> dict[str, Peaks]:
    from app.inference.peak_graphs import build_float_product, build_integer_product, build_weight_read
    from app.inference.session import get_runtime_version

    runtime = f"ONNX Runtime {get_runtime_version()}"
    cpu_text = f"this CPU with {threads} thread{'s' if threads > 1 else ''}"
    with TemporaryDirectory() as folder:
        read_graph = build_weight_read(Path(folder), weight_bytes)
        float_graph, integer_graph = build_float_product(Path(folder)), build_integer_product(Path(folder))
        bytes_per_s = _measure_best_rate_per_s(read_graph, threads)
        rates_by_arithmetic = {
            "fp32": _measure_best_rate_per_s(float_graph, threads),
            "int8": _measure_best_rate_per_s(integer_graph, threads),
            "fp16": None,
        }
    sources = {
        "fp32": f"{runtime}: {float_graph.description}; {read_graph.description}",
        "int8": f"{runtime}: {integer_graph.description}; {read_graph.description}",
        # fp16 is converted to fp32 and back, so it has no separate peak.
        "fp16": f"{runtime}: {read_graph.description}; fp16 is computed in fp32 on a CPU",
    }
    return {
        arithmetic: Peaks(
            name=f"{cpu_text} in {arithmetic}",
            flops_per_s=flops_per_s,
            bytes_per_s=bytes_per_s,
            basis="measured",
            source=sources[arithmetic],
        )
        for arithmetic, flops_per_s in rates_by_arithmetic.items()
    }


def _measure_best_rate_per_s(graph: PeakGraph, threads: int) -> float:
    """Measure the highest rate of all calls of a benchmark model, in operations/s or bytes/s. The
    first call, which allocates buffers, is not counted."""
    from app.inference.session import open_session

    session = open_session(graph.model, "cpu", threads)
    session.run(graph.feeds)
    min_duration_ns, call_count = sys.maxsize, 0
    deadline_ns = perf_counter_ns() + _DURATION_NS
    while call_count < _MIN_CALLS or perf_counter_ns() < deadline_ns:
        start_ns = perf_counter_ns()
        session.run(graph.feeds)
        min_duration_ns = min(min_duration_ns, perf_counter_ns() - start_ns)
        call_count += 1
    return graph.work_per_call / min_duration_ns * 1e9


if __name__ == "__main__":
    sys.exit(run_reporting_errors(_main))
