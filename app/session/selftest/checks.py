"""All checks of the self-test, which are run one after another.

- Clock: the clock never goes backward, has a fine resolution, runs at the same speed as the wall
  clock, and is shared by the workers.
- Percentiles: percentile estimates are correct for distributions with known quantiles.
- Store: a run that was truncated at any byte is readable up to the last complete record.
- Stall: if a server freezes, the latency of all requests with a scheduled start during the freeze
  includes the wait, even if they were sent later.
- Injection: a delay added to the server is measured, and no response is lost.
- Generator capacity: the load generator reaches a sufficient rate on a server that responds
  immediately."""

from __future__ import annotations

import bisect
import math
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack
from itertools import accumulate
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
from msgspec.structs import replace

from app import __version__
from app.errors import MeasurementError, SizewiseError
from app.records.metrics import PERCENTILES
from app.records.result import Estimate
from app.records.selftest import Finding, SelfTest, build_finding, build_selftest
from app.session.calibration import measure_capacity
from app.session.dependencies import LoadGenerator
from app.session.interruption import Interruption
from app.session.limits import LimitMonitor
from app.session.selftest.bench import LEAD_IN_S, SelfTestBench, SelfTestDependencies, get_metric_value
from app.session.spec import LimitSpec
from app.storage.run_directory import EVENTS, REQUESTS, StoredRun
from app.telemetry.clock import ClockReading
from loadgen.process import LoadError
from loadgen.reference.script import Script

_CLOCK_READING_COUNT = 20_000
_MAX_RESOLUTION_NS = 10_000
_MAX_DRIFT = 0.001
_MAX_SUSPENDED_S = 1.0


def check_clock(
    now_ns: Callable[[], int], start_clock: ClockReading, end_clock: ClockReading, rows: pa.Table
) -> Iterator[Finding]:
    """Yield findings about the clock. `rows` contains requests whose timestamps the workers took
    between the two clock readings."""
    steps_ns = np.diff(np.array([now_ns() for _ in range(_CLOCK_READING_COUNT)], np.int64))
    forward_steps_ns = steps_ns[steps_ns > 0]
    yield build_finding("clock", "backward steps", float(np.count_nonzero(steps_ns < 0)), high=0, unit=None)
    yield build_finding(
        "clock",
        "resolution",
        float(forward_steps_ns.min()) if forward_steps_ns.size else None,
        high=_MAX_RESOLUTION_NS,
        unit="ns",
    )
    ratio = end_clock.compute_wall_to_monotonic_ratio(start_clock)
    yield build_finding(
        "clock",
        "drift from the wall clock",
        None if ratio is None else 1e6 * abs(ratio - 1),
        high=1e6 * _MAX_DRIFT,
        unit="ppm",
    )
    suspended_s = end_clock.compute_suspended_s(start_clock)
    if suspended_s is not None:
        yield build_finding("clock", "time suspended", suspended_s, high=_MAX_SUSPENDED_S, unit="s")
    yield build_finding(
        "clock", "timestamps outside the test", _count_rows_outside(rows, start_clock, end_clock), high=0, unit=None
    )


def _count_rows_outside(rows: pa.Table, start_clock: ClockReading, end_clock: ClockReading) -> float | None:
    if not rows.num_rows:
        return None
    is_early = pc.less(rows["sent_ns"], start_clock.monotonic_ns)
    is_late = pc.greater(rows["end_ns"], end_clock.monotonic_ns)
    return float(pc.sum(pc.or_(is_early, is_late)).as_py() or 0)


Values = npt.NDArray[np.float64]

_VALUE_COUNT = 100_000
_MAX_ERROR = 0.001
_SAMPLE_COUNT, _SAMPLE_SIZE, _COVERAGE_PERCENTILE = 400, 1_000, "p95"
_COVERAGE_RANGE = (0.93, 0.99)
"""Accepted range of the coverage of 95 % confidence intervals. It extends four standard errors (400
samples) around the expected coverage, which is slightly above 95 % because order statistics are
discrete."""

_QUANTILES: dict[str, Callable[[Values], Values]] = {
    "uniform": lambda p: 1 + 99 * p,
    "exponential": lambda p: -20 * np.log1p(-p),
    "Pareto": lambda p: 5 * (1 - p) ** (-1 / 1.5),
    "logistic": lambda p: 500 + 40 * np.log(p / (1 - p)),
    "Weibull": lambda p: 10 * (-np.log1p(-p)) ** (1 / 0.6),
    "two points": lambda p: np.where(p < 0.97, 10.0, 900.0),
    "one point": lambda p: np.full_like(p, 12.5),
}


