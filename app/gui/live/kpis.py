"""Headline values of a run in progress, from its last snapshot and the last readings of the
machine."""

from __future__ import annotations

import math

from app.gui.formatting import (
    NOT_AVAILABLE,
    State,
    format_count,
    format_number,
    format_percent,
    format_plain,
    with_unit,
)
from app.gui.live.machine import LiveSeries, MachineSeries
from app.gui.live.state import Kpi, RunKind
from app.records.events import Snapshot, VariantStarted
from app.records.result import Objective, Stage

_LATENCY_METRICS = ("latency_ms", "service_ms")


class LiveKpis:
    """Values of the running stage. A value is shown until a stage has another one: a language model
    that generates tokens shows the prefill of the test before."""

    def __init__(self) -> None:
        self._snapshot: Snapshot | None = None
        self._last_values: dict[str, float] = {}
        self._tests_by_value: dict[str, str] = {}
        """Test of a language model in which each value was measured."""
        self._responses = self._failed = 0
        """Numbers of responses and of errors in the stages that have ended."""
        self._batch, self._tests = 1, tuple[str, ...]()
        self._is_new_variant = False

    @property
    def has_tokens(self) -> bool:
        """True if an endpoint has streamed tokens."""
        return "ttft_p50_ms" in self._last_values or "output_tokens" in self._last_values

    @property
    def response_count(self) -> int:
        """Number of responses and of errors so far."""
        snapshot = self._snapshot
        return self._responses + (0 if snapshot is None else snapshot.completed + snapshot.failed)

    def begin_variant(self, variant: VariantStarted) -> None:
        """Forget the values of the previous variant of a local model with the first snapshot of
        this variant."""
        self._batch, self._tests = variant.variant.batch, variant.tests
        self._is_new_variant = True

    def end_stage(self, stage: Stage) -> None:
        """Count the responses of a stage that has ended. Requests that were in flight at its last
        snapshot may have failed since."""
        completed, failed = stage.completed, sum(stage.errors.values())
        if self._snapshot is not None:
            completed, failed = self._snapshot.completed, max(self._snapshot.failed, failed)
        self._responses += completed + failed
        self._failed += failed
        self._snapshot = None

    def add_snapshot(self, snapshot: Snapshot, series: LiveSeries, test: str | None) -> None:
        if self._is_new_variant:
            self._last_values.clear()
            self._tests_by_value.clear()
            self._is_new_variant = False
        self._snapshot = snapshot
        values = {name: getattr(snapshot, name) for name in _SNAPSHOT_VALUES}
        for name, value in {**values, **series.last_rates}.items():
            if value is not None and math.isfinite(value):
                self._last_values[name] = value
                self._tests_by_value[name] = test or ""

    def build(self, kind: RunKind, slo: tuple[Objective, ...], machine: MachineSeries) -> tuple[Kpi, ...]:
        """Return the headline values of a kind of run, most important first."""
        match kind:
            case "endpoint":
                return (
                    self._build_rate(),
                    *self._build_latency("latency", slo),
                    self._build_errors(),
                    self._build_load(),
                )
            case "llm_endpoint":
                return (
                    self._build_time("TTFT", "ttft", slo),
                    self._build_time("TPOT", "tpot", slo),
                    self._build_tokens("Output throughput", "tokens"),
                    self._build_rate(),
                    self._build_latency("latency", slo)[1],
                    self._build_errors(),
                )
            case "local":
                return (*self._build_latency("service time", slo), self._build_inferences(), *_build_machine(machine))
            case "language_model":
                has_first_token_tests = any("+" in test for test in self._tests)
                return (
                    self._build_tokens("Prefill throughput", "prefill_tokens_per_s"),
                    self._build_tokens("Decode throughput", "decode_tokens_per_s"),
                    *([self._build_time("TTFT", "ttft", slo)] if has_first_token_tests else []),
                    self._build_time("ITL", "itl", slo),
                    *_build_machine(machine),
                )

    def _build_rate(self) -> Kpi:
        offered = self._format("offered", "req/s")
        return Kpi(label="Throughput", value=self._format("completed", "req/s"), detail=f"offered {offered}")

    def _build_inferences(self) -> Kpi:
        calls_per_s = self._last_values.get("completed")
        value = None if calls_per_s is None else calls_per_s * self._batch
        return Kpi(
            label="Throughput", value=_format_value(value, "inferences/s"), detail=self._format("completed", "calls/s")
        )

    def _build_latency(self, name: str, slo: tuple[Objective, ...]) -> tuple[Kpi, ...]:
        objective = _find_objective(slo, _LATENCY_METRICS)
        kpis = []
        for percentile in ("p50", "p95"):
            state, detail = self._compare(f"latency_{percentile}_ms", percentile, objective)
            if percentile == "p50" and not detail:
                detail = f"p99 {self._format('latency_p99_ms', 'ms')}"
            kpis.append(
                Kpi(
                    label=f"{percentile} {name}",
                    value=self._format(f"latency_{percentile}_ms", "ms"),
                    detail=detail,
                    state=state,
                )
            )
        return tuple(kpis)

    def _build_time(self, label: str, name: str, slo: tuple[Objective, ...]) -> Kpi:
        """Return the median of a time of tokens, with its p95 and its limit."""
        objective = _find_objective(slo, (f"{name}_ms",))
        details = [f"p95 {self._format(f'{name}_p95_ms', 'ms')}"]
        state: State = "plain"
        if objective is not None and objective.aggregate in ("p50", "p95"):
            state, limit_text = self._compare(f"{name}_{objective.aggregate}_ms", objective.aggregate, objective)
            details.append(limit_text)
        return Kpi(
            label=f"p50 {label}", value=self._format(f"{name}_p50_ms", "ms"), detail=", ".join(details), state=state
        )

    def _build_tokens(self, label: str, name: str) -> Kpi:
        return Kpi(label=label, value=self._format(name, "tok/s"), detail=self._tests_by_value.get(name, ""))

    def _build_errors(self) -> Kpi:
        snapshot = self._snapshot
        responses = self.response_count
        failed = self._failed + (0 if snapshot is None else snapshot.failed)
        return Kpi(
            label="Errors",
            value=format_percent(failed / responses) if responses else NOT_AVAILABLE,
            detail=f"{format_count(failed)} of {format_count(responses)} requests",
            state="bad" if failed else "plain",
        )

    def _build_load(self) -> Kpi:
        value = self._last_values.get("in_flight")
        return Kpi(
            label="In flight",
            value=NOT_AVAILABLE if value is None else format_count(round(value)),
            detail=f"p99 send lag {self._format('lag_p99_ms', 'ms')}",
        )

    def _format(self, name: str, unit: str) -> str:
        return _format_value(self._last_values.get(name), unit)

    def _compare(self, name: str, aggregate: str, objective: Objective | None) -> tuple[State, str]:
        """Return the state of a value compared with its limit, and the text of the limit."""
        if objective is None or objective.aggregate != aggregate or objective.comparator not in ("<", "<="):
            return "plain", ""
        value = self._last_values.get(name)
        limit_text = f"SLO {objective.comparator} {with_unit(format_plain(objective.limit), 'ms')}"
        if value is None:
            return "plain", limit_text
        is_met = value <= objective.limit
        return ("good", f"✓ {limit_text}") if is_met else ("bad", f"✕ {limit_text}")


