"""Run the scenarios of one variant in its child process, one after another. Each scenario is a
stage.

Progress is emitted as snapshots while rows arrive, at most four per second."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator

import msgspec
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from app.analysis.local.call_stages import find_max_throughput_per_s, summarize_calls
from app.analysis.local.generation import MIN_REPETITIONS
from app.analysis.local.variants import find_violated_objectives_so_far
from app.analysis.objectives import count_needed_slo_samples
from app.analysis.search import RateSearch, SearchOutcome
from app.analysis.validity import check_execution_provider, list_fallback_nodes
from app.inference.job import (
    MAX_REPETITION_S,
    CallRows,
    Measure,
    MeasurementStarted,
    VariantMeasured,
    VariantOpened,
)
from app.records import events
from app.records.calls import CallStage, unpack_calls
from app.records.estimate import Estimate, Variant
from app.records.local import GenerationTest
from app.records.result import Check, Stage
from app.session.dependencies import RunningVariant
from app.session.local.spec import LocalDependencies, LocalSpec, ScenarioSpec, VariantSpec
from app.session.run_log import RunLog


class CallProgress:
    """Reporter that emits the start event and the snapshots of a scenario while the scenario
    runs."""

    def __init__(
        self,
        index: int,
        plan: Measure,
        variant: Variant,
        run_log: RunLog,
        now_ns: Callable[[], int],
        repeat: int = 1,
    ) -> None:
        self._repeat = repeat
        self._index, self._plan, self._variant = index, plan, variant
        self._run_log, self._now_ns = run_log, now_ns
        self._completed = 0
        self._is_measuring = False
        self._recent_steps = None if plan.test is None else RecentSteps(plan.test, plan.batch)
        self.last_end_ns = 0
        """End of the last reported call in monotonic ns; 0 before the first call."""

    def report_rows(self, rows: pa.RecordBatch, start_ns: int | None) -> None:
        """Emit a snapshot of new calls. `start_ns` is the start of the measurement; `None` during
        the warm-up, in which nothing is emitted."""
        if start_ns is None or rows.num_rows == 0:
            return
        if not self._is_measuring:
            self._is_measuring = True
            self._emit_start(start_ns)
        last_end_ns = pc.max(rows["end_ns"]).as_py()
        self.last_end_ns = max(self.last_end_ns, last_end_ns or 0)
        durations_ms = (_read_column(rows, "executed_ns") - _read_column(rows, "prepared_ns")) / 1e6
        durations_ms = durations_ms[~np.isnan(durations_ms)]
        self._completed += durations_ms.size
        if not durations_ms.size:
            return
        p50, p95, p99 = np.quantile(durations_ms, (0.5, 0.95, 0.99))
        snapshot = events.Snapshot(
            at_ns=self._now_ns(),
            stage=self._index,
            offered=self._completed,
            sent=self._completed,
            completed=self._completed,
            failed=0,
            in_flight=None,
            latency_p50_ms=float(p50),
            latency_p95_ms=float(p95),
            latency_p99_ms=float(p99),
            output_tokens=self._count_output_tokens(),
        )
        if self._recent_steps is not None:
            snapshot = self._recent_steps.add_to_snapshot(snapshot, rows)
        self._run_log.emit(snapshot)

    def _count_output_tokens(self) -> int | None:
        """Count the tokens that a language model has generated: one per step and sequence. Return
        `None` if the stage does not generate tokens."""
        has_output = self._plan.test is not None and self._plan.test.output_tokens > 0
        return self._completed * self._plan.batch if has_output else None

    def _emit_start(self, start_ns: int) -> None:
        plan = self._plan
        self._run_log.emit(
            events.StageStarted(
                at_ns=self._now_ns(),
                index=self._index,
                name=f"{plan.scenario if plan.test is None else plan.test.name}: {self._variant.label}",
                kind="steady" if plan.scenario == "server" else "closed",
                repeat=self._repeat,
                offered_per_s=plan.rate_per_s,
                duration_s=plan.max_duration_s,
                start_ns=start_ns,
                concurrency=None,
                test=None if plan.test is None else plan.test.name,
            )
        )


_RECENT_NS = 1_000_000_000
_Durations = deque[tuple[int, float]]
"""End in ns and duration in ms of each step, oldest first."""


class RecentSteps:
    """Steps of a test of a language model in the last second, and at least the last step of each
    kind, so that the value of a slow step is shown until the next one."""

    def __init__(self, test: GenerationTest, batch: int) -> None:
        self._test, self._batch = test, batch
        self._last_repetition = -1
        self._prefills, self._first_tokens, self._gaps = _Durations(), _Durations(), _Durations()

    def add_to_snapshot(self, snapshot: events.Snapshot, rows: pa.RecordBatch) -> events.Snapshot:
        """Add new steps, and return the snapshot with the rates and times of the recent steps."""
        columns = (rows[name].to_pylist() for name in ("query", "begin_ns", "executed_ns", "end_ns"))
        for repetition, begin_ns, executed_ns, end_ns in zip(*columns, strict=True):
            if self._test.prompt_tokens and repetition != self._last_repetition:
                self._prefills.append((end_ns, (executed_ns - begin_ns) / 1e6))
                if self._test.output_tokens:
                    self._first_tokens.append((end_ns, (end_ns - begin_ns) / 1e6))
            else:
                self._gaps.append((end_ns, (end_ns - begin_ns) / 1e6))
            self._last_repetition = repetition
        ttft_p50_ms, ttft_p95_ms, ttft_p99_ms = _compute_recent_percentiles(self._first_tokens)
        itl_p50_ms, itl_p95_ms, itl_p99_ms = _compute_recent_percentiles(self._gaps)
        return msgspec.structs.replace(
            snapshot,
            ttft_p50_ms=ttft_p50_ms,
            ttft_p95_ms=ttft_p95_ms,
            ttft_p99_ms=ttft_p99_ms,
            itl_p50_ms=itl_p50_ms,
            itl_p95_ms=itl_p95_ms,
            itl_p99_ms=itl_p99_ms,
            prefill_tokens_per_s=_compute_recent_rate(self._prefills, self._batch * self._test.prompt_tokens),
            decode_tokens_per_s=_compute_recent_rate(self._gaps, self._batch),
        )


def _drop_old_steps(steps: _Durations) -> None:
    while len(steps) > 1 and steps[-1][0] - steps[0][0] > _RECENT_NS:
        steps.popleft()


def _compute_recent_percentiles(steps: _Durations) -> tuple[float, float, float] | tuple[None, None, None]:
    _drop_old_steps(steps)
    if not steps:
        return (None, None, None)
    p50, p95, p99 = np.quantile([duration_ms for _, duration_ms in steps], (0.5, 0.95, 0.99))
    return float(p50), float(p95), float(p99)


def _compute_recent_rate(steps: _Durations, tokens_per_step: int) -> float | None:
    _drop_old_steps(steps)
    total_ms = sum(duration_ms for _, duration_ms in steps)
    return len(steps) * tokens_per_step / total_ms * 1e3 if total_ms > 0 else None


def _read_column(rows: pa.RecordBatch, name: str) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
    values: np.ndarray[tuple[int], np.dtype[np.float64]] = rows[name].to_numpy(zero_copy_only=False).astype(np.float64)
    return values


_MIN_CALLS = 40
"""Minimum number of calls for estimating a confidence interval with batch means."""
_INTERVAL_FACTOR = 3
"""Factor applied to the number of samples that the percentiles of the SLO need. It leaves enough
samples for a confidence interval even if the call durations are slightly correlated."""
_MIN_ARRIVALS = 20
"""Minimum number of arrivals per probe of a search. With fewer arrivals, a probe provides no
information about the rate."""
_REPEAT_COUNT = 2
MAX_PROBES = 15
"""Maximum number of probes in a search for the max rate within the SLO."""


class ScenarioRunner:
    """Runner of the scenarios of a variant. The stages run so far are preserved even if the variant
    fails later. The object is used only by the session's thread."""

    def __init__(
        self,
        spec: LocalSpec,
        dependencies: LocalDependencies,
        run_log: RunLog,
        variant_spec: VariantSpec,
        stage_indices: Iterator[int],
        may_continue: Callable[[], bool],
        cap_duration_s: Callable[[float], float],
    ) -> None:
        """Create a runner for `variant_spec`. `stage_indices` yields the indices of the next stages
        of the run, and `cap_duration_s` limits a duration to what the limits of the run leave."""
        self._spec, self._dependencies, self._run_log, self._variant_spec = spec, dependencies, run_log, variant_spec
        self._stage_indices, self._may_continue = stage_indices, may_continue
        self._cap_duration_s = cap_duration_s
        self.opened_report: VariantOpened | None = None
        self.call_stages: list[CallStage] = []
        self.measured_reports: list[VariantMeasured] = []
        self.search_outcome: SearchOutcome | None = None
        """Outcome of the search for the max rate within the SLO; `None` if not searched."""

    @property
    def checks(self) -> tuple[Check, ...]:
        """Check of the execution provider that the variant actually uses; empty until the model is
        open."""
        opened_report, requested_provider = self.opened_report, self._variant_spec.variant.provider
        if opened_report is None:
            return ()
        fallback_nodes = list_fallback_nodes(opened_report.placements)
        return (
            check_execution_provider(
                requested_provider, opened_report.provider_used, fallback_nodes, opened_report.provider_reason
            ),
        )

    @property
    def server_per_s(self) -> Estimate | None:
        """Max rate within the SLO in calls/s; `None` if not searched."""
        outcome = self.search_outcome
        if outcome is None or outcome.max_rate_per_s is None:
            return None if outcome is None else Estimate(None, reason=outcome.reason)
        passed_per_s, failed_per_s = outcome.bracket
        interval = (
            None
            if passed_per_s is None or failed_per_s is None
            else (min(passed_per_s, outcome.max_rate_per_s), failed_per_s)
        )
        return Estimate(outcome.max_rate_per_s, interval, n=outcome.probe_count)

    def run_scenarios(self, running_variant: RunningVariant) -> None:
        """Run all scenarios of the variant, and stop early if the run may not continue. Raises the
        error that ended the variant."""
        for scenario_spec in self._spec.scenarios:
            if not self._may_continue():
                return
            if scenario_spec.scenario == "multi-stream" and not self._variant_spec.variant.is_concurrent:
                continue  # A multi-stream query would consist of a single call.
            rate_per_s = self._compute_rate_per_s(scenario_spec)
            if scenario_spec.scenario == "server" and rate_per_s is None:
                self._run_log.add_note(
                    f"{self._variant_spec.variant.label}: the server scenario was skipped because the maximum "
                    "throughput is unknown."
                )
            elif scenario_spec.is_max_search and rate_per_s is not None:
                self.search_outcome = self._search_max_rate(rate_per_s, running_variant)
            else:
                self._run_scenario(scenario_spec, rate_per_s, running_variant)

    def _search_max_rate(self, start_per_s: float, running_variant: RunningVariant) -> SearchOutcome:
        """Search for the max rate within the SLO. Each probe is a stage.

        An INVALID stage provides no information about the model. The rate of such a stage counts as
        higher than the maximum rate that can be generated."""
        search = RateSearch(start_per_s, _REPEAT_COUNT, MAX_PROBES)
        while (probe := search.next_probe()) is not None and self._may_continue():
            if probe.rate_per_s * self._spec.max_duration_s < _MIN_ARRIVALS:
                reason = f"no rate with at least {_MIN_ARRIVALS} arrivals within load.max_duration met the SLO"
                return msgspec.structs.replace(search.get_outcome(), max_rate_per_s=None, reason=reason)
            stage = self._run_scenario(ScenarioSpec("server"), probe.rate_per_s, running_variant, in_search=True)
            if stage is None or stage.verdict.status == "INVALID":
                search.record_unsendable_rate(probe)
            else:
                search.record_result(probe, not find_violated_objectives_so_far(self._spec.slo, (stage,)))
        return search.get_outcome()

    def _run_scenario(
        self,
        scenario_spec: ScenarioSpec,
        rate_per_s: float | None,
        running_variant: RunningVariant,
        *,
        in_search: bool = False,
    ) -> Stage | None:
        """Run one scenario and return its stage; `None` if the scenario ended during its
        warm-up."""
        index, plan = next(self._stage_indices), self._build_plan(scenario_spec, rate_per_s)
        variant, now_ns = self._variant_spec.variant, self._dependencies.now_ns
        progress = CallProgress(index, plan, variant, self._run_log, now_ns, scenario_spec.repeat)
        started_report: MeasurementStarted | None = None

        def on_report(report: MeasurementStarted | CallRows) -> None:
            nonlocal started_report
            match report:
                case MeasurementStarted():
                    started_report = report
                case CallRows(packed=packed):
                    rows = unpack_calls(index, packed)
                    self._dependencies.store.append_calls(rows)
                    progress.report_rows(rows, None if started_report is None else started_report.start_ns)
            if not self._may_continue():
                running_variant.kill()

        measured_report: VariantMeasured | None = None
        stage: Stage | None = None
        try:
            measured_report = running_variant.measure(plan, on_report)
            self.measured_reports.append(measured_report)
        finally:
            if started_report is not None:
                end_ns = (
                    measured_report.end_ns
                    if measured_report is not None
                    else max(started_report.start_ns, progress.last_end_ns)
                )
                stage_data = CallStage(
                    index=index,
                    variant=self._variant_spec.variant,
                    scenario=scenario_spec.scenario,
                    start_ns=started_report.start_ns,
                    end_ns=end_ns,
                    warmup_windows=started_report.warmup_windows,
                    is_stationary=started_report.is_stationary,
                    half_width=None if measured_report is None else measured_report.half_width,
                    target_half_width=plan.half_width,
                    rate_per_s=rate_per_s,
                    test=scenario_spec.test,
                    repeat=scenario_spec.repeat,
                    in_search=in_search,
                    stopped_early=measured_report is None,
                )
                self.call_stages.append(stage_data)
                stage = summarize_calls(self._dependencies.store.stage_calls(index), stage_data, self.checks)
                self._run_log.emit(events.CallsFinished(self._dependencies.now_ns(), stage_data, stage))
        return stage

    def _build_plan(self, scenario_spec: ScenarioSpec, rate_per_s: float | None) -> Measure:
        spec, variant = self._spec, self._variant_spec.variant
        min_calls = max(_MIN_CALLS, _INTERVAL_FACTOR * count_needed_slo_samples(spec.slo))
        return Measure(
            scenario=scenario_spec.scenario,
            batch=variant.batch,
            streams=variant.streams,
            min_duration_s=spec.min_duration_s,
            max_duration_s=spec.max_duration_s,
            half_width=spec.half_width,
            min_calls=min_calls if scenario_spec.test is None else MIN_REPETITIONS,
            max_warmup_s=spec.warmup_s,
            rate_per_s=rate_per_s,
            seed=spec.seed,
            test=scenario_spec.test,
            max_repetition_s=self._cap_duration_s(MAX_REPETITION_S),
        )

    def _compute_rate_per_s(self, scenario_spec: ScenarioSpec) -> float | None:
        """Return the rate of a scenario in calls/s; `None` if the rate is unknown, or if the
        scenario has no rate."""
        if scenario_spec.share is None:
            return scenario_spec.rate_per_s
        stages = [
            summarize_calls(self._dependencies.store.stage_calls(call_stage.index), call_stage)
            for call_stage in self.call_stages
        ]
        max_throughput_per_s = find_max_throughput_per_s(stages)
        return (
            None
            if max_throughput_per_s is None
            else scenario_spec.share * max_throughput_per_s / self._variant_spec.variant.batch
        )
