"""The greedy tokens of a bare ONNX Runtime loop, of the Generator and of the Engine are equal, so both kinds of decoder
compute the same.

The bare loop and the Generator run the same graph. The Engine runs another one, with other sums: where the logits of
two tokens are nearly equal, it may generate the other token. It then continues from the expected one.
"""

from collections.abc import Sequence
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
MAX_TIE = {4: 0.05, 32: 1e-4}
"""Differences of logits, by the bits of weights, that count as a near tie. With weights of 4 bits, activations are
rounded to 8 bits, and the last bit of a sum can change a rounding."""
MAX_TIES = 5

Tokens = npt.NDArray[np.int64]
Logits = npt.NDArray[np.float32]


def draw_prompts(batch: int) -> npt.NDArray[np.int32]:
    return np.random.default_rng(10 + batch).integers(3, 512, (batch, PROMPT_TOKENS)).astype(np.int32)


def generate_by_bare_loop(folder: Path, batch: int, steps: int) -> tuple[Tokens, Logits]:
    """Return the tokens, and the logits of each step."""
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
    ids: Tokens = draw_prompts(batch).astype(np.int64)
    tokens, steps_logits = [], []
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
        logits[:, END_ID] = -np.inf  # Generator and Engine ignore the end token up to their minimum length.
        ids = logits.argmax(1)[:, None]
        tokens.append(ids[:, 0])
        steps_logits.append(logits)
    return np.stack(tokens, 1), np.stack(steps_logits, 1)


def generate_by_generator(model: Any, batch: int, steps: int) -> Tokens:
    parameters = genai.GeneratorParams(model)
    length = PROMPT_TOKENS + steps
    parameters.set_search_options(max_length=length, min_length=length, batch_size=batch)
    generator = genai.Generator(model, parameters)
    generator.append_tokens(draw_prompts(batch))
    while not generator.is_done():
        generator.generate_next_token()
    return np.stack([generator.get_sequence(row)[PROMPT_TOKENS:] for row in range(batch)]).astype(np.int64)


def generate_by_engine(
    model: Any, rows: Sequence[npt.NDArray[np.int32]], counts: Sequence[int]
) -> tuple[list[list[int]], list[tuple[int, int]]]:
    """Generate `counts` tokens per prompt; return them, and the counts of prompt and generated tokens that the Engine
    reports."""
    engine = genai.Engine(model)
    events = engine.create_event_buffer(len(rows) * 8)
    requests = []
    for prompt, count in zip(rows, counts, strict=True):
        request = engine.create_request(options=genai.RequestOptions())
        options = genai.TurnOptions(request)
        options.set_max_generated_tokens(count)
        options.set_min_generated_tokens(count)
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
    return tokens, usages


def check_engine(model: Any, expected: Tokens, logits: Logits, max_tie: float) -> None:
    """Check the tokens of the Engine, feeding the expected tokens back after each near tie."""
    batch, steps = expected.shape
    begins = [0] * batch
    for attempt in range(MAX_TIES + 1):
        unfinished = [row for row in range(batch) if begins[row] < steps]
        rows = [
            np.concatenate([draw_prompts(batch)[row], expected[row, : begins[row]].astype(np.int32)])
            for row in unfinished
        ]
        tokens, usages = generate_by_engine(model, rows, [steps - begins[row] for row in unfinished])
        if attempt == 0:
            assert usages == [(PROMPT_TOKENS, steps)] * batch
        for row, generated in zip(unfinished, tokens, strict=True):
            different = np.flatnonzero(np.array(generated) != expected[row, begins[row] :])
            if different.size == 0:
                begins[row] = steps
                continue
            step = begins[row] + int(different[0])
            difference = logits[row, step, expected[row, step]] - logits[row, step, generated[int(different[0])]]
            assert difference < max_tie, f"row {row} of {batch}, step {step}"
            begins[row] = step + 1
        if min(begins) == steps:
            return
    pytest.fail(f"a row of {batch} differs at over {MAX_TIES} steps")


@pytest.mark.parametrize(
    ("bits", "steps"),
    [(4, 300), pytest.param(4, 1000, marks=pytest.mark.soak), pytest.param(32, 1000, marks=pytest.mark.soak)],
)
def test_session_generator_and_engine_generate_equal_greedy_tokens(
    tmp_path: Path, bits: WeightBits, steps: int
) -> None:
    contiguous = decoders.contiguous(tmp_path / "contiguous", bits)
    paged = decoders.paged(tmp_path / "paged", bits)
    generator_model = open_generative_model(read_model_folder(contiguous), "cpu", 1)
    engine_model = open_generative_model(read_model_folder(paged), "cpu", 1)
    for batch in BATCHES:
        expected, logits = generate_by_bare_loop(contiguous, batch, steps)
        assert len(np.unique(expected)) > 20, "the tokens are not constant"
        np.testing.assert_array_equal(generate_by_generator(generator_model, batch, steps), expected)
        check_engine(engine_model, expected, logits, MAX_TIE[bits])
