"""Overhead of measuring a local model: `python -m tests.performance.local_harness`. Four minutes.

The budgets: at least 98 % of the throughput of a bare loop of `session.run`, on small models at most 20 µs a call more,
1 % for telemetry; and an int8 model is converted only once.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import threading
from collections.abc import Mapping
from pathlib import Path
from time import perf_counter_ns, thread_time_ns

import pyarrow as pa
from msgspec.structs import astuple
from onnx import helper

from app.inference.callers import PlainCaller
from app.inference.job import CallRows, Measure, MeasurementStarted, VariantJob
from app.inference.probe import DIGITS_MODEL
from app.inference.process import VariantProcess
from app.inference.rows import Array, SyntheticRows
from app.inference.sampling import OutputSampler
from app.inference.scenarios import run_scenario
from app.inference.session import ModelSession, open_session
from app.records.calls import COLUMNS
from app.telemetry.sampler import Sampler
from tests.fakes.graphs import graph_of, write_graph
from tests.performance.kept_precision import show_cache
from tests.performance.pairs import RoundResult, format_pairs, load_average, measure_pairs

MODELS = Path(__file__).parents[2] / "profiles" / "models"
NVML = Path(__file__).parents[1] / "fakes" / "nvml" / "simulated_nvml.c"
ROUND_S = 0.25
PAIRS = 60
CHILD_PAIRS = 40
TELEMETRY_ROUND_S = 0.5


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument(
        "--bare", metavar="MODEL", help="be the child that runs a bare loop of it at each line it reads"
    )
    parser.add_argument("--telemetry", metavar="MODEL", help="with the sampler and without, on this driver")
    arguments = parser.parse_args()
    if arguments.bare:
        loop_on_demand(Path(arguments.bare))
    elif arguments.telemetry:
        show_telemetry(Path(arguments.telemetry))
    else:
        show_all()


def show_all() -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        models = [tiny(folder / "tiny.onnx"), MODELS / "fraud.onnx", DIGITS_MODEL]
        print(f"-- the harness in this process, beside a bare loop: {PAIRS} pairs of {ROUND_S:g} s, {load_average()}")
        for model in models:
            show_harness(model)
        print(f"-- app.inference.worker, beside a child with a bare loop: {CHILD_PAIRS} pairs, {load_average()}")
        for model in models:
            show_child(model)
        show_with_simulated_gpu(folder, DIGITS_MODEL)
        show_cache(folder / "cache")
    print("must: at least 98 %, of the tiny model at most 20 µs a call more; with telemetry at least 99 %")


def tiny(path: Path) -> Path:
    """Two layers with calls of some 5 µs, nearly all of it in the runtime and the binding."""
    nodes = [
        helper.make_node("MatMul", ["x", "w1"], ["h"]),
        helper.make_node("Add", ["h", "b"], ["k"]),
        helper.make_node("MatMul", ["k", "w2"], ["y"]),
    ]
    return write_graph(path, graph_of(nodes, {"x": ["batch", 64]}, {"w1": [64, 256], "b": [256], "w2": [256, 64]}))


def show_harness(model: Path) -> None:
    session = open_session(model, "cpu", threads=1)
    rows = SyntheticRows(session.inputs, 1)
    feeds = rows.batch(0, 1)
    print(
        format_pairs(
            f"{model.stem}, in process",
            measure_pairs(lambda: bare_loop(session, feeds), lambda: harness(session, rows), PAIRS),
        ),
        flush=True,
    )


def bare_loop(session: ModelSession, feeds: Mapping[str, Array]) -> RoundResult:
    run, names = session.runtime_session.run, [output.name for output in session.outputs]
    calls, cpu_ns = 0, thread_time_ns()
    start_ns = now_ns = perf_counter_ns()
    while now_ns < start_ns + ROUND_S * 1e9:
        run(names, feeds)
        calls, now_ns = calls + 1, perf_counter_ns()
    return RoundResult(calls / (now_ns - start_ns) * 1e9, (thread_time_ns() - cpu_ns) / calls / 1e3)


def harness(session: ModelSession, rows: SyntheticRows) -> RoundResult:
    received = CallCounter()
    caller = PlainCaller(session, rows, 1, lambda outputs: None)
    cpu_ns = thread_time_ns()
    ended = run_scenario(
        plan_measurement(ROUND_S), [caller], range(len(rows)), received, OutputSampler(is_enabled=False)
    )
    cpu_us = (thread_time_ns() - cpu_ns) / received.count / 1e3
    return RoundResult(received.count / (ended.end_ns - received.start_ns) * 1e9, cpu_us)


def plan_measurement(seconds: float) -> Measure:
    """A measurement without a warm-up that uses the whole time: no interval is narrow enough to end it early."""
    return Measure(
        scenario="single-stream", batch=1, streams=1, min_duration_s=0.0, max_duration_s=seconds, half_width=0.0,
        min_calls=1, max_warmup_s=0.0,
    )  # fmt: skip


class CallCounter:
    """Counts the reported calls of a scenario."""

    def __init__(self) -> None:
        self.start_ns = self.count = 0

    def on_started(self, start_ns: int, warmup_windows: int, is_stationary: bool) -> None:
        self.start_ns = start_ns

    def on_calls(self, packed: bytes) -> None:
        self.count += len(packed) // (8 * len(COLUMNS))

    def on_report(self, report: MeasurementStarted | CallRows) -> None:
        match report:
            case MeasurementStarted():
                self.on_started(report.start_ns, report.warmup_windows, report.is_stationary)
            case CallRows():
                self.on_calls(report.packed)


def show_child(model: Path) -> None:
    variant = VariantProcess(model.stem, VariantJob(model=str(model), provider="cpu", batch=1))
    variant.wait_until_open(60)
    command = [sys.executable, "-m", "tests.performance.local_harness", "--bare", str(model)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as child:
        assert child.stdin is not None
        assert child.stdout is not None
        stdin, stdout = child.stdin, child.stdout

        def bare() -> RoundResult:
            stdin.write("again\n")
            stdin.flush()
            return RoundResult(*json.loads(stdout.readline()))

        print(
            format_pairs(
                f"{model.stem}, child", measure_pairs(bare, lambda: measure_round(variant, ROUND_S), CHILD_PAIRS)
            ),
            flush=True,
        )
    variant.close()


def loop_on_demand(model: Path) -> None:
    session = open_session(model, "cpu", threads=1)
    feeds = SyntheticRows(session.inputs, 1).batch(0, 1)
    for _ in sys.stdin:
        print(json.dumps(astuple(bare_loop(session, feeds))), flush=True)


def measure_round(variant: VariantProcess, seconds: float) -> RoundResult:
    received, before = CallCounter(), run_and_wait_ns(variant.pid)
    ended = variant.measure(plan_measurement(seconds), received.on_report)
    after = run_and_wait_ns(variant.pid)
    duration_ns = ended.end_ns - received.start_ns
    return RoundResult(
        calls_per_s=received.count / duration_ns * 1e9,
        cpu_us=(after[0] - before[0]) / received.count / 1e3,
        waited=(after[1] - before[1]) / duration_ns,
    )


def run_and_wait_ns(pid: int) -> tuple[int, int]:
    """Times of the model's main thread by the kernel: on a core, and runnable without one."""
    ran, waited, _ = Path(f"/proc/{pid}/schedstat").read_text(encoding="ascii").split()
    return int(ran), int(waited)