def check_percentiles(estimate_percentiles: Callable[[Values], dict[str, Estimate]]) -> Iterator[Finding]:
    """Yield findings about the error of percentile estimates, and about the coverage of their
    confidence intervals."""
    rng = np.random.default_rng(1)
    max_error = 0.0
    for compute_quantile in _QUANTILES.values():
        sorted_values = compute_quantile((np.arange(_VALUE_COUNT) + 0.5) / _VALUE_COUNT)
        estimates = estimate_percentiles(rng.permutation(sorted_values))
        for name, q in PERCENTILES.items():
            true_value, estimated_value = (
                float(sorted_values[math.ceil(_VALUE_COUNT * q - 1e-9) - 1]),
                estimates[name].value,
            )
            max_error = max(max_error, math.inf if estimated_value is None else abs(estimated_value / true_value - 1))
    yield build_finding(
        "percentiles",
        f"largest error over {len(_QUANTILES)} distributions of {_VALUE_COUNT:,} values",
        100 * max_error if math.isfinite(max_error) else None,
        high=100 * _MAX_ERROR,
        unit="%",
    )
    yield build_finding(
        "percentiles",
        f"coverage of the 95 % CI of a {_COVERAGE_PERCENTILE} ({_SAMPLE_COUNT} samples)",
        100 * _compute_coverage(estimate_percentiles, rng),
        low=100 * _COVERAGE_RANGE[0],
        high=100 * _COVERAGE_RANGE[1],
        unit="%",
    )


def _compute_coverage(estimate_percentiles: Callable[[Values], dict[str, Estimate]], rng: np.random.Generator) -> float:
    true_value = -math.log1p(-PERCENTILES[_COVERAGE_PERCENTILE])
    intervals = (
        estimate_percentiles(rng.exponential(1.0, _SAMPLE_SIZE))[_COVERAGE_PERCENTILE].ci95
        for _ in range(_SAMPLE_COUNT)
    )
    return (
        sum(interval is not None and interval[0] <= true_value <= interval[1] for interval in intervals) / _SAMPLE_COUNT
    )


_TRUNCATION_COUNT = 60


def check_store(directory: Path, sent: int, open_run: Callable[[Path], StoredRun]) -> Iterator[Finding]:
    """Yield findings about reading stored rows and events.

    `directory` contains the rows and events of a run that sent `sent` requests. Truncated copies of
    the run are created in `directory`."""
    rows = open_run(directory).requests()
    yield build_finding("store", "stored rows read back", float(rows.num_rows), low=sent, high=sent, unit=None)
    rng, failure_count = np.random.default_rng(1), 0
    request_content, event_content = (directory / REQUESTS).read_bytes(), (directory / EVENTS).read_bytes()
    batch_ends, row_counts = _read_batch_ends(directory / REQUESTS)
    for index in range(_TRUNCATION_COUNT):
        copy_directory = directory / f"cut-{index}"
        copy_directory.mkdir()
        request_length, event_length = (
            int(rng.integers(0, len(request_content))),
            int(rng.integers(0, len(event_content))),
        )
        (copy_directory / REQUESTS).write_bytes(request_content[:request_length])
        (copy_directory / EVENTS).write_bytes(event_content[:event_length])
        complete_row_count = row_counts[bisect.bisect_right(batch_ends, request_length)]
        failure_count += not _is_readable(
            open_run, copy_directory, rows.slice(0, complete_row_count), event_content[:event_length].count(b"\n")
        )
    yield build_finding(
        "store", f"read errors in {_TRUNCATION_COUNT} runs truncated at random", float(failure_count), high=0, unit=None
    )


def _is_readable(open_run: Callable[[Path], StoredRun], copy_directory: Path, rows: pa.Table, event_count: int) -> bool:
    try:
        run = open_run(copy_directory)
        return bool(run.requests().equals(rows)) and len(run.events()) == event_count
    except (SizewiseError, pa.ArrowInvalid, OSError):
        return False


def _read_batch_ends(path: Path) -> tuple[list[int], list[int]]:
    """Return the end offset of each batch of rows in the file, and the cumulative row counts, which
    start with 0."""
    ends, row_counts = [], []
    with pa.OSFile(str(path)) as source, pa.ipc.open_stream(source) as stream:
        for batch in stream:
            ends.append(source.tell())
            row_counts.append(batch.num_rows)
    return ends, [0, *accumulate(row_counts)]


