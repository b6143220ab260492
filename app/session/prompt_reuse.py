"""Checks of benchmark practice: whether the prompts were distinct, and whether the server cached any of them."""

from __future__ import annotations

from collections.abc import Iterator

from app.analysis.validity import prefix_cache_check, prompts_check
from app.records.telemetry import Samples
from app.session.dependencies import SessionDependencies
from app.session.interruption import Interruption
from app.session.run_log import RunLog
from app.session.spec import RunSpec
from loadgen.records import Endpoint, PreflightDone
from loadgen.workloads import (
    DatasetPrompts,
    HttpWorkload,
    OpenAiWorkload,
    SyntheticPrompts,
    TorchServeWorkload,
    Workload,
)

_REUSE_WARNING_FACTOR = 20
_SAME_BODY = "All requests had the same body, so a response cache would hide the model. Use `bodies` or `dataset`."


class PromptReuseMonitor:
    """Detects reused prompts and prefix-cache hits during one run.

    The session calls it with the preflight report, and when the measured load begins and ends.
    """

    def __init__(self, spec: RunSpec, parts: SessionDependencies, run_log: RunLog, interruption: Interruption) -> None:
        self._workload, self._parts = spec.workload, parts
        self._telling, self._interruption = run_log, interruption
        self._before: tuple[Samples | None, ...] = ()
        self._distinct: int | None = None

    def on_preflight(self, report: PreflightDone | None) -> None:
        """Check that the prompts of a language model are distinct; do nothing for other workloads."""
        if report is None or report.distinct is None or report.prepared is None:
            return
        self._distinct = report.distinct
        self._telling.add_check(prompts_check(report.distinct, report.prepared))

    def on_load_start(self, endpoint: Endpoint) -> None:
        self._before = self._read(endpoint)

    def on_load_end(self, endpoint: Endpoint) -> None:
        """Check whether the server's prefix-cache counters moved during the measured load."""
        after = self._read(endpoint) if any(self._before) else ()
        check = prefix_cache_check(self._before, after, is_expected=_reuses_prompts_by_design(self._workload))
        if check is None:
            return
        self._telling.add_check(check)
        if check.verdict == "VALID" and isinstance(check.value, float) and check.value > 0:
            share = f"{100 * check.value:.2g} %"
            self._telling.add_note(f"{share} of the prompt tokens came from the server's prefix cache.")

    def notes(self, sent: int) -> Iterator[str]:
        """Return notes on reused prompts and bodies. `sent` counts all requests, including the warm-up."""
        if _has_one_body(self._workload):
            yield _SAME_BODY
        if self._distinct is None or self._distinct < 2:
            return
        sends = sent / self._distinct
        if sends > _REUSE_WARNING_FACTOR:
            yield (
                f"Each of the {self._distinct:,} different prompts was sent {sends:,.0f} times on average, so a "
                "prompt cache may have reduced the work of the model."
            )

    def _read(self, endpoint: Endpoint) -> tuple[Samples | None, ...]:
        """Read the counters of the target's servers.

        Only targets of OpenAI and plain HTTP workloads are read, since no other kind has a prefix cache.
        """
        has_counters = isinstance(self._workload, OpenAiWorkload | HttpWorkload)
        return self._parts.read_metrics(endpoint) if has_counters and not self._interruption.is_requested else ()


def has_output_lengths(workload: Workload) -> bool:
    """Return whether the profile sets the number of output tokens per response."""
    if not isinstance(workload, OpenAiWorkload) or workload.api in ("embeddings", "rerank"):
        return False
    prompts = workload.prompts
    return not isinstance(prompts, SyntheticPrompts | DatasetPrompts) or prompts.output_tokens is not None


def _reuses_prompts_by_design(workload: Workload) -> bool:
    """Return whether prompts overlap by design: shared prefixes, multi-turn sessions, or a skewed popularity."""
    if not isinstance(workload, OpenAiWorkload):
        return False
    prompts = workload.prompts
    shares = isinstance(prompts, SyntheticPrompts) and (prompts.prefix_groups > 0 or prompts.turns is not None)
    return shares or workload.popularity.kind != "in-turn"


def _has_one_body(workload: Workload) -> bool:
    if not isinstance(workload, HttpWorkload | TorchServeWorkload) or workload.dataset is not None:
        return False
    return len(set(workload.bodies)) == 1
