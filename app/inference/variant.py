"""A variant opened in the measuring child process, with its sessions and input rows. It executes
the commands of the parent process."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from pathlib import Path
from time import perf_counter_ns

import msgspec
import numpy as np

from app.errors import UsageError
from app.inference.callers import BoundCaller, Caller, PlainCaller, PostProcess
from app.inference.datasets.labeled import load_labeled_rows, select_calibration_rows
from app.inference.job import (
    CallRows,
    ComputeOutputs,
    Measure,
    MeasurementStarted,
    Outputs,
    Report,
    VariantJob,
    VariantMeasured,
    VariantOpened,
    VariantScored,
)
from app.inference.memory import read_peak_memory_bytes
from app.inference.providers import NVIDIA_PROVIDERS
from app.inference.rows import Array, InputRows, StoredRows, SyntheticRows, check_batch
from app.inference.sampling import OutputSampler
from app.inference.scenarios import run_scenario
from app.inference.session import ModelSession, get_runtime_version, open_session, translate_run_error
from app.records.local import Fidelity

MAX_FED_ROWS = 256
"""Maximum number of distinct input rows that a stage cycles through. A stage always feeds at least
one batch."""
_MAX_BYTES = 64 * 2**20
"""Size in bytes of the reference outputs, after which no further batch is computed."""


class OpenVariant:
    """An opened variant, used by one thread. Errors while opening or running a model are raised as
    errors of Sizewise."""

    def __init__(self, job: VariantJob, process_start_ns: int, library_load_ms: float) -> None:
        self._job, self._start_ns, self._library_load_ms = job, process_start_ns, library_load_ms
        start_ns = perf_counter_ns()
        self._sessions = [
            open_session(Path(job.model), job.provider, job.settings.threads, job.settings, device)
            for device in job.settings.devices
        ]
        self._session_build_ms = (perf_counter_ns() - start_ns) / 1e6
        first_session = self._sessions[0]
        self._scored_output_index = 0
        """Index of the model output that is compared with the labels."""
        check_batch(first_session.inputs, job.batch)
        self._stored_rows = None if job.rows is None else _load_stored_rows(job, first_session)
        rows = self._get_rows(job.batch)
        self._notes = rows.notes
        feeds = rows.batch(0, job.batch)
        start_ns = perf_counter_ns()
        self._graph_caller: Caller | None = None
        if job.settings.cuda_graph:  # The first run is captured with its buffers, and later runs replay it.
            self._graph_caller = self._build_caller(first_session, job.settings.devices[0], rows, job.batch)
            outputs: Sequence[Array] = ()
        else:
            outputs = first_session.run(feeds)
        self._first_inference_ms = (perf_counter_ns() - start_ns) / 1e6
        self._check_labels(outputs)

    def build_opened_report(self) -> VariantOpened:
        first_session = self._sessions[0]
        reported_session = next(
            (session for session in self._sessions if session.provider_used != session.provider_requested),
            first_session,
        )
        return VariantOpened(
            start_ns=self._start_ns,
            library_load_ms=self._library_load_ms,
            session_build_ms=self._session_build_ms,
            first_inference_ms=self._first_inference_ms,
            inputs=first_session.inputs,
            outputs=first_session.outputs,
            runtime_version=get_runtime_version(),
            provider_used=reported_session.provider_used,
            provider_reason=reported_session.provider_reason,
            placements=tuple(
                dict.fromkeys(placement for session in self._sessions for placement in session.placements)
            ),
            notes=self._notes,
        )

    def measure(self, command: Measure, send: Callable[[Report], None]) -> VariantMeasured:
        """Run one scenario, and send new calls as packed rows, window by window. Return the report
        of its end."""
        check_batch(self._sessions[0].inputs, command.batch)
        rows = self._get_rows(command.batch)
        sampler = OutputSampler(is_enabled=self._job.reference is not None)
        starts = range(0, max(1, min(MAX_FED_ROWS, len(rows)) - command.batch + 1), command.batch)
        try:
            callers = [self._graph_caller] if self._graph_caller is not None else self._build_callers(rows, command)
            scenario_end = run_scenario(command, callers, starts, _ReportSender(send), sampler)
        except Exception as error:  # ONNX Runtime's errors share no base class
            raise translate_run_error(error) from error
        return VariantMeasured(
            end_ns=scenario_end.end_ns,
            half_width=scenario_end.half_width,
            peak_memory_bytes=read_peak_memory_bytes(),
            fidelity=self._compute_fidelity(sampler, command.batch),
        )

    def compute_outputs(self, command: ComputeOutputs) -> Outputs:
        """Return the model's first output for the requested rows, limited to the available rows and
        to about 64 MiB. Raises UsageError if the outputs cannot be compared."""
        batch = self._job.batch
        rows = self._get_rows(batch)
        batch_outputs: list[Array] = []
        for start in range(0, max(1, min(command.rows, len(rows)) - batch + 1), batch):
            batch_outputs.append(self._plain_session.run(rows.batch(start, batch))[0])
            if sum(batch_output.nbytes for batch_output in batch_outputs) >= _MAX_BYTES:
                break
        if len({batch_output.shape[1:] for batch_output in batch_outputs}) > 1:
            raise UsageError("the shape of the model's first output depends on the rows, so outputs cannot be compared")
        output = np.concatenate(batch_outputs) if batch_outputs[0].ndim else batch_outputs[0]
        if output.dtype.kind not in "fiub":
            raise UsageError("the model's first output is not numeric, so outputs cannot be compared")
        return Outputs(dtype=output.dtype.name, shape=output.shape, content=np.ascontiguousarray(output).tobytes())

    def score(self) -> VariantScored:
        """Return one score per labeled row. Raises UsageError if there are no labeled rows, or if
        an output does not have one result per row."""
        from app.analysis.local.accuracy import compute_chance_accuracy
        from app.inference.scoring import compute_scores, select_metric

        stored_rows = self._stored_rows
        if stored_rows is None or stored_rows.labels is None:
            raise UsageError("there are no labeled rows to score")
        metric, batch = select_metric(stored_rows.labels), self._job.batch
        scores = []
        for start in range(0, len(stored_rows), batch):
            labels = stored_rows.labels[start : start + batch]
            output = self._plain_session.run(stored_rows.batch(start, batch))[self._scored_output_index]
            scores.append(compute_scores(output, labels, metric))
        all_scores = np.concatenate(scores).astype(np.float64)
        if self._job.unscored_rows:
            all_scores = np.delete(all_scores, select_calibration_rows(len(all_scores), self._job.unscored_rows))
        return VariantScored(
            metric=metric, scores=all_scores.tobytes(), chance_accuracy=compute_chance_accuracy(stored_rows.labels)
        )

    @functools.cached_property
    def _plain_session(self) -> ModelSession:
        """Session for calls without a captured CUDA graph. A session with a captured CUDA graph
        would ignore the inputs of such calls."""
        if not self._job.settings.cuda_graph:
            return self._sessions[0]
        settings, job = msgspec.structs.replace(self._job.settings, cuda_graph=False), self._job
        return open_session(Path(job.model), job.provider, settings.threads, settings, settings.devices[0])

    def _check_labels(self, outputs: Sequence[Array]) -> None:
        """Determine the model output that is compared with the labels. Raise UsageError if the
        labels do not fit the model. The check precedes all timing, because labels of another model
        would make the measurement worthless."""
        if self._stored_rows is None or self._stored_rows.labels is None:
            return
        from app.inference.scoring import check_outputs, find_scored_output_index

        if self._graph_caller is not None:  # The graph capture returned no outputs.
            self._graph_caller.call(0)
            outputs = self._graph_caller.outputs
        labels = self._stored_rows.labels
        named_outputs = [(spec.name, output) for spec, output in zip(self._sessions[0].outputs, outputs, strict=True)]
        self._scored_output_index = find_scored_output_index(named_outputs, labels[: self._job.batch], self._job.output)
        check_outputs(outputs[self._scored_output_index], labels, self._job.batch)

    def _get_rows(self, batch: int) -> InputRows:
        if self._stored_rows is not None:
            return self._stored_rows
        return SyntheticRows(self._sessions[0].inputs, batch, self._job.settings.axes)

    def _build_callers(self, rows: InputRows, command: Measure) -> list[Caller]:
        return [
            self._build_caller(session, device, rows, command.batch)
            for session, device in zip(self._sessions, self._job.settings.devices, strict=True)
            for _ in range(command.streams)
        ]

    def _build_caller(self, session: ModelSession, device: int, rows: InputRows, batch: int) -> Caller:
        post_process = self._select_post_process()
        if not self._job.settings.io_binding:
            return PlainCaller(session, rows, batch, post_process)
        # After a fallback, the tensors are on the fallback device as well.
        device_type = "cuda" if session.provider_used in NVIDIA_PROVIDERS else "cpu"
        return BoundCaller(session, rows, batch, post_process, (device_type, device if device_type == "cuda" else 0))

    def _select_post_process(self) -> PostProcess:
        """Return the post-processing step of a call: selection of the most likely class if the
        labels are classes, otherwise no step."""
        labels = None if self._stored_rows is None else self._stored_rows.labels
        if labels is None or labels.dtype.kind == "f":
            return _no_post_process
        return self._predict_classes

    def _predict_classes(self, outputs: Sequence[Array]) -> object:
        scores = outputs[self._scored_output_index]
        return scores.argmax(axis=-1) if scores.ndim > 1 else scores

    def _compute_fidelity(self, sampler: OutputSampler, batch: int) -> Fidelity | None:
        if self._job.reference is None:
            return None
        from app.analysis.local.fidelity import compute_fidelity

        with np.load(self._job.reference, allow_pickle=False) as archive:
            pair = sampler.pair_with_reference(archive["outputs"], batch)
        return None if pair is None or pair[0].dtype.kind not in "fiub" else compute_fidelity(*pair)


def _load_stored_rows(job: VariantJob, session: ModelSession) -> StoredRows:
    assert job.rows is not None
    return load_labeled_rows(Path(job.rows), session.inputs, job.label, max_batch=job.batch)


class _ReportSender:
    def __init__(self, send: Callable[[Report], None]) -> None:
        self._send = send

    def on_started(self, start_ns: int, warmup_windows: int, is_stationary: bool) -> None:
        self._send(MeasurementStarted(start_ns=start_ns, warmup_windows=warmup_windows, is_stationary=is_stationary))

    def on_calls(self, packed: bytes) -> None:
        self._send(CallRows(packed))


def _no_post_process(outputs: Sequence[Array]) -> None:
    pass
