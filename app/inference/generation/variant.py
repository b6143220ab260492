"""A language model opened in the measuring child process. It executes the commands of the parent
process: each runs one test repeatedly."""

from __future__ import annotations

import statistics
from array import array
from collections.abc import Callable
from pathlib import Path
from time import perf_counter_ns
from typing import Any

import numpy as np
import numpy.typing as npt
import onnxruntime_genai as genai

from app.analysis.estimates import estimate_mean
from app.analysis.warmup import is_stable
from app.inference.generation.evaluation_files import encode_text_scores, read_evaluation_text
from app.inference.generation.model_folder import GenerativeModel, check_test_length, read_model_folder
from app.inference.generation.quality import compare_greedy_tokens, encode_text, score_text, select_prompts
from app.inference.generation.runtime import convert_run_error, get_genai_version, open_generative_model
from app.inference.job import (
    CallRows,
    Measure,
    MeasurementStarted,
    Report,
    ScoreText,
    TextScored,
    VariantJob,
    VariantMeasured,
    VariantOpened,
)
from app.inference.memory import read_memory_bytes, read_peak_memory_bytes
from app.records.calls import COLUMNS
from app.records.local import GenerationTest

_FLUSH_NS = 250_000_000
"""Minimum time in ns between two reports of steps."""
_COMPARED_TOKENS = 32
"""Number of tokens of the prompts, and of the responses, that are compared between batch sizes."""
_FIRST_ORDINARY_ID = 3
"""First token ID of random prompts, so that no prompt starts with a special token of common
tokenizers."""

Send = Callable[[Report], None]


