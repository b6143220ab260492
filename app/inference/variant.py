"""One variant, opened in the measuring child: its sessions, what it is fed, and its answers to commands."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from pathlib import Path
from time import perf_counter_ns

import msgspec
import numpy as np

from app.errors import UsageError
from app.inference.callers import BoundCaller, Caller, PlainCaller, PostProcess
from app.inference.datasets.labelled import calibration_rows, load_labelled
from app.inference.job import (
    Began,
    Calls,
    GiveOutputs,
    Measure,
    Opened,
    Outputs,
    Report,
    Scored,
    VariantJob,
    VariantMeasured,
)
from app.inference.memory import peak_memory_bytes
from app.inference.providers import NVIDIA
from app.inference.rows import Array, InputRows, StoredRows, SyntheticRows, check_batch
from app.inference.sampling import KeptOutputs
from app.inference.scenarios import run_scenario
from app.inference.session import ModelSession, open_session, run_error, runtime_version
from app.records.local import Fidelity

FED_ROWS = 256
"""Rows that the calls of a stage go through in turn, or one batch where that is more."""
_MOST_BYTES = 64 * 2**20
"""Of outputs that are given as a reference."""


class OpenVariant:
    """Belongs to one thread. Raises what opening and running a model raise, in our words."""

    def __init__(self, job: VariantJob, begun_ns: int, library_load_ms: float) -> None:
        self._job, self._begun_ns, self._library_load_ms = job, begun_ns, library_load_ms
        start_ns = perf_counter_ns()
        self._sessions = [
            open_session(Path(job.model), job.provider, job.settings.threads, job.settings, device)
            for device in job.settings.devices
        ]
        self._session_build_ms = (perf_counter_ns() - start_ns) / 1e6
        first = self._sessions[0]
        self._answer_index = 0
        """Of the output that labels are compared with."""
        check_batch(first.inputs, job.batch)
        self._stored = None if job.rows is None else _stored(job, first)
        rows = self._rows(job.batch)
        self._notes = rows.notes
        feeds = rows.batch(0, job.batch)
        start_ns = perf_counter_ns()
        self._graph_caller: Caller | None = None
        if job.settings.cuda_graph:  # the first run is captured with its places, and replayed ever after
            self._graph_caller = self._caller(first, job.settings.devices[0], rows, job.batch)
            outputs: Sequence[Array] = ()
        else:
            outputs = first.run(feeds)
        self._first_inference_ms = (perf_counter_ns() - start_ns) / 1e6
        self._check_labels(outputs)

    def opened(self) -> Opened:
        first = self._sessions[0]
        fallen = next((one for one in self._sessions if one.provider_used != one.provider_requested), first)
        return Opened(
            begun_ns=self._begun_ns,
            library_load_ms=self._library_load_ms,
            session_build_ms=self._session_build_ms,
            first_inference_ms=self._first_inference_ms,
            inputs=first.inputs,
            outputs=first.outputs,
            runtime_version=runtime_version(),
            provider_used=fallen.provider_used,
            provider_reason=fallen.provider_reason,
            placements=tuple(dict.fromkeys(part for one in self._sessions for part in one.placements)),
            notes=self._notes,
        )

    def measure(self, plan: Measure, tell: Callable[[Report], None]) -> VariantMeasured:
        """Rows are told window by window."""
        check_batch(self._sessions[0].inputs, plan.batch)
        rows = self._rows(plan.batch)
        kept = KeptOutputs(is_wanted=self._job.reference is not None)
        starts = range(0, max(1, min(FED_ROWS, len(rows)) - plan.batch + 1), plan.batch)
        try:
            callers = [self._graph_caller] if self._graph_caller is not None else self._callers(rows, plan)
            ended = run_scenario(plan, callers, starts, _Teller(tell), kept)
        except Exception as error:  # ONNX Runtime's errors share no base class
            raise run_error(error) from error
        return VariantMeasured(
            end_ns=ended.end_ns,
            half_width=ended.half_width,
            peak_memory_bytes=peak_memory_bytes(),
            fidelity=self._fidelity(kept, plan.batch),
        )

    def outputs(self, wanted: GiveOutputs) -> Outputs:
        """Of as many rows as there are, of those wanted, and not more than a pipe should carry."""
        batch = self._job.batch
        rows = self._rows(batch)
        parts: list[Array] = []
        for start in range(0, max(1, min(wanted.rows, len(rows)) - batch + 1), batch):
            parts.append(self._plain.run(rows.batch(start, batch))[0])
            if sum(part.nbytes for part in parts) >= _MOST_BYTES:
                break
        if len({part.shape[1:] for part in parts}) > 1:
            raise UsageError("the model's first output changes its shape with the rows, so none can be held against it")
        output = np.concatenate(parts) if parts[0].ndim else parts[0]
        if output.dtype.kind not in "fiub":
            raise UsageError("the model's first output is text, which no other can be held against")
        return Outputs(dtype=output.dtype.name, shape=output.shape, content=np.ascontiguousarray(output).tobytes())

    def score(self) -> Scored:
        """Of every labelled row, by the output that answers them. Raises UsageError for outputs that answer no rows."""
        from app.analysis.local.accuracy import chance_of
        from app.inference.scoring import metric_of, scores_of

        stored = self._stored
        if stored is None or stored.labels is None:
            raise UsageError("there are no labelled rows to score")
        metric, size = metric_of(stored.labels), self._job.batch
        scores = []
        for start in range(0, len(stored), size):
            labels = stored.labels[start : start + size]
            output = self._plain.run(stored.batch(start, size))[self._answer_index]
            scores.append(scores_of(output, labels, metric))
        every = np.concatenate(scores).astype(np.float64)
        if self._job.unscored_rows:
            every = np.delete(every, calibration_rows(len(every), self._job.unscored_rows))
        return Scored(metric=metric, scores=every.tobytes(), chance=chance_of(stored.labels))

    @functools.cached_property
    def _plain(self) -> ModelSession:
        """To be run by plain calls, which a session with a captured graph would not heed."""
        if not self._job.settings.cuda_graph:
            return self._sessions[0]
        settings, job = msgspec.structs.replace(self._job.settings, cuda_graph=False), self._job
        return open_session(Path(job.model), job.provider, settings.threads, settings, settings.devices[0])

    def _check_labels(self, outputs: Sequence[Array]) -> None:
        """Before anything is timed that labels of another model would make worthless."""
        if self._stored is None or self._stored.labels is None:
            return
        from app.inference.scoring import answer_index, check_answers

        if self._graph_caller is not None:  # its capture gave no outputs
            self._graph_caller.call(0)
            outputs = self._graph_caller.outputs
        labels = self._stored.labels
        named = [(spec.name, output) for spec, output in zip(self._sessions[0].outputs, outputs, strict=True)]
        self._answer_index = answer_index(named, labels[: self._job.batch], self._job.output)
        check_answers(outputs[self._answer_index], labels, self._job.batch)

    def _rows(self, batch: int) -> InputRows:
        if self._stored is not None:
            return self._stored
        return SyntheticRows(self._sessions[0].inputs, batch, self._job.settings.axes)

    def _callers(self, rows: InputRows, plan: Measure) -> list[Caller]:
        return [
            self._caller(session, device, rows, plan.batch)
            for session, device in zip(self._sessions, self._job.settings.devices, strict=True)
            for _ in range(plan.streams)
        ]

    def _caller(self, session: ModelSession, device: int, rows: InputRows, batch: int) -> Caller:
        post_process = self._post_process()
        if not self._job.settings.io_binding:
            return PlainCaller(session, rows, batch, post_process)
        place = "cuda" if session.provider_used in NVIDIA else "cpu"  # where it fell back to, its tensors are too
        return BoundCaller(session, rows, batch, post_process, (place, device if place == "cuda" else 0))

    def _post_process(self) -> PostProcess:
        """Of classes, which one is the answer; of all else there is nothing that every user would do."""
        labels = None if self._stored is None else self._stored.labels
        if labels is None or labels.dtype.kind == "f":
            return _nothing
        return self._answers

    def _answers(self, outputs: Sequence[Array]) -> object:
        answers = outputs[self._answer_index]
        return answers.argmax(axis=-1) if answers.ndim > 1 else answers

    def _fidelity(self, kept: KeptOutputs, batch: int) -> Fidelity | None:
        if self._job.reference is None:
            return None
        from app.analysis.local.fidelity import fidelity_of

        with np.load(self._job.reference, allow_pickle=False) as stored:
            pair = kept.beside(stored["outputs"], batch)
        return None if pair is None or pair[0].dtype.kind not in "fiub" else fidelity_of(*pair)


def _stored(job: VariantJob, session: ModelSession) -> StoredRows:
    assert job.rows is not None
    return load_labelled(Path(job.rows), session.inputs, job.label, largest_batch=job.batch)


class _Teller:
    def __init__(self, tell: Callable[[Report], None]) -> None:
        self._tell = tell

    def began(self, start_ns: int, warmup_windows: int, has_settled: bool) -> None:
        self._tell(Began(start_ns=start_ns, warmup_windows=warmup_windows, has_settled=has_settled))

    def calls(self, packed: bytes) -> None:
        self._tell(Calls(packed))


def _nothing(outputs: Sequence[Array]) -> None:
    pass
