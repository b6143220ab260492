"""What a reader must know of how a run was measured."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import pyarrow as pa
import pyarrow.compute as pc

from loadgen.records import OipWorkload, OpenAiWorkload, SyntheticPrompts, Workload

_CEILING = (
    "The generator's ceiling is that of plain HTTP requests: {} cost it more, so look at the generator's CPU too."
)


_SESSIONS = (
    "Arrivals are sessions of several turns: rates asked for, and a max rate, count sessions; offered, achieved, good "
    "and completed rates count their requests."
)


def notes_of(
    workload: Workload, told: Sequence[str], rows: Sequence[pa.Table], by_user: Sequence[str]
) -> tuple[str, ...]:
    """Each once: what was told before and at the preflight, what the rows show, what the user noted."""
    noted = (f"Noted during the run: {text}" for text in by_user)
    return tuple(dict.fromkeys((*_of_manner(workload), *told, *_of_tokens(rows), *noted)))


def _of_manner(workload: Workload) -> tuple[str, ...]:
    match workload:
        case OipWorkload(transport="grpc" | "grpc-stream"):
            return (_CEILING.format("gRPC calls"),)
        case OpenAiWorkload(api="chat" | "completions" | "responses", stream=is_stream, prompts=prompts):
            has_turns = isinstance(prompts, SyntheticPrompts) and prompts.turns is not None
            return (*([_CEILING.format("streams")] if is_stream else ()), *([_SESSIONS] if has_turns else ()))
        case _:
            return ()


def _of_tokens(rows: Sequence[pa.Table]) -> tuple[str, ...]:
    counts = Counter[str]()
    for table in rows:
        for source in pc.value_counts(table["tokens_from"].drop_null()).to_pylist():
            counts[source["values"]] += source["counts"]
    notes = []
    if counts["chunks"]:
        share = counts["chunks"] / counts.total()
        whose = "" if share == 1 else f" of {100 * share:.3g} % of the answers"
        notes.append(f"Output tokens{whose} are chunks of the stream, each counted as one: the server told no usage.")
    if counts["tokenizer"]:
        notes.append("Output tokens were counted with the profile's tokenizer where the server told no usage.")
    return tuple(notes)
