"""The greedy tokens of a bare ONNX Runtime loop, of the Generator and of the Engine are equal, so both kinds of decoder
compute the same. Where two tokens are nearly as probable, the Engine's kernels may choose the other one, since they add
in another order."""

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnxruntime as ort
import onnxruntime_genai as genai
import pytest

from app.inference.generation.decoder_shape import WeightBits
from app.inference.generation.model_folder import read_model_folder
from app.inference.generation.runtime import open_generative_model
from tests.fakes import decoders

BATCHES = (1, 4, 8)
PROMPT_TOKENS = 20
END_ID = 1
NEAR_TIE, MAX_NEAR_TIES = 0.05, 3
"""Difference of two logits within which either token may be chosen, and how often this may happen in one sequence."""

Tokens = npt.NDArray[np.int64]
Logits = npt.NDArray[np.float32]
"""Of each step, sequence and token."""


def prompts(batch: int) -> npt.NDArray[np.int32]:
    return np.random.default_rng(10 + batch).integers(3, 512, (batch, PROMPT_TOKENS)).astype(np.int32)


def by_bare_loop(folder: Path, batch: int, steps: int) -> tuple[Tokens, Logits]:
    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    session = ort.InferenceSession(folder / "model.onnx", options, providers=["CPUExecutionProvider"])
    shape = decoders.shape()
    length = PROMPT_TOKENS + steps
    cache: dict[str, Any] = {}
    for layer in range(shape.layers):
        for kind in ("key", "value"):
            buffer = np.zeros((batch, shape.kv_heads, length, shape.head_dim), np.float32)
            cache[f"{layer}.{kind}"] = ort.OrtValue.ortvalue_from_numpy(buffer)
    ids: Tokens = prompts(batch).astype(np.int64)
    tokens, step_logits = [], []
    for step in range(steps):
        binding = session.io_binding()
        binding.bind_cpu_input("input_ids", ids)
        binding.bind_cpu_input("attention_mask", np.ones((batch, PROMPT_TOKENS + step), np.int64))
        for name, value in cache.items():
            binding.bind_ortvalue_input(f"past_key_values.{name}", value)
            binding.bind_ortvalue_output(f"present.{name}", value)
        binding.bind_output("logits")
        session.run_with_iobinding(binding)
        logits = binding.get_outputs()[-1].numpy()[:, -1]
        logits[:, END_ID] = -np.inf  # The other two ignore it, up to their minimum length.
        ids = logits.argmax(1)[:, None]
        tokens.append(ids[:, 0])
        step_logits.append(logits.copy())
    return np.stack(tokens, 1), np.stack(step_logits)


def by_generator(model: Any, batch: int, steps: int) -> Tokens:
    parameters = genai.GeneratorParams(model)
    length = PROMPT_TOKENS + steps
    parameters.set_search_options(max_length=length, min_length=length, batch_size=batch)
    generator = genai.Generator(model, parameters)
    generator.append_tokens(prompts(batch))
    while not generator.is_done():
        generator.generate_next_token()
    return np.stack([generator.get_sequence(row)[PROMPT_TOKENS:] for row in range(batch)]).astype(np.int64)


def by_engine(model: Any, sequences: npt.NDArray[np.int32], steps: int) -> tuple[Tokens, list[tuple[int, int]]]:
    """Return the tokens, and the counts of prompt and generated tokens that the Engine reported."""
    engine = genai.Engine(model)
    events = engine.create_event_buffer(len(sequences) * 8)
    requests = []
    for prompt in sequences:
        request = engine.create_request(options=genai.RequestOptions())
        options = genai.TurnOptions(request)
        options.set_max_generated_tokens(steps)
        options.set_min_generated_tokens(steps)
        request.begin_turn(prompt, options)
        requests.append(request)
    tokens: list[list[int]] = [[] for _ in requests]
    usages = []
    while engine.has_pending_requests():
        engine.run(events)
        for event in events:
            if event.token is not None:
                tokens[requests.index(event.request)].append(event.token)
            if int(event.flags.value) & 2:
                usages.append((event.usage.prompt_tokens, event.usage.generated_tokens))
    return np.array(tokens), usages


def assert_equal_but_for_near_ties(
    model: Any, prompt: npt.NDArray[np.int32], tokens: Tokens, expected: Tokens, logits: npt.NDArray[np.float32]
) -> None:
    """Compare the Engine's tokens of one sequence with those expected. After a near tie, the Engine continues from the
    expected token."""
    start = 0
    for _ in range(MAX_NEAR_TIES):
        different = np.flatnonzero(tokens != expected[start:])
        if different.size == 0:
            return
        step = start + int(different[0])
        assert logits[step, expected[step]] - logits[step, tokens[step - start]] < NEAR_TIE
        start = step + 1
        sequence = np.concatenate([prompt, expected[:start]]).astype(np.int32)
        tokens = (
            by_engine(model, sequence[None], len(expected) - start)[0][0] if start < len(expected) else expected[:0]
        )
    np.testing.assert_array_equal(tokens, expected[start:])


@pytest.mark.parametrize(
    ("bits", "steps"),
    [(4, 300), pytest.param(4, 1000, marks=pytest.mark.soak), pytest.param(32, 1000, marks=pytest.mark.soak)],
)
def test_greedy_tokens_are_equal(tmp_path: Path, bits: WeightBits, steps: int) -> None:
    contiguous = decoders.contiguous(tmp_path / "contiguous", bits)
    paged = decoders.paged(tmp_path / "paged", bits)
    generator_model = open_generative_model(read_model_folder(contiguous), "cpu", 1)
    engine_model = open_generative_model(read_model_folder(paged), "cpu", 1)
    for batch in BATCHES:
        expected, logits = by_bare_loop(contiguous, batch, steps)
        assert len(np.unique(expected)) > 20, "the tokens are not constant"
        np.testing.assert_array_equal(by_generator(generator_model, batch, steps), expected)
        tokens, usages = by_engine(engine_model, prompts(batch), steps)
        for row in range(batch):
            assert_equal_but_for_near_ties(
                engine_model, prompts(batch)[row], tokens[row], expected[row], logits[:, row]
            )
        assert usages == [(PROMPT_TOKENS, steps)] * batch
