from __future__ import annotations

from collections import Counter

import numpy as np
import pytest

from loadgen.payloads.documents import SEPARATOR, DocumentDraw
from loadgen.payloads.prompts import PromptError, generate_sessions, iterate_document_blocks
from loadgen.payloads.texts import TextGenerator
from loadgen.workloads import Documents, FixedLength, Popularity, SyntheticPrompts, UniformLength

ZIPF = Documents(50, UniformLength(5, 20), per_prompt=3, popularity=Popularity("zipf", 1.5))


def test_popular_documents_are_drawn_more_often_and_once_per_message() -> None:
    draw = DocumentDraw(ZIPF, 7)
    messages = [draw.draw() for _ in range(2000)]
    assert all(len(set(message)) == 3 for message in messages)
    counts = Counter(index for message in messages for index in message)
    assert counts[0] > counts[4] > counts[20] > 0
    first_counts = Counter(message[0] for message in messages)
    # The first document is a single draw by weight: k^-1.5, normalized.
    expected_share = 1 / sum(rank**-1.5 for rank in range(1, 51))
    assert first_counts[0] / 2000 == pytest.approx(expected_share, abs=0.03)
    same_seed = DocumentDraw(ZIPF, 7)
    assert (same_seed.lengths, [same_seed.draw() for _ in range(20)]) == (draw.lengths, messages[:20])


def test_message_can_contain_all_documents_despite_steep_popularity() -> None:
    draw = DocumentDraw(Documents(200, FixedLength(1), 200, Popularity("zipf", 5.0)), 2)
    message = draw.draw()
    assert sorted(message) == list(range(200))
    assert message.index(0) < 5
    assert sum(message[:20]) / 20 < sum(message[-20:]) / 20


def test_blocks_of_prompts_match_prompt_texts() -> None:
    prompts = SyntheticPrompts(
        UniformLength(2, 9), prefix_groups=3, prefix_tokens=4, prefix_popularity=Popularity("uniform"), unique=40,
        documents=ZIPF,
    )  # fmt: skip
    generator = TextGenerator(np.random.default_rng(3), None)
    sessions = generate_sessions(prompts, generator, Popularity(), 3, texts_per_prompt=1, limit_bytes=2**20)
    text_by_id: dict[int, str] = {}
    for blocks, session in zip(iterate_document_blocks(prompts, Popularity(), 3), sessions, strict=True):
        (prompt,) = session.prompts
        texts = [prompt.prefix, *prompt.texts[0].split(SEPARATOR)]
        assert [tokens for _, tokens in blocks] == [len(text.split()) for text in texts]
        for (block_id, _), text in zip(blocks, texts, strict=True):
            assert text_by_id.setdefault(block_id, text) == text
    assert len(text_by_id) == len(set(text_by_id.values())) > 60


def test_documents_are_ordered_by_popularity_or_sequentially() -> None:
    ordered = DocumentDraw(Documents(9, FixedLength(1), 3, order="popularity"), 1)
    assert all(sorted(message) == message for message in (ordered.draw() for _ in range(50)))
    sequential = DocumentDraw(Documents(4, FixedLength(1), 3, Popularity()), 1)
    assert [sequential.draw() for _ in range(3)] == [[0, 1, 2], [3, 0, 1], [2, 3, 0]]


def test_messages_contain_whole_documents_before_own_text_within_memory_limit() -> None:
    prompts = SyntheticPrompts(FixedLength(4), FixedLength(2), turns=FixedLength(2), unique=30, documents=ZIPF)
    generator = TextGenerator(np.random.default_rng(3), None)
    sessions = list(generate_sessions(prompts, generator, Popularity(), 3, texts_per_prompt=1, limit_bytes=2**20))
    expected, lengths = DocumentDraw(ZIPF, 3), DocumentDraw(ZIPF, 3).lengths
    texts_by_document: dict[int, set[str]] = {}
    for session in sessions:
        first, _, second = session.prompts[-1].texts
        for message in (first, second):
            *documents, own_text = message.split(SEPARATOR)
            indices = expected.draw()
            assert [len(text.split()) for text in (*documents, own_text)] == [*(lengths[index] for index in indices), 4]
            for index, text in zip(indices, documents, strict=True):
                texts_by_document.setdefault(index, set()).add(text)
    assert all(len(texts) == 1 for texts in texts_by_document.values())
    with pytest.raises(PromptError, match="the 50 documents would exceed"):
        next(generate_sessions(prompts, generator, Popularity(), 3, texts_per_prompt=1, limit_bytes=500))