STALL_RATE_PER_S, STALL_DURATION_S = 200.0, 6.0
STALL_DELAY_S, FREEZE_START_S, FREEZE_DURATION_S = 0.05, 1.5, 1.0
CONNECTION_COUNT = 20
_TOLERANCE = 0.05


def check_stall(bench: SelfTestBench) -> Iterator[Finding]:
    """Yield findings about the latency measured while a server freezes.

    With few connections, most requests scheduled during the freeze are sent after it.
    Their latency includes the freeze, but their service time does not. At a connection utilization
    of 50 %, draining the backlog takes as long as the freeze."""
    script = Script(delay_s=STALL_DELAY_S, freeze_after_s=LEAD_IN_S + FREEZE_START_S, freeze_s=FREEZE_DURATION_S)
    stage = bench.measure("stall", script, STALL_RATE_PER_S, STALL_DURATION_S, connections=CONNECTION_COUNT)
    for name, q in (("p95", 0.95), ("p99", 0.99)):
        expected_ms = 1e3 * compute_expected_latency_s(q)
        yield build_finding(
            "stall",
            f"{name} latency of a server frozen for {FREEZE_DURATION_S:g} s",
            get_metric_value(stage, "latency_ms", name),
            low=(1 - _TOLERANCE) * expected_ms,
            high=(1 + _TOLERANCE) * expected_ms,
            unit="ms",
        )
    yield build_finding(
        "stall",
        "p95 service time, which must exclude the freeze",
        get_metric_value(stage, "service_ms", "p95"),
        low=1e3 * STALL_DELAY_S,
        high=2e3 * STALL_DELAY_S,
        unit="ms",
    )


def compute_expected_latency_s(q: float) -> float:
    """Return the expected quantile `q` of the latency in s. `q` must be above the proportion of
    requests that did not wait.

    When the freeze ends, all connections receive a response at once, and then one response every
    `STALL_DELAY_S`. A request scheduled t seconds after the start of the freeze therefore receives
    its response (utilization · t) seconds after the end of the freeze. A request that was in flight
    when the freeze started, having been sent up to `STALL_DELAY_S` earlier, receives its response
    at the end of the freeze."""
    utilization = STALL_RATE_PER_S * STALL_DELAY_S / CONNECTION_COUNT
    return FREEZE_DURATION_S + (1 - utilization) * (STALL_DELAY_S - (1 - q) * STALL_DURATION_S)


INJECTION_RATE_PER_S, INJECTION_DURATION_S = 100.0, 2.0
INJECTION_DELAY_S, INJECTED_DELAY_S = 0.02, 0.04
_MAX_OVERHEAD_MS = 5.0


def check_injection(bench: SelfTestBench) -> Iterator[Finding]:
    """Yield findings about a delay that is added to the server and must be measured, about the
    latency overhead, and about lost responses."""
    baseline_stage = bench.measure(
        "injection (baseline)", Script(delay_s=INJECTION_DELAY_S), INJECTION_RATE_PER_S, INJECTION_DURATION_S
    )
    delayed_stage = bench.measure(
        "injection (delayed)",
        Script(delay_s=INJECTION_DELAY_S + INJECTED_DELAY_S),
        INJECTION_RATE_PER_S,
        INJECTION_DURATION_S,
    )
    baseline_ms, delayed_ms = (
        get_metric_value(stage, "latency_ms", "p50") for stage in (baseline_stage, delayed_stage)
    )
    yield build_finding(
        "injection",
        f"p50 latency added by an injected delay of {1e3 * INJECTED_DELAY_S:g} ms",
        None if baseline_ms is None or delayed_ms is None else delayed_ms - baseline_ms,
        low=(1 - _TOLERANCE) * 1e3 * INJECTED_DELAY_S,
        high=(1 + _TOLERANCE) * 1e3 * INJECTED_DELAY_S,
        unit="ms",
    )
    yield build_finding(
        "injection",
        f"p50 latency overhead above the server's {1e3 * INJECTION_DELAY_S:g} ms",
        None if baseline_ms is None else baseline_ms - 1e3 * INJECTION_DELAY_S,
        low=0.0,
        high=_MAX_OVERHEAD_MS,
        unit="ms",
    )
    expected_count = 2 * INJECTION_RATE_PER_S * INJECTION_DURATION_S
    yield build_finding(
        "injection",
        "responses received",
        float(baseline_stage.completed + delayed_stage.completed),
        low=expected_count,
        high=expected_count,
        unit=None,
    )


