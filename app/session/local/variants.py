"""Measure the variants one after another, each in its own child process, so that a crash affects
only one variant and loses no rows.

Cold starts are measured by opening and closing a variant repeatedly, each time in a new process."""

from __future__ import annotations

import itertools
import os

import msgspec

from app.analysis.local.call_stages import summarize_calls
from app.analysis.local.perplexity import TextScores
from app.errors import SizewiseError
from app.inference.generation.evaluation_files import decode_text_scores
from app.inference.job import ScoreText, VariantJob
from app.records import events
from app.records.calls import CallStage
from app.records.generation import BatchConsistency, DecoderCosts
from app.records.local import LanguageModelData, VariantColdStart, VariantData
from app.records.result import Check, Stage
from app.reporting.local_front import name_variants
from app.session.dependencies import RunningVariant
from app.session.interruption import Interruption
from app.session.limits import LimitMonitor
from app.session.local.references import OPEN_TIMEOUT_S, SCORE_TIMEOUT_S, ReferenceCache, Scores, decode_scores
from app.session.local.spec import LocalDependencies, LocalSpec, PreparedModel, VariantSpec
from app.session.local.variant_stages import ScenarioRunner
from app.session.run_log import RunLog

_COLD_START_TIMEOUT_S = 600.0
_TEXT_TIMEOUT_S = 3600.0
_WINDOW_TOKENS = 512
"""Number of tokens of a window in which a text is predicted. Each token after the first window is
predicted from at least half of them."""


class ColdStartMeasurer:
    """Measurer of cold starts. Each combination of model file, execution provider, threads and
    devices is measured once; batch size and streams do not affect a cold start."""

    def __init__(
        self,
        spec: LocalSpec,
        dependencies: LocalDependencies,
        run_log: RunLog,
        limit_monitor: LimitMonitor,
        interruption: Interruption,
    ) -> None:
        self._spec, self._dependencies, self._run_log = spec, dependencies, run_log
        self._limit_monitor, self._interruption = limit_monitor, interruption
        self._measured_keys: set[tuple[object, ...]] = set()

    def measure(self, variant_spec: VariantSpec, prepared_model: PreparedModel) -> tuple[VariantColdStart, ...]:
        """Return the cold starts of a variant; empty if the cold starts of an equivalent variant
        were already measured, or if none are requested. Raises the errors of opening the
        variant."""
        key = (
            prepared_model.path,
            variant_spec.variant.provider,
            variant_spec.settings.threads,
            variant_spec.variant.devices,
        )
        if key in self._measured_keys or self._spec.cold_starts == 0:
            return ()
        self._measured_keys.add(key)
        self._run_log.emit_phase(
            "cold start", f"measuring cold starts of {variant_spec.variant.label} ({self._spec.cold_starts} times)"
        )
        cold_starts = [
            self._measure_start(variant_spec, prepared_model.path, None) for _ in range(self._spec.cold_starts)
        ]
        if prepared_model.cached_model_path is not None:
            cold_starts += self._measure_cached_starts(
                variant_spec, prepared_model.path, prepared_model.cached_model_path
            )
        return tuple(cold_start for cold_start in cold_starts if cold_start is not None)

    def _measure_cached_starts(
        self, variant_spec: VariantSpec, model_path: str, cached_model_path: str
    ) -> list[VariantColdStart | None]:
        try:
            self._measure_start(variant_spec, model_path, cached_model_path)  # Fill the cache if it is empty.
            return [
                self._measure_start(variant_spec, model_path, cached_model_path) for _ in range(self._spec.cold_starts)
            ]
        except SizewiseError as error:  # The model runs but cannot be cached, such as a model above 2 GiB.
            if not self._interruption.is_requested:
                self._run_log.add_note(
                    f"{variant_spec.variant.label}: the cold start with a cached optimized model was not measured: "
                    f"{error}."
                )
            return []

    def _measure_start(
        self, variant_spec: VariantSpec, model_path: str, cached_model_path: str | None
    ) -> VariantColdStart | None:
        if self._interruption.is_requested or not self._limit_monitor.check(self._dependencies.now_ns()):
            return None
        settings = variant_spec.settings
        if cached_model_path is not None and variant_spec.variant.provider == "tensorrt":
            settings = msgspec.structs.replace(settings, engine_folder=cached_model_path)
        elif cached_model_path is not None:
            settings = msgspec.structs.replace(settings, cached_model_path=cached_model_path)
        job = VariantJob(
            model=model_path,
            provider=variant_spec.variant.provider,
            batch=variant_spec.variant.batch,
            settings=settings,
            memory_limit_bytes=self._spec.get_memory_limit_bytes(variant_spec.variant.provider),
            is_language_model=variant_spec.is_language_model,
        )
        running_variant = self._dependencies.start_variant(variant_spec.variant.label, job, variant_spec.environment)
        self._interruption.set_stop_callback(lambda _: running_variant.kill())
        try:
            opened_report = running_variant.wait_until_open(
                self._limit_monitor.cap_duration_s(_COLD_START_TIMEOUT_S, self._dependencies.now_ns())
            )
        finally:
            running_variant.close()
        return VariantColdStart(
            is_cached=cached_model_path is not None,
            process_ms=(opened_report.start_ns - running_variant.started_ns) / 1e6,
            library_load_ms=opened_report.library_load_ms,
            session_build_ms=opened_report.session_build_ms,
            first_inference_ms=opened_report.first_inference_ms,
        )