_SNAPSHOT_VALUES = (
    "latency_p50_ms", "latency_p95_ms", "latency_p99_ms", "lag_p99_ms", "in_flight", "output_tokens",
    "ttft_p50_ms", "ttft_p95_ms", "tpot_p50_ms", "tpot_p95_ms", "itl_p50_ms", "itl_p95_ms",
    "prefill_tokens_per_s", "decode_tokens_per_s",
)  # fmt: skip


def _find_objective(slo: tuple[Objective, ...], metrics: tuple[str, ...]) -> Objective | None:
    """Return the first objective with an absolute limit for all stages."""
    return next(
        (
            objective
            for objective in slo
            if objective.metric in metrics and not (objective.tags or objective.of or objective.is_change)
        ),
        None,
    )


def _build_machine(machine: MachineSeries) -> tuple[Kpi, Kpi]:
    memory_gib, peak_gib = (
        machine.read_last("model", "model_memory_gib"),
        machine.read_peak("model", "model_memory_gib"),
    )
    gpu = machine.gpus[0] if machine.gpus else None
    gpu_percent = None if gpu is None else machine.read_last(gpu, "gpu_utilization_percent")
    gpu_gib = None if gpu is None else machine.read_last(gpu, "gpu_memory_gib")
    return (
        Kpi(
            label="Memory (RSS)",
            value=_format_memory(memory_gib),
            detail=f"peak {_format_memory(peak_gib)} in this run",
        ),
        Kpi(
            label="GPU utilization",
            value=_format_value(gpu_percent, "%"),
            detail="no GPU" if gpu is None else f"{_format_memory(gpu_gib)} of GPU memory",
        ),
    )


def _format_memory(size_gib: float | None) -> str:
    if size_gib is not None and size_gib < 1:
        return _format_value(size_gib * 1024, "MiB")
    return _format_value(size_gib, "GiB")


def _format_value(value: float | None, unit: str) -> str:
    return NOT_AVAILABLE if value is None else with_unit(format_number(value), unit)
