from itertools import islice

import msgspec
import numpy as np
import pytest

from loadgen.payloads.prompts import MAX_TURNS, PromptError, Session, draw_session_lengths, generate_sessions
from loadgen.payloads.texts import TextGenerator
from loadgen.workloads import (
    ExponentialDelay,
    FixedLength,
    JointLengths,
    Popularity,
    SyntheticPrompts,
    UniformLength,
)

MIB = 2**20


def generate(
    prompts: SyntheticPrompts, *, seed: int = 5, texts: int = 1, limit_bytes: int = 256 * MIB
) -> list[Session]:
    generator = TextGenerator(np.random.default_rng(seed), None)
    sessions = generate_sessions(
        prompts, generator, Popularity(), seed, texts_per_prompt=texts, limit_bytes=limit_bytes
    )
    return list(islice(sessions, 10_000))


def test_prompt_lengths_are_independent_of_prefix_groups() -> None:
    def lengths(prompts: SyntheticPrompts) -> list[int]:
        return [len(session.prompts[0].texts[0].split()) for session in generate(prompts)]

    plain = SyntheticPrompts(UniformLength(1, 100), UniformLength(1, 9), unique=50)
    assert lengths(plain) == lengths(msgspec.structs.replace(plain, prefix_groups=3, prefix_tokens=10))


def test_session_turns_are_capped_at_max_turns() -> None:
    (session,) = generate(SyntheticPrompts(FixedLength(1), FixedLength(1), turns=FixedLength(MAX_TURNS + 5), unique=1))
    assert len(session.prompts) == len(session.think_times_ns) == MAX_TURNS
    assert len(session.prompts[-1].texts) == 2 * MAX_TURNS - 1


def test_think_times_are_exponential_with_requested_mean() -> None:
    prompts = SyntheticPrompts(
        FixedLength(1), FixedLength(1), turns=FixedLength(100), think_time=ExponentialDelay(0.5), unique=50
    )
    pauses = np.array([pause for session in generate(prompts) for pause in session.think_times_ns]) / 1e9
    assert pauses.mean() == pytest.approx(0.5, rel=0.06)
    assert pauses.std() == pytest.approx(0.5, rel=0.1)
    assert not any(generate(SyntheticPrompts(FixedLength(1), FixedLength(1), turns=FixedLength(3)))[0].think_times_ns)


def test_prompts_beyond_memory_limit_are_rejected_or_truncated() -> None:
    prompts = SyntheticPrompts(FixedLength(MIB), unique=3)
    with pytest.raises(PromptError, match="exceed 1 MiB"):
        generate(prompts, limit_bytes=MIB)
    with pytest.raises(PromptError, match="exceed 1 MiB"):
        generate(SyntheticPrompts(FixedLength(1), prefix_groups=MIB, prefix_tokens=1), limit_bytes=MIB)
    mixed = SyntheticPrompts(FixedLength(9), FixedLength(9), turns=UniformLength(1, 1000), unique=10_000)
    assert 0 < len(generate(mixed, limit_bytes=4 * MIB)) < 10_000


def test_joint_input_and_output_lengths_are_drawn_by_weight() -> None:
    inputs, outputs = (np.array(lengths, "<i4").tobytes() for lengths in ([10, 20, 30], [1, 2, 3]))
    weights = np.array([1.0, 0.0, 3.0], "<f8").tobytes()
    prompts = SyntheticPrompts(JointLengths(inputs, outputs, weights), turns=FixedLength(2), unique=1000)
    pairs = [
        pair
        for lengths in draw_session_lengths(prompts, 5)
        for pair in zip(lengths.input_tokens, lengths.output_tokens, strict=True)
    ]
    assert set(pairs) == {(10, 1), (30, 3)}
    assert pairs.count((30, 3)) / len(pairs) == pytest.approx(0.75, abs=0.04)
    assert [len(session.prompts) for session in generate(msgspec.structs.replace(prompts, unique=3))] == [2, 2, 2]


def test_prefix_groups_follow_their_own_popularity() -> None:
    prompts = SyntheticPrompts(
        FixedLength(1), prefix_groups=5, prefix_tokens=3, prefix_popularity=Popularity("zipf", 3.0), unique=500
    )
    counts = sorted(np.unique([session.prompts[0].prefix for session in generate(prompts)], return_counts=True)[1])
    assert counts[-1] > 0.7 * 500