_MEMORY_TOLERANCE_GIB = 0.05
_MEMORY_RELEASE_TIMEOUT_S = 5.0
_POLL_INTERVAL_S = 0.05


class MeasuredVariant(msgspec.Struct, frozen=True, kw_only=True):
    """A variant that was measured or skipped. `call_stages` describes the stages whose rows are in
    the store. `scores` contains one score per labeled row; `None` if the variant was not scored."""

    variant_spec: VariantSpec
    data: VariantData
    call_stages: tuple[CallStage, ...] = ()
    checks: tuple[Check, ...] = ()
    path: str | None = None
    """Path of the model file that was run; `None` if the model was not prepared."""
    decoder_costs: DecoderCosts | None = None
    """Costs of a language model; `None` for other models, and if the model was not prepared."""
    scores: Scores | None = None
    text_scores: TextScores | None = None
    """Predictions of a language model on the text of the profile; `None` if it was not scored."""
    consistency: BatchConsistency | None = None
    is_reference: bool = False
    """True if the variant is the first model, unmodified and on the CPU."""
    error: SizewiseError | None = None
    """Error that ended the variant early; `None` if there was no error."""


class _VariantState(msgspec.Struct):
    """State of a variant during its measurement, preserved if the variant fails later."""

    scenario_runner: ScenarioRunner
    prepared_model: PreparedModel | None = None
    cold_starts: tuple[VariantColdStart, ...] = ()
    scores: Scores | None = None
    text_scores: TextScores | None = None
    consistency: BatchConsistency | None = None


