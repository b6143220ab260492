"""Check whether the prompts were distinct, and whether the target's servers served prompt tokens
from their prefix caches."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence

from app.analysis.prefix_cache import SERVER_BLOCK_TOKENS, Segment, SentPart, compute_load_share
from app.analysis.validity import check_prefix_cache, check_prompts
from app.records.result import PrefixReuse
from app.records.telemetry import Samples
from app.session.dependencies import SessionDependencies
from app.session.interruption import Interruption
from app.session.run_log import RunLog
from app.session.spec import RunSpec
from loadgen.payloads.datasets import draw_indices
from loadgen.payloads.prompts import iterate_document_blocks, iterate_trace_requests
from loadgen.records import Endpoint, PreflightDone
from loadgen.workloads import (
    DatasetPrompts,
    GrpcWorkload,
    HttpWorkload,
    MixedWorkload,
    OpenAiWorkload,
    Prompts,
    SessionPrompts,
    SyntheticPrompts,
    TracePrompts,
    Workload,
    list_workloads,
)

_MAX_REPETITIONS = 20
_SAME_BODY_NOTE = (
    "All requests had the same body, so a response cache may have served them. Use several `bodies`, or a `dataset`."
)


class CounterReader:
    """Reader of the counters that the target's servers report on their metrics pages.

    `samples` contains the latest reading, with one entry per server; it is empty before the first
    reading, and for workloads other than OpenAI and plain HTTP, whose servers are not read."""

    def __init__(self, spec: RunSpec, dependencies: SessionDependencies, interruption: Interruption) -> None:
        self._is_read = isinstance(spec.workload, OpenAiWorkload | HttpWorkload | MixedWorkload)
        self._dependencies, self._interruption = dependencies, interruption
        self._endpoint = spec.endpoint
        self.samples: tuple[Samples | None, ...] = ()

    def start(self, endpoint: Endpoint) -> None:
        """Read the counters of `endpoint` before the measured load."""
        self._endpoint = endpoint
        self.read()

    def read(self) -> tuple[Samples | None, ...]:
        may_read = self._is_read and not self._interruption.is_requested
        self.samples = self._dependencies.read_metrics(self._endpoint) if may_read else ()
        return self.samples


class PromptReuseMonitor:
    """Monitor that detects reused prompts and prefix cache hits during one run.

    The session calls the monitor with the preflight report, and at the start and the end of the
    measured load."""

    def __init__(self, spec: RunSpec, run_log: RunLog) -> None:
        self._workload, self._run_log = spec.workload, run_log
        self._samples_before: tuple[Samples | None, ...] = ()
        self._distinct_prompt_count: int | None = None
        self._prepared_count = 0
        self.prefix_reuse: PrefixReuse | None = None
        """Use of the prefix cache during the measured load; `None` until the end of the load, or if
        neither share is known."""

    def on_preflight(self, report: PreflightDone | None) -> None:
        """Check that the prompts of a language model are distinct. Do nothing for other
        workloads."""
        if report is None or report.distinct is None or report.prepared is None:
            return
        self._distinct_prompt_count, self._prepared_count = report.distinct, report.prepared
        self._run_log.add_check(check_prompts(report.distinct, report.prepared))

    def on_load_start(self, samples: tuple[Samples | None, ...]) -> None:
        self._samples_before = samples

    def on_load_end(self, samples_after: tuple[Samples | None, ...], sent_by_stage: Sequence[SentPart]) -> None:
        """Check whether the prefix cache counters of the target's servers increased during the
        measured load, and compare the increase with the prefixes of the prompts.

        `sent_by_stage` contains the requests that each stage sent."""
        is_expected = any(map(_reuses_prompts_by_design, list_workloads(self._workload)))
        check = check_prefix_cache(self._samples_before, samples_after, is_expected=is_expected)
        served_share = check.value if check is not None and isinstance(check.value, float) else None
        offered_share = self._compute_offered_share(sent_by_stage)
        if offered_share is not None or served_share is not None:
            self.prefix_reuse = PrefixReuse(offered_share, served_share, SERVER_BLOCK_TOKENS)
        if check is not None:
            self._run_log.add_check(check)
        if offered_share is not None:
            self._run_log.add_note(_format_shares(offered_share, served_share))
        elif check is not None and check.verdict == "VALID" and served_share:
            self._run_log.add_note(
                f"{100 * served_share:.2g} % of the prompt tokens came from the server's prefix cache."
            )

    def _compute_offered_share(self, sent_by_stage: Sequence[SentPart]) -> float | None:
        """Return the share of the prompt tokens that a prefix cache can serve, according to the hash
        IDs of the trace or the documents of the prompts; `None` if the prompts have neither. The
        preflight sends none of the prompts."""
        prompts = self._list_prompts_in_order()
        if not prompts:
            return None
        return compute_load_share(prompts, sent_by_stage)

    def _list_prompts_in_order(self) -> list[Sequence[Segment]]:
        """Return the segments of the prepared prompts in the order in which they are sent; empty if
        they are unknown."""
        workload = self._workload
        prompts = workload.prompts if isinstance(workload, OpenAiWorkload) else None
        if isinstance(prompts, TracePrompts) and prompts.hash_ids:
            requests = itertools.islice(iterate_trace_requests(prompts), self._prepared_count)
            # A prompt without hash IDs is random, so it shares no tokens.
            return [blocks or [(-2 - number, tokens)] for number, (blocks, tokens, _) in enumerate(requests)]
        if not isinstance(workload, OpenAiWorkload) or prompts is None or not _has_known_blocks(prompts):
            return []
        assert isinstance(prompts, SyntheticPrompts)
        blocks = iterate_document_blocks(prompts, workload.popularity, workload.seed)
        prepared: list[Sequence[Segment]] = list(itertools.islice(blocks, self._prepared_count))
        indices = draw_indices(workload.popularity, len(prepared), workload.seed)
        return prepared if indices is None else [prepared[index] for index in indices]

    def build_notes(self, sent: int) -> Iterator[str]:
        """Yield notes on reused prompts and request bodies. `sent` is the total number of requests
        sent, including the warm-up."""
        if _has_single_body(self._workload):
            yield _SAME_BODY_NOTE
        if self._distinct_prompt_count is None or self._distinct_prompt_count < 2:
            return
        repetitions = sent / self._distinct_prompt_count
        if repetitions > _MAX_REPETITIONS:
            yield (
                f"Each of the {self._distinct_prompt_count:,} different prompts was sent {repetitions:,.0f} times on "
                "average, so a prefix cache may have reduced the computation."
            )


def _format_shares(offered_share: float, served_share: float | None) -> str:
    served_text = "n/a" if served_share is None else f"{100 * served_share:.3g} %"
    return (
        f"Prefix cache hit rate: the prompts offer {100 * offered_share:.3g} % (unlimited cache, blocks of "
        f"{SERVER_BLOCK_TOKENS} tokens, without the chat template); the server reports {served_text}."
    )


def has_output_lengths(workload: Workload) -> bool:
    """Return True if the profile sets the number of output tokens per response."""
    if not isinstance(workload, OpenAiWorkload) or not workload.generates_text:
        return False
    prompts = workload.prompts
    match prompts:
        case SessionPrompts():
            return False
        case SyntheticPrompts():
            return prompts.has_output_lengths
        case DatasetPrompts():
            return prompts.output_tokens is not None
        case TracePrompts():
            return True


def _has_known_blocks(prompts: Prompts) -> bool:
    """Return True if prompts consist of documents and texts of known length, in a single message."""
    return (
        isinstance(prompts, SyntheticPrompts)
        and prompts.documents is not None
        and prompts.turns is None
        and prompts.images is None
        and prompts.audio is None
        and not prompts.options.tools
    )


def _reuses_prompts_by_design(workload: Workload) -> bool:
    """Return True if prompts overlap by design: they have shared prefixes, such as those of a trace,
    belong to multi-turn sessions, or have a skewed popularity."""
    if not isinstance(workload, OpenAiWorkload):
        return False
    prompts = workload.prompts
    match prompts:
        case SyntheticPrompts():
            has_shared_parts = bool(prompts.prefix_groups or prompts.turns or prompts.documents)
        case TracePrompts():
            has_shared_parts = bool(prompts.hash_ids)
        case DatasetPrompts():
            has_shared_parts = prompts.sessions
        case SessionPrompts():
            has_shared_parts = True
    return has_shared_parts or workload.popularity.kind != "sequential"


def _has_single_body(workload: Workload) -> bool:
    if isinstance(workload, GrpcWorkload):
        workload = workload.requests
    return getattr(workload, "dataset", None) is None and len(set(getattr(workload, "bodies", ()))) == 1
