"""How long a profile's prompts and answers will be, in tokens: those that its seed draws."""

from __future__ import annotations

import itertools

import msgspec
import numpy as np

from app.profiles.profile import EmbeddingsProfile, GeneratingProfile, RerankProfile
from app.wiring.workload import workload_of
from loadgen.payloads.lengths import LengthError
from loadgen.payloads.prompts import drawn_lengths
from loadgen.workloads import DatasetPrompts, OpenAiWorkload, SyntheticPrompts, TracePrompts

_MOST_SESSIONS = 5_000
"""More would take seconds, and look the same."""


class PromptLengths(msgspec.Struct, frozen=True, kw_only=True):
    """One a request, with all that it holds: shared prefix and earlier turns too. No `outputs` where the profile leaves
    the length of answers to the model. `reason`: why nothing can be told."""

    inputs: tuple[int, ...] = ()
    outputs: tuple[int, ...] = ()
    requests_a_session: float = 1.0
    unique: int = 0
    """Different prompts, or sessions, that take turns."""
    reason: str | None = None


def lengths_of_prompts(profile: GeneratingProfile | EmbeddingsProfile | RerankProfile) -> PromptLengths:
    """Raises UsageError for files that are not what they should be."""
    workload = workload_of(profile)
    assert isinstance(workload, OpenAiWorkload)
    match workload.prompts:
        case SyntheticPrompts() as prompts:
            texts = 1 + workload.documents if isinstance(profile, RerankProfile) else 1
            return _drawn(prompts, profile.load.seed, texts)
        case TracePrompts(input_tokens=inputs, output_tokens=outputs):
            asked, answered = (np.maximum(np.frombuffer(data, "<i4"), 1).tolist() for data in (inputs, outputs))
            return PromptLengths(inputs=tuple(asked), outputs=tuple(answered), unique=len(asked))
        case DatasetPrompts():
            return PromptLengths(reason="the lengths are those of the dataset's texts, which only a tokenizer can tell")


def _drawn(prompts: SyntheticPrompts, seed: int, texts: int) -> PromptLengths:
    inputs: list[int] = []
    outputs: list[int] = []
    sessions = min(prompts.unique, _MOST_SESSIONS)
    requests = 0
    prefix = prompts.prefix_tokens if prompts.prefix_groups else 0
    try:
        for asked, answered in itertools.islice(drawn_lengths(prompts, seed, texts=texts), sessions):
            requests += len(answered)
            outputs += [one for one in answered if one is not None]
            if len(answered) == 1:
                inputs.append(prefix + sum(asked))
                continue
            history = prefix
            for tokens_in, tokens_out in zip(asked, answered, strict=True):
                history += tokens_in
                inputs.append(history)
                history += tokens_out or 0
    except LengthError as error:
        return PromptLengths(reason=str(error))
    return PromptLengths(
        inputs=tuple(inputs), outputs=tuple(outputs), requests_a_session=requests / sessions, unique=prompts.unique
    )