class OpenGenerativeVariant:
    """An opened language model, used by one thread. Errors while opening or running the model are
    raised as errors of Sizewise."""

    def __init__(self, job: VariantJob, process_start_ns: int, library_load_ms: float) -> None:
        self._job, self._start_ns, self._library_load_ms = job, process_start_ns, library_load_ms
        self._description = read_model_folder(Path(job.model))
        start_ns = perf_counter_ns()
        self._model = open_generative_model(self._description, job.provider, job.settings.threads)
        self._session_build_ms = (perf_counter_ns() - start_ns) / 1e6
        start_ns = perf_counter_ns()
        test = GenerationTest(1, 1)
        try:
            TestRun(self._model, self._description, test, job.batch, seed=0).run_once(lambda *_: None)
        except RuntimeError as error:
            raise convert_run_error(self._description, error) from error
        self._first_inference_ms = (perf_counter_ns() - start_ns) / 1e6
        self._memory_bytes = read_memory_bytes()

    def build_opened_report(self) -> VariantOpened:
        return VariantOpened(
            start_ns=self._start_ns,
            library_load_ms=self._library_load_ms,
            session_build_ms=self._session_build_ms,
            first_inference_ms=self._first_inference_ms,
            inputs=(),
            outputs=(),
            runtime_version=get_genai_version(),
            provider_used=self._job.provider,
            provider_reason=None,
            placements=(),
            memory_bytes=self._memory_bytes,
        )

    def measure(self, command: Measure, send: Send) -> VariantMeasured:
        """Repeat a test, and report its steps. The warm-up and the measurement end as in
        `Measure`."""
        assert command.test is not None
        try:
            run = TestRun(self._model, self._description, command.test, command.batch, command.seed)
            return _measure_test(run, command, send)
        except RuntimeError as error:
            raise convert_run_error(self._description, error) from error

    def score_text(self, command: ScoreText) -> TextScored:
        """Predict the tokens of a text, and compare the greedy tokens of a batch with those of each
        prompt alone. Raises UsageError if the text cannot be used."""
        try:
            tokens = encode_text(self._model, read_evaluation_text(Path(command.path)), command.max_tokens)
            window_tokens = min(command.window_tokens, self._description.context - 1)
            scores = score_text(self._model, tokens, window_tokens, window_tokens // 2)
            consistency = None
            if 1 < command.batch < tokens.size:
                prompts = select_prompts(tokens, command.batch, min(_COMPARED_TOKENS, tokens.size - command.batch))
                consistency = compare_greedy_tokens(self._model, prompts, _COMPARED_TOKENS)
        except RuntimeError as error:
            raise convert_run_error(self._description, error) from error
        return TextScored(scores=encode_text_scores(scores), consistency=consistency)


def _measure_test(run: TestRun, command: Measure, send: Send) -> VariantMeasured:
    reporter = StepReporter(send)
    deadline_ns = perf_counter_ns() + round(command.max_warmup_s * 1e9)
    warmup_times_s: list[float] = []
    while not is_stable(warmup_times_s) and (not warmup_times_s or perf_counter_ns() < deadline_ns):
        warmup_times_s.append(reporter.run_repetition(run))
    reporter.flush()
    start_ns = perf_counter_ns()
    send(
        MeasurementStarted(
            start_ns=start_ns, warmup_windows=len(warmup_times_s), is_stationary=is_stable(warmup_times_s)
        )
    )
    times_s: list[float] = []
    while True:
        times_s.append(reporter.run_repetition(run))
        elapsed_s = (perf_counter_ns() - start_ns) / 1e9
        half_width = _compute_half_width(times_s)
        has_enough = (
            elapsed_s >= command.min_duration_s
            and len(times_s) >= command.min_calls
            and half_width is not None
            and half_width <= command.half_width
        )
        # Another repetition is started only if it probably ends in time.
        if has_enough or elapsed_s + statistics.median(times_s) > command.max_duration_s:
            reporter.flush()
            return VariantMeasured(
                end_ns=reporter.last_end_ns,
                half_width=half_width,
                peak_memory_bytes=read_peak_memory_bytes(),
                fidelity=None,
            )


def _compute_half_width(times_s: list[float]) -> float | None:
    estimate = estimate_mean(times_s)
    if estimate.ci95 is None or not estimate.value:
        return None
    return (estimate.ci95[1] - estimate.value) / estimate.value


RecordStep = Callable[[int, int, int], None]
"""Function that records a step: its begin, the end of the execution, and its end, in ns."""


class StepReporter:
    """Records the steps of repetitions as rows of `app.records.calls`, and sends them at most four
    times per second, so that short repetitions are not disturbed."""

    def __init__(self, send: Send) -> None:
        self._send, self._rows, self._repetition = send, array("q"), 0
        self._flushed_ns = self.last_end_ns = perf_counter_ns()

    def run_repetition(self, run: TestRun) -> float:
        """Run one repetition, and return its duration in s."""
        begin_ns = run.run_once(self._record_step)
        self._repetition += 1
        return (self.last_end_ns - begin_ns) / 1e9

    def _record_step(self, begin_ns: int, executed_ns: int, end_ns: int) -> None:
        self._rows.extend((self._repetition, 0, -1, begin_ns, begin_ns, -1, executed_ns, -1, end_ns))
        self.last_end_ns = end_ns
        if end_ns - self._flushed_ns > _FLUSH_NS:
            self.flush()

    def flush(self) -> None:
        """Send the steps that were not sent yet."""
        if self._rows:
            self._send(CallRows(self._rows.tobytes()))
            self._rows = array("q")
        self._flushed_ns = perf_counter_ns()


assert len(COLUMNS) == 9


class TestRun:
    """A test prepared for repetition: a generator whose KV cache has room for the test, and random
    prompts.

    Before each repetition, the KV cache is reset to the depth of the test. ONNX Runtime GenAI can
    extend a non-empty cache only for a batch of 1, so a larger batch is filled again; profiles refuse
    tests that need a batch of 1."""

    def __init__(self, model: Any, description: GenerativeModel, test: GenerationTest, batch: int, seed: int) -> None:
        check_test_length(test, description.context, description.folder)
        length = test.context_tokens
        parameters = genai.GeneratorParams(model)
        parameters.set_search_options(max_length=length, min_length=length, batch_size=batch, do_sample=False)
        self._generator, self._test = genai.Generator(model, parameters), test
        prompt_tokens = test.prompt_tokens or 1  # The last token of the depth, whose logits give the first new token.
        total_tokens = max(1, test.depth + test.prompt_tokens)
        ids = np.random.default_rng(seed).integers(_FIRST_ORDINARY_ID, description.vocabulary, (batch, total_tokens))
        tokens: npt.NDArray[np.int32] = ids.astype(np.int32)
        self._cached_count = total_tokens - prompt_tokens if batch == 1 else 0
        self._cached_ids, self._prompt_ids = tokens[:, : self._cached_count], tokens[:, self._cached_count :]
        self._is_cache_filled = False

    def run_once(self, record_step: RecordStep) -> int:
        """Run one repetition, and return its begin in ns."""
        generator, test = self._generator, self._test
        self._reset_cache()
        first_ns = perf_counter_ns()
        generator.append_tokens(self._prompt_ids)
        executed_ns = perf_counter_ns()
        if test.output_tokens:
            generator.generate_next_token()  # This only samples a token from the logits of the prompt.
        steps = test.output_tokens
        end_ns = perf_counter_ns()
        if test.prompt_tokens:
            record_step(first_ns, executed_ns, end_ns)
            steps -= 1
        else:
            first_ns = end_ns
        for _ in range(steps):
            begin_ns = end_ns
            generator.generate_next_token()
            end_ns = perf_counter_ns()
            record_step(begin_ns, end_ns, end_ns)
        return first_ns

    def _reset_cache(self) -> None:
        """Reset the KV cache to the tokens that are not part of the repetition."""
        if not self._cached_count or not self._is_cache_filled:
            self._generator.rewind_to(0)
        if self._cached_count and not self._is_cache_filled:
            self._generator.append_tokens(self._cached_ids)
            self._is_cache_filled = True
        self._generator.rewind_to(self._cached_count)
