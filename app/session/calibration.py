"""Calibration of the load generator against null servers, with the load workers of the run.

The capacity of the load generator is the highest Poisson rate that it sustains against a server
that responds immediately. Each calibration step measures one rate."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from contextlib import ExitStack
from typing import cast

import msgspec
import numpy as np
import pyarrow as pa

from app.records.calibration import CalibrationStep, LoadKind, MeasuredCapacity
from app.session.dependencies import LoadGenerator, NullServer
from app.session.interruption import Interruption
from app.telemetry.processes import CoreUsage
from loadgen.records import REQUEST_SCHEMA, Endpoint, OpenArrivals, StageEnded, StageLoad, StagePlan
from loadgen.reference import null_streams
from loadgen.workloads import FixedLength, HttpWorkload, OpenAiWorkload, SyntheticPrompts, Workload

LATE_THRESHOLD_MS = 10.0
MAX_LATE_SHARE = 0.01
_MAX_RETRIES = 3


class RateRange(msgspec.Struct, frozen=True):
    """Range of rates to test in a calibration, in requests/s or chunks/s: the start rate and the
    limits."""

    start_per_s: float
    min_per_s: float
    max_per_s: float

    def scale_to(self, worker_count: int) -> RateRange:
        """Return the range of rates for several workers. The lower limit is not scaled, because
        several workers may be no faster than a single worker."""
        return RateRange(self.start_per_s * worker_count, self.min_per_s, self.max_per_s * worker_count)


REQUEST_RATE_RANGE = RateRange(8_000.0, 250.0, 64_000.0)
CHUNK_RATE_RANGE = RateRange(16_000.0, 500.0, 128_000.0)


def has_passed(achieved_share: float, late_share: float) -> bool:
    """Return True if a calibration step passed: at least 99 % of the scheduled requests were sent
    in time, and at most 1 % of the requests or chunks were late."""
    return achieved_share >= 0.99 and late_share <= MAX_LATE_SHARE


def search_rates(
    try_rate: Callable[[float], CalibrationStep | None], rate_range: RateRange = REQUEST_RATE_RANGE
) -> tuple[CalibrationStep, ...]:
    """Search for the highest rate at which a calibration step passes, and return all steps in the
    order in which they were run.

    The rate is doubled until a step fails or the upper limit is reached, or halved until a step
    passes or the lower limit is reached. Then the geometric mean of the last passed rate and the
    lowest failed rate is tested.

    A failed step is repeated once, because a short disturbance of the machine does not limit the
    load generator. At most three steps are repeated, so that the calibration ends in time on a
    machine with permanent other load. `try_rate` returns `None` if the run is being stopped, which
    ends the search."""
    steps: list[CalibrationStep] = []
    retries_left = _MAX_RETRIES

    def try_step(rate_per_s: float) -> bool | None:
        nonlocal retries_left
        is_retry = False
        while True:
            step = try_rate(rate_per_s)
            if step is None:
                return None
            steps.append(step)
            if step.passed or is_retry or not retries_left:
                return step.passed
            retries_left, is_retry = retries_left - 1, True

    rate_per_s, has_step_passed = rate_range.start_per_s, try_step(rate_range.start_per_s)
    factor = 2.0 if has_step_passed else 0.5
    has_first_step_passed = has_step_passed
    while (
        has_step_passed is not None
        and has_step_passed is has_first_step_passed
        and rate_range.min_per_s < rate_per_s < rate_range.max_per_s
    ):
        rate_per_s *= factor
        has_step_passed = try_step(rate_per_s)
    if has_step_passed is not None and has_step_passed is not has_first_step_passed:
        try_step(rate_per_s / 2**0.5 if has_first_step_passed else rate_per_s * 2**0.5)
    return tuple(steps)


def find_max_achieved_rate(steps: tuple[CalibrationStep, ...]) -> float | None:
    """Return the highest achieved rate of all calibration steps that passed; `None` if no step
    passed."""
    return max((step.achieved_per_s for step in steps if step.passed), default=None)


def is_lower_bound(steps: tuple[CalibrationStep, ...]) -> bool:
    """Return True if the measured capacity is a lower bound: a step passed, and the next higher
    rate was either not tested or failed for a reason other than the load generator."""
    return find_max_achieved_rate(steps) is not None and not any(
        step.is_generator_limit for step in _find_decisive_steps(steps)
    )


def find_disturbing_cores(steps: tuple[CalibrationStep, ...]) -> float | None:
    """Return the number of CPU cores that other processes used while the decisive rate failed
    because of them; `None` if other processes were not the reason.

    The decisive rate is the lowest tested rate above all rates that passed."""
    decisive_steps = _find_decisive_steps(steps)
    if any(step.is_generator_limit for step in decisive_steps):
        return None
    return max((step.other_cores or 0.0 for step in decisive_steps if step.is_disturbed), default=None)


def _find_decisive_steps(steps: tuple[CalibrationStep, ...]) -> list[CalibrationStep]:
    """Return the calibration steps at the lowest rate above all rates that passed. Still higher
    rates are ignored, because they failed by a wider margin."""
    max_passed_rate_per_s = max((step.offered_per_s for step in steps if step.passed), default=0.0)
    higher_steps = [step for step in steps if step.offered_per_s > max_passed_rate_per_s]
    lowest_rate_per_s = min((step.offered_per_s for step in higher_steps), default=0.0)
    return [step for step in higher_steps if step.offered_per_s == lowest_rate_per_s]


_STEP_DURATION_S = 0.75
_MAX_DRAIN_S = 0.5
_MAX_LAG_MS = 100.0


class CalibrationLoad(msgspec.Struct, frozen=True):
    """Settings for calibrating one kind of load.

    `events_per_arrival` is the number of counted events (requests or chunks) per arrival.
    `lead_in_s` is the time in s until responses end at the same rate as they begin. `connections`
    is the number of connections per worker, which is sufficient for a target that responds
    immediately: further connections would only be opened during a stall, and cost CPU time on both
    sides. `count_events` returns the number of events within the step, and the proportion of late
    events."""

    rate_range: RateRange
    workload: Workload
    connections: int
    count_events: Callable[[pa.Table, int], tuple[int, float]]
    events_per_arrival: int = 1
    lead_in_s: float = 0.0


def run_step(
    calibration_load: CalibrationLoad,
    generator: LoadGenerator,
    servers: Sequence[NullServer],
    read_core_use: Callable[[Collection[int]], CoreUsage | None],
    rate_per_s: float,
) -> CalibrationStep:
    """Run one calibration step that generates `rate_per_s` counted events (requests or chunks) per
    second.

    A step whose send lag exceeds 100 ms is ended early, and evaluated on the requests sent until
    then. `read_core_use` returns the CPU use of this machine, of this process, and of the processes
    with the given PIDs."""
    plan = StagePlan(
        index=0,
        name="calibration",
        load=StageLoad(
            OpenArrivals("poisson", ((0.0, rate_per_s / calibration_load.events_per_arrival),)),
            _STEP_DURATION_S,
            lead_in_s=calibration_load.lead_in_s,
        ),
        seed=1,
        drain_s=_MAX_DRAIN_S,
    )
    batches: list[pa.RecordBatch] = []
    pids = {generator.pid, *(worker.pid for worker in generator.workers)}
    usage_before, server_cpu_before_s = read_core_use(pids), [server.cpu_s() for server in servers]
    stage_ended = generator.run_stage(
        plan, batches.append, lambda _: None, lambda progress: progress.max_lag_ms < _MAX_LAG_MS
    )
    server_cpu_s = [
        _subtract_times_s(server.cpu_s(), before_s)
        for server, before_s in zip(servers, server_cpu_before_s, strict=True)
    ]
    other_cores, idle_cores = _compute_core_usage_of_others(usage_before, read_core_use(pids), server_cpu_s)
    step = _evaluate_step(
        calibration_load, rate_per_s, stage_ended, pa.Table.from_batches(batches, REQUEST_SCHEMA), server_cpu_s
    )
    return msgspec.structs.replace(step, other_cores=other_cores, idle_cores=idle_cores)


def _compute_core_usage_of_others(
    usage_before: CoreUsage | None, usage_now: CoreUsage | None, server_cpu_s: Sequence[float | None]
) -> tuple[float | None, float | None]:
    """Return two averages between two samples of CPU use: the number of CPU cores used by processes
    other than Sizewise and its null servers, and the number of idle cores. Each is `None` if
    unknown."""
    if usage_before is None or usage_now is None or usage_now.at_ns <= usage_before.at_ns:
        return None, None
    elapsed_s = (usage_now.at_ns - usage_before.at_ns) / 1e9
    sizewise_cpu_s = [_subtract_times_s(usage_now.own_s, usage_before.own_s), *server_cpu_s]
    known_cpu_s = [cpu_s for cpu_s in sizewise_cpu_s if cpu_s is not None]
    other_cpu_s = usage_now.used_s - usage_before.used_s - sum(known_cpu_s)
    other_cores = max(0.0, other_cpu_s) / elapsed_s if len(known_cpu_s) == len(sizewise_cpu_s) else None
    return other_cores, (usage_now.idle_s - usage_before.idle_s) / elapsed_s


_EVALUATED_COLUMNS = ["scheduled_ns", "sent_ns", "tokens_in", "chunk_ns"]


def _evaluate_step(
    calibration_load: CalibrationLoad,
    rate_per_s: float,
    stage_ended: StageEnded,
    rows: pa.Table,
    server_cpu_s: Sequence[float | None],
) -> CalibrationStep:
    sent_rows = rows.select(_EVALUATED_COLUMNS).filter(rows["sent_ns"].is_valid())
    sent_ns, scheduled_ns = sent_rows["sent_ns"].to_numpy(), sent_rows["scheduled_ns"].to_numpy()
    lag_ms = (sent_ns - scheduled_ns) / 1e6 if len(sent_ns) else np.array([np.inf])
    sent_in_time_count = int(
        np.count_nonzero(sent_ns <= stage_ended.start_ns + round((_STEP_DURATION_S + LATE_THRESHOLD_MS / 1e3) * 1e9))
    )
    event_count, late_share = calibration_load.count_events(sent_rows, stage_ended.start_ns)
    late_share = max(late_share, float(np.mean(lag_ms > LATE_THRESHOLD_MS)))
    elapsed_s = (stage_ended.end_ns - stage_ended.start_ns) / 1e9
    max_worker_cpu_s = max((worker.cpu_s for worker in stage_ended.workers), default=stage_ended.cpu_s)
    known_server_cpu_s = [cpu_s for cpu_s in server_cpu_s if cpu_s is not None]
    has_all_workers = all(worker.lost_ns is None for worker in stage_ended.workers)
    return CalibrationStep(
        offered_per_s=rate_per_s,
        achieved_per_s=event_count / min(_STEP_DURATION_S, elapsed_s),
        lag_p50_ms=float(np.median(lag_ms)),
        lag_p99_ms=float(np.percentile(lag_ms, 99, method="inverted_cdf")),
        late_share=late_share,
        worker_cpu_cores=max_worker_cpu_s / (elapsed_s + calibration_load.lead_in_s),
        passed=has_all_workers
        and has_passed(sent_in_time_count / max(1, cast(int, stage_ended.scheduled)), late_share),
        server_cpu_cores=max(known_server_cpu_s) / (elapsed_s + calibration_load.lead_in_s)
        if known_server_cpu_s
        else None,
    )


def _subtract_times_s(now_s: float | None, before_s: float | None) -> float | None:
    return None if now_s is None or before_s is None else now_s - before_s


def _count_requests(sent_rows: pa.Table, start_ns: int) -> tuple[int, float]:
    """Return the number of requests sent within the step, and 0 as the proportion of late events,
    because the caller measures the send lag."""
    end_ns = start_ns + round((_STEP_DURATION_S + LATE_THRESHOLD_MS / 1e3) * 1e9)
    return int(np.count_nonzero(sent_rows["sent_ns"].to_numpy() <= end_ns)), 0.0


def _count_chunks(sent_rows: pa.Table, start_ns: int) -> tuple[int, float]:
    """Return the number of chunks received within the step, and the proportion of late chunks.
    Missing chunks, and all chunks of incomplete responses, count as late."""
    complete_rows = sent_rows.filter(sent_rows["tokens_in"].is_valid())
    if not complete_rows.num_rows:
        return 0, 1.0
    chunks = complete_rows["chunk_ns"].combine_chunks()
    received_ns, offsets = chunks.flatten().to_numpy(), chunks.offsets.to_numpy()
    counts, first_positions = np.diff(offsets), offsets[:-1] - offsets[0]
    first_due_ns = [
        null_streams.decode_due_ns(encoded_tick, int(first_chunk_ns))
        for encoded_tick, first_chunk_ns in zip(
            complete_rows["tokens_in"].to_pylist(), received_ns[first_positions], strict=True
        )
    ]
    chunk_index = np.arange(received_ns.size) - np.repeat(first_positions, counts)
    late_ms = (received_ns - np.repeat(first_due_ns, counts) - chunk_index * null_streams.GAP_NS) / 1e6
    in_time_chunk_count = int(np.count_nonzero(late_ms <= LATE_THRESHOLD_MS))
    step_chunk_count = int(
        np.count_nonzero((received_ns >= start_ns) & (received_ns < start_ns + round(_STEP_DURATION_S * 1e9)))
    )
    return step_chunk_count, 1 - in_time_chunk_count / (sent_rows.num_rows * null_streams.CHUNK_COUNT)


CALIBRATION_LOADS: dict[LoadKind, CalibrationLoad] = {
    "plain": CalibrationLoad(
        REQUEST_RATE_RANGE, HttpWorkload(method="POST", bodies=(b"\0" * 300,)), 64, _count_requests
    ),
    "streaming": CalibrationLoad(
        CHUNK_RATE_RANGE,
        OpenAiWorkload(
            "chat", "null", SyntheticPrompts(FixedLength(100), FixedLength(null_streams.CHUNK_COUNT), unique=100)
        ),
        2048,
        _count_chunks,
        events_per_arrival=null_streams.CHUNK_COUNT,
        lead_in_s=1.2 * null_streams.CHUNK_COUNT * null_streams.GAP_NS / 1e9,
    ),
}


_WORKERS_PER_SERVER = 2
"""Number of workers per null server. A null server uses 0.4 times (plain) to 0.6 times (streaming)
the CPU time of one worker."""
_WARMUP_DIVISOR = 4.0


def measure_capacity(
    kind: LoadKind,
    generator: LoadGenerator,
    start_null_server: Callable[[LoadKind], NullServer],
    interruption: Interruption,
    read_core_use: Callable[[Collection[int]], CoreUsage | None],
    on_step: Callable[[CalibrationStep], None] = lambda _: None,
) -> MeasuredCapacity:
    """Measure the total capacity of all workers of `generator`, which must run on this machine.

    The measurement ends early if the run is being stopped. Afterwards, the workers must be
    configured again. Raises loadgen.process.LoadError if the workers fail, and MeasurementError if
    a null server does not start."""
    calibration_load, worker_count = CALIBRATION_LOADS[kind], max(1, len(generator.workers))
    with ExitStack() as resources:
        servers = []
        for _ in range(-(-worker_count // _WORKERS_PER_SERVER)):
            servers.append(start_null_server(kind))
            resources.callback(servers[-1].close)
        endpoint = Endpoint(
            urls=tuple(server.url for server in servers), max_connections=calibration_load.connections * worker_count
        )
        generator.configure(endpoint, calibration_load.workload)

        def run_step_at_rate(rate_per_s: float) -> CalibrationStep | None:
            step = run_step(calibration_load, generator, servers, read_core_use, rate_per_s)
            if interruption.is_requested:
                return None
            on_step(step)
            return step

        rate_range = calibration_load.rate_range.scale_to(worker_count)
        # The first stage of a worker includes loading code and opening connections, so it is not
        # representative.
        run_step(calibration_load, generator, servers, read_core_use, rate_range.start_per_s / _WARMUP_DIVISOR)
        steps = () if interruption.is_requested else search_rates(run_step_at_rate, rate_range)
    return MeasuredCapacity(
        kind, worker_count, find_max_achieved_rate(steps), steps, is_lower_bound(steps), find_disturbing_cores(steps)
    )