class VariantRunner:
    """Runner that measures variants one after another. It is used only by the session's thread."""

    def __init__(
        self,
        spec: LocalSpec,
        dependencies: LocalDependencies,
        run_log: RunLog,
        limit_monitor: LimitMonitor,
        interruption: Interruption,
    ) -> None:
        self._spec, self._dependencies, self._run_log = spec, dependencies, run_log
        self._limit_monitor, self._interruption = limit_monitor, interruption
        self._reference_cache = ReferenceCache(spec, dependencies, run_log, limit_monitor, interruption)
        self._cold_start_measurer = ColdStartMeasurer(spec, dependencies, run_log, limit_monitor, interruption)
        self.variants: list[MeasuredVariant] = []
        self._stage_indices = itertools.count()
        self._scored_texts: set[tuple[str, str]] = set()
        self._variant_names = name_variants([variant_spec.variant for variant_spec in spec.variants])

    @property
    def reference_scores(self) -> Scores | None:
        """Reference scores of the first model, with which the scores of all variants are compared;
        `None` if there are none."""
        return self._reference_cache.get_scores(self._spec.variants[0].model)

    @property
    def may_continue(self) -> bool:
        return self._limit_monitor.check(self._dependencies.now_ns()) and not self._interruption.is_requested

    def measure(self, variant_spec: VariantSpec) -> MeasuredVariant:
        """Measure one variant. Errors of the variant are recorded in the returned MeasuredVariant,
        and do not end the run."""
        variant_number = len(self.variants) + 1
        now_ns = self._dependencies.now_ns
        self._run_log.emit(
            events.VariantStarted(
                now_ns(),
                variant_number,
                len(self._spec.variants),
                variant_spec.variant,
                name=self._variant_names[variant_spec.variant],
                tests=tuple(scenario.test.name for scenario in self._spec.scenarios if scenario.test is not None),
            )
        )
        memory_before_gib = self._dependencies.read_gpu_memory_gib()
        scenario_runner = ScenarioRunner(
            self._spec,
            self._dependencies,
            self._run_log,
            variant_spec,
            self._stage_indices,
            lambda: self.may_continue,
            lambda duration_s: self._limit_monitor.cap_duration_s(duration_s, now_ns()),
        )
        state = _VariantState(scenario_runner)
        failure: SizewiseError | None = None
        try:
            self._measure_stages(variant_spec, state)
        except SizewiseError as error:
            failure = error
        self._wait_for_memory_release(variant_spec, memory_before_gib)
        measured_variant = self._build_measured_variant(variant_spec, state, failure)
        self.variants.append(measured_variant)
        self._dependencies.store.sync_rows()
        self._run_log.emit(events.VariantFinished(now_ns(), variant_number, measured_variant.data))
        return measured_variant

    def skip(self, variant_spec: VariantSpec, reason: str) -> None:
        variant_data = VariantData(
            variant=variant_spec.variant,
            model_file=variant_spec.model,
            model_sha256=None,
            size_bytes=None,
            failure=reason,
            is_excluded=True,
        )
        self.variants.append(MeasuredVariant(variant_spec=variant_spec, data=variant_data))

    def summarize_stages(self, measured_variant: MeasuredVariant) -> tuple[Stage, ...]:
        """Return the stages of a variant without telemetry metrics, which are added after the
        run."""
        return tuple(
            summarize_calls(self._dependencies.store.stage_calls(call_stage.index), call_stage, measured_variant.checks)
            for call_stage in measured_variant.call_stages
        )

    def _measure_stages(self, variant_spec: VariantSpec, state: _VariantState) -> None:
        state.prepared_model = self._dependencies.prepare_model(variant_spec, self._spec.data)
        outputs_path = None if variant_spec.is_language_model else self._reference_cache.get(variant_spec).outputs_path
        if not self.may_continue:
            return
        state.cold_starts = self._cold_start_measurer.measure(variant_spec, state.prepared_model)
        job = self.build_job(variant_spec, state.prepared_model, outputs_path)
        running_variant = self._dependencies.start_variant(variant_spec.variant.label, job, variant_spec.environment)
        self._interruption.set_stop_callback(lambda _: running_variant.kill())
        try:
            if not self.may_continue:  # A stop was requested before there was a process to kill.
                return
            self._dependencies.telemetry.watch("model", running_variant.pid)
            state.scenario_runner.opened_report = running_variant.wait_until_open(
                self._limit_monitor.cap_duration_s(OPEN_TIMEOUT_S, self._dependencies.now_ns())
            )
            state.scenario_runner.run_scenarios(running_variant)
            self._check_other_processes(variant_spec)
            self._score_text(variant_spec, state.prepared_model, state, running_variant)
            if self._spec.data.label is not None and self.may_continue:
                state.scores = decode_scores(
                    running_variant.score(
                        self._limit_monitor.cap_duration_s(SCORE_TIMEOUT_S, self._dependencies.now_ns())
                    )
                )
                self._dependencies.store.store_outputs(f"scores-{len(self.variants) + 1}", state.scores.values)
        finally:
            running_variant.close()

    def _score_text(
        self,
        variant_spec: VariantSpec,
        prepared_model: PreparedModel,
        state: _VariantState,
        running_variant: RunningVariant,
    ) -> None:
        """Predict the text of the profile with a language model, once per model and execution
        provider: the quality does not depend on the other settings.

        The greedy tokens at the largest batch are compared in the same process, that of the first
        variant, which usually has the smallest batch. A process opens the model without a batch
        size, which belongs to each generator, so the kernels are those of the other variants; and
        the tokens of each prompt alone, with which they are compared, are generated anyway. The
        peak memory of the variant is read before."""
        text = self._spec.text
        key = prepared_model.path, variant_spec.variant.provider
        if text is None or not variant_spec.is_language_model or not self.may_continue or key in self._scored_texts:
            return
        self._scored_texts.add(key)
        self._run_log.emit_phase("quality", f"predicting the text with {variant_spec.variant.label}")
        command = ScoreText(
            path=text.path,
            max_tokens=text.max_tokens,
            window_tokens=_WINDOW_TOKENS,
            batch=max(
                other.variant.batch
                for other in self._spec.variants
                if other.model == variant_spec.model and other.variant.provider == variant_spec.variant.provider
            ),
        )
        timeout_s = self._limit_monitor.cap_duration_s(_TEXT_TIMEOUT_S, self._dependencies.now_ns())
        try:
            report = running_variant.score_text(command, timeout_s)
        except SizewiseError as error:  # The tests were measured all the same.
            if self.may_continue:
                self._run_log.add_note(f"{variant_spec.variant.label}: the text was not predicted: {error}.")
            return
        self._dependencies.store.store_text_scores(f"text-{len(self.variants) + 1}", report.scores)
        state.text_scores, state.consistency = decode_text_scores(report.scores), report.consistency

    def _compute_kv_cache_bytes(self, variant_spec: VariantSpec, costs: DecoderCosts) -> int | None:
        """Return the size of the KV cache at the end of the longest test of a variant."""
        bytes_per_token = costs.kv_bytes_per_token
        lengths = [scenario.test.total_tokens for scenario in self._spec.scenarios if scenario.test is not None]
        if bytes_per_token is None or not lengths:
            return None
        return variant_spec.variant.batch * max(lengths) * bytes_per_token

    def _check_other_processes(self, variant_spec: VariantSpec) -> None:
        """Add a warning to the run if other processes used the GPUs while the variant ran."""
        processes = self._dependencies.find_foreign_processes(self._dependencies.telemetry.gpu_processes, {os.getpid()})
        if not processes:
            return
        process_text = ", ".join(f"process {process.pid} on GPU {process.gpu}" for process in processes)
        hint = (
            f"Other processes used the GPU while {variant_spec.variant.label} ran. Stop them, or use a dedicated GPU."
        )
        self._run_log.add_check(Check("other_processes_on_the_gpu", process_text, None, None, "WARN", hint))

    def build_job(self, variant_spec: VariantSpec, prepared_model: PreparedModel, reference: str | None) -> VariantJob:
        return VariantJob(
            model=prepared_model.path,
            provider=variant_spec.variant.provider,
            batch=variant_spec.variant.batch,
            settings=variant_spec.settings,
            rows=self._spec.data.rows,
            label=self._spec.data.label,
            output=self._spec.data.output,
            unscored_rows=self._spec.data.unscored_rows,
            reference=reference,
            memory_limit_bytes=self._spec.get_memory_limit_bytes(variant_spec.variant.provider),
            is_language_model=variant_spec.is_language_model,
        )

    def _is_reference(self, variant_spec: VariantSpec) -> bool:
        reference_model = self._spec.variants[0].model
        return (
            variant_spec.model == reference_model
            and variant_spec.precision == "as-is"
            and variant_spec.variant.provider == "cpu"
        )

    def _wait_for_memory_release(self, variant_spec: VariantSpec, memory_before_gib: dict[int, float]) -> None:
        """Wait until the GPU memory of the variant is released, so that the next variant starts in
        the same state. If the memory is not released in time, add a warning to the run."""
        poll_count = round(_MEMORY_RELEASE_TIMEOUT_S / _POLL_INTERVAL_S) if memory_before_gib else 0
        for _ in range(poll_count):
            if not self._find_unreleased_gpus(memory_before_gib):
                return
            self._dependencies.pause(_POLL_INTERVAL_S)
        if memory_before_gib and (unreleased_gpus := self._find_unreleased_gpus(memory_before_gib)):
            names = ", ".join(f"GPU {index}" for index in unreleased_gpus)
            hint = (
                f"GPU memory was not released within {_MEMORY_RELEASE_TIMEOUT_S:g} s after "
                f"{variant_spec.variant.label}. Check whether other processes use the GPU."
            )
            self._run_log.add_check(Check("gpu_memory_released", names, None, None, "WARN", hint))

    def _find_unreleased_gpus(self, memory_before_gib: dict[int, float]) -> list[int]:
        memory_now_gib = self._dependencies.read_gpu_memory_gib()
        return [
            index
            for index, previous_gib in memory_before_gib.items()
            if memory_now_gib.get(index, previous_gib) > previous_gib + _MEMORY_TOLERANCE_GIB
        ]

    def _build_measured_variant(
        self, variant_spec: VariantSpec, state: _VariantState, failure: SizewiseError | None
    ) -> MeasuredVariant:
        if failure is not None and not self.may_continue:
            failure = None  # Ended by the user or by a limit.
        prepared_model, opened_report, measured_reports = (
            state.prepared_model,
            state.scenario_runner.opened_report,
            state.scenario_runner.measured_reports,
        )
        costs = None if prepared_model is None else prepared_model.decoder_costs
        memory_peaks_bytes = [
            report.peak_memory_bytes for report in measured_reports if report.peak_memory_bytes is not None
        ]
        fidelities = [report.fidelity for report in measured_reports if report.fidelity is not None]
        outcome = state.scenario_runner.search_outcome
        variant_data = VariantData(
            variant=variant_spec.variant,
            model_file=variant_spec.model,
            model_sha256=None if prepared_model is None else prepared_model.sha256,
            size_bytes=None if prepared_model is None else prepared_model.size_bytes,
            failure=None if failure is None else str(failure),
            hint=None if failure is None else failure.hint,
            provider_used=None if opened_report is None else opened_report.provider_used,
            placements=() if opened_report is None else opened_report.placements,
            cold_starts=state.cold_starts,
            fidelity=fidelities[0] if fidelities else None,
            server_per_s=state.scenario_runner.server_per_s,
            is_server_rate_lower_bound=outcome is not None and outcome.is_lower_bound,
            is_server_rate_generator_limit=outcome is not None and outcome.is_generator_limited,
            language_model=None
            if prepared_model is None or prepared_model.language_model is None
            else LanguageModelData(
                architecture=prepared_model.language_model.architecture,
                context=prepared_model.language_model.context,
                weight_bytes=None if costs is None or costs.unknown_reason is not None else costs.weight_bytes,
                kv_bytes_per_token=None if costs is None else costs.kv_bytes_per_token,
                parameters=None if costs is None else costs.parameters,
                source_dtype=None if costs is None else costs.source_dtype,
                kv_cache_bytes=None if costs is None else self._compute_kv_cache_bytes(variant_spec, costs),
                opened_memory_bytes=None if opened_report is None else opened_report.memory_bytes,
            ),
            peak_memory_gib=max(memory_peaks_bytes) / 2**30 if memory_peaks_bytes else None,
            notes=()
            if prepared_model is None or opened_report is None
            else (*prepared_model.notes, *opened_report.notes),
        )
        return MeasuredVariant(
            variant_spec=variant_spec,
            data=variant_data,
            call_stages=tuple(state.scenario_runner.call_stages),
            checks=state.scenario_runner.checks,
            path=None if prepared_model is None else prepared_model.path,
            decoder_costs=costs,
            scores=state.scores,
            text_scores=state.text_scores,
            consistency=state.consistency,
            is_reference=self._is_reference(variant_spec),
            error=failure,
        )