MIN_CAPACITY_PER_S = 1_000.0
"""Minimum capacity of the load generator in requests/s. With a lower capacity, the load generator
would limit most runs."""


def check_capacity(
    dependencies: SelfTestDependencies, generator: LoadGenerator, interruption: Interruption
) -> Iterator[Finding]:
    """Yield a finding about the capacity of the load generator, measured with a null server."""
    measured_capacity = measure_capacity(
        "plain", generator, dependencies.start_null_server, interruption, dependencies.read_core_use
    )
    yield build_finding(
        "generator capacity",
        "max rate to a no-op server",
        measured_capacity.per_s,
        low=MIN_CAPACITY_PER_S,
        unit="req/s",
    )


_MAX_DURATION_S = 55.0
_MAX_RETRY_START_S = 40.0
"""Time in s since the start of the self-test after which no check is repeated, so that the
self-test ends within a minute."""

CheckFunction = Callable[[], Iterable[Finding]]


def run_selftest(
    dependencies: SelfTestDependencies, interruption: Interruption, on_check: Callable[[str], None]
) -> SelfTest | None:
    """Run the self-test. Return `None` if it was interrupted.

    `on_check` is called with the name of each check before the check runs. Raises MeasurementError
    if a component does not start."""
    with ExitStack() as resources:
        try:
            return _SelfTestRun(dependencies, interruption, on_check, resources).execute()
        except LoadError as error:
            if interruption.is_requested:
                return None
            raise MeasurementError(error.message, hint=error.hint) from error


class _SelfTestRun:
    def __init__(
        self,
        dependencies: SelfTestDependencies,
        interruption: Interruption,
        on_check: Callable[[str], None],
        resources: ExitStack,
    ) -> None:
        self._dependencies, self._interruption = dependencies, interruption
        self._on_check, self._resources = on_check, resources
        self._findings: list[Finding] = []

    def execute(self) -> SelfTest | None:
        dependencies = self._dependencies
        start_clock, start_time = dependencies.read_clock(), dependencies.wall_now()
        self._start_ns = dependencies.now_ns()
        self._run_check("percentiles", lambda: check_percentiles(dependencies.estimate_percentiles))
        generator, store = dependencies.start_load_generator(), dependencies.open_store()
        self._resources.callback(generator.close)
        self._resources.callback(store.close)
        self._interruption.set_stop_callback(generator.stop)
        bench = SelfTestBench(
            dependencies,
            generator,
            store,
            LimitMonitor(LimitSpec(duration_s=_MAX_DURATION_S), self._start_ns),
            self._interruption,
        )
        self._run_check("generator capacity", lambda: check_capacity(dependencies, generator, self._interruption))
        self._run_check("stall", lambda: check_stall(bench), is_timed=True)
        self._run_check("injection", lambda: check_injection(bench), is_timed=True)
        store.seal()
        self._run_check("store", lambda: check_store(store.directory, bench.sent, dependencies.open_run))
        rows = dependencies.open_run(store.directory).requests()
        self._run_check("clock", lambda: check_clock(dependencies.now_ns, start_clock, dependencies.read_clock(), rows))
        if self._interruption.is_requested:
            return None
        return build_selftest(
            tuple(self._findings),
            at=start_time.isoformat(timespec="seconds"),
            tool=__version__,
            fingerprint=dependencies.fingerprint,
            duration_s=self._compute_elapsed_s(),
        )

    def _run_check(self, name: str, check: CheckFunction, *, is_timed: bool = False) -> None:
        """Run one check and collect its findings.

        A timed check that fails is repeated once: a short disturbance of the machine is not a fault
        of the load generator, and a real fault makes the check fail again."""
        if self._interruption.is_requested:
            return
        self._on_check(name)
        findings = tuple(check())
        may_retry = is_timed and not self._interruption.is_requested and self._compute_elapsed_s() < _MAX_RETRY_START_S
        if may_retry and not all(finding.passed for finding in findings):
            self._on_check(f"{name} (retry)")
            findings = tuple(replace(finding, attempts=2) for finding in check())
        self._findings += findings

    def _compute_elapsed_s(self) -> float:
        return (self._dependencies.now_ns() - self._start_ns) / 1e9