def show_with_simulated_gpu(folder: Path, model: Path) -> None:
    library = folder / "libnvidia-ml.so.1"
    subprocess.run(["cc", "-O2", "-shared", "-fPIC", "-o", library, NVML], check=True)
    environment = os.environ | {"LD_LIBRARY_PATH": str(folder), "NVML_STAND_IN_GPUS": "1"}
    command = [sys.executable, "-m", "tests.performance.local_harness", "--telemetry", str(model)]
    subprocess.run(command, env=environment, check=True)


def show_telemetry(model: Path) -> None:
    print(f"-- telemetry of host, processes and one simulated GPU: {CHILD_PAIRS} pairs, {load_average()}")
    variant = VariantProcess(model.stem, VariantJob(model=str(model), provider="cpu", batch=1))
    variant.wait_until_open(60)

    def measure_watched_round() -> RoundResult:
        batches: list[pa.RecordBatch] = []
        sampler = Sampler()
        sampler.watch("engine", os.getpid())
        sampler.watch("model", variant.pid)
        sampler.start(batches.append)
        threading.Event().wait(0.2)  # opening the driver and describing its GPUs is no sampling
        done = measure_round(variant, TELEMETRY_ROUND_S)
        sampler.close()
        assert any("gpu0" in batch.column("source").to_pylist() for batch in batches)
        return done

    pairs = measure_pairs(lambda: measure_round(variant, TELEMETRY_ROUND_S), measure_watched_round, CHILD_PAIRS)
    print(format_pairs(f"{model.stem}, telemetry on", pairs), flush=True)
    variant.close()


if __name__ == "__main__":
    main()
