"""What a reader must know of how a run was measured."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from loadgen.workloads import OipWorkload, OpenAiWorkload, SyntheticPrompts, Workload

_CEILING = (
    "The generator's ceiling is that of plain HTTP requests: gRPC calls cost it more, so look at the generator's CPU "
    "too."
)

_SESSIONS = (
    "Arrivals are sessions of several turns: rates asked for, and a max rate, count sessions; offered, achieved, good "
    "and completed rates count their requests."
)


def notes_of(
    workload: Workload, told: Sequence[str], token_sources: Counter[str], by_user: Sequence[str]
) -> tuple[str, ...]:
    """Each once: what was told before and at the preflight, where tokens were counted, what the user noted."""
    noted = (f"Noted during the run: {text}" for text in by_user)
    return tuple(dict.fromkeys((*_of_manner(workload), *told, *_of_tokens(token_sources), *noted)))


def _of_manner(workload: Workload) -> tuple[str, ...]:
    match workload:
        case OipWorkload(transport="grpc" | "grpc-stream"):
            return (_CEILING,)
        case OpenAiWorkload(api="chat" | "completions" | "responses", prompts=SyntheticPrompts(turns=turns)):
            return () if turns is None else (_SESSIONS,)
        case _:
            return ()


def _of_tokens(counts: Counter[str]) -> tuple[str, ...]:
    notes = []
    if counts["chunks"]:
        share = counts["chunks"] / counts.total()
        whose = "" if share == 1 else f" of {100 * share:.3g} % of the answers"
        notes.append(f"Output tokens{whose} are chunks of the stream, each counted as one: the server told no usage.")
    if counts["tokenizer"]:
        notes.append("Output tokens were counted with the profile's tokenizer where the server told no usage.")
    return tuple(notes)
