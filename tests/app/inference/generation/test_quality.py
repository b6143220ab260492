"""The text is drawn from the full-precision decoder, and its expected log-likelihoods are computed with NumPy from the
logits of a bare ONNX Runtime session."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
import onnxruntime_genai as genai
import pytest
from onnx import helper, numpy_helper

from app.analysis.local.perplexity import TextScores, estimate_text_quality
from app.errors import MeasurementError, UsageError
from app.inference.generation import quality
from app.inference.generation.decoder_shape import WeightBits
from app.inference.generation.model_folder import read_model_folder
from app.inference.generation.quality import (
    Tokens,
    compare_greedy_tokens,
    encode_text,
    score_text,
    select_prompts,
)
from app.inference.generation.runtime import open_generative_model
from tests.fakes import decoders

WINDOW, STRIDE = 64, 24
TEXT_TOKENS = 1200


def open_model(folder: Path) -> Any:
    return open_generative_model(read_model_folder(folder), "cpu", 1)


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[WeightBits, Path]:
    root = tmp_path_factory.mktemp("models")
    bits: tuple[WeightBits, ...] = (32, 8, 4)
    return {weight_bits: decoders.contiguous(root / str(weight_bits), weight_bits) for weight_bits in bits}


@pytest.fixture(scope="module")
def model(folders: dict[WeightBits, Path]) -> Any:
    return open_model(folders[32])


@pytest.fixture(scope="module")
def text(model: Any) -> Tokens:
    """A text drawn from the distribution of the full-precision decoder."""
    random = np.random.default_rng(3)
    generator = quality._open_generator(model, TEXT_TOKENS + 1, 1)
    tokens = [5]
    while len(tokens) < TEXT_TOKENS:
        generator.append_tokens(np.array(tokens[-1:], np.int32))
        logits = generator.get_logits()[0, 0].astype(np.float64)
        weights = np.exp(logits - logits.max())
        tokens.append(int(random.choice(512, p=weights / weights.sum())))
    return np.array(tokens, np.int32)


@pytest.fixture(scope="module")
def short_text(text: Tokens) -> Tokens:
    return text[:300]


@pytest.fixture(scope="module")
def scores(model: Any, short_text: Tokens) -> TextScores:
    return score_text(model, short_text, WINDOW, STRIDE)


def bare_logits(folder: Path, tokens: Tokens) -> Any:
    session = ort.InferenceSession(folder / "model.onnx", providers=["CPUExecutionProvider"])
    shape = decoders.shape()
    empty = np.zeros((1, shape.kv_heads, 0, shape.head_dim), np.float32)
    cache = {f"past_key_values.{layer}.{kind}": empty for layer in range(shape.layers) for kind in ("key", "value")}
    feeds = {"input_ids": tokens[None].astype(np.int64), "attention_mask": np.ones((1, tokens.size), np.int64)}
    return session.run(["logits"], feeds | cache)[0][0].astype(np.float64)


def test_each_token_is_scored_once_with_the_context_of_its_window(
    folders: dict[WeightBits, Path], short_text: Tokens, scores: TextScores
) -> None:
    """A token beyond the first window is in the window that begins as late as `window − stride` tokens before it."""
    windows: dict[int, Any] = {}
    for target in range(1, short_text.size):
        begin = STRIDE * max(0, -((WINDOW - 1 - target) // STRIDE))
        if begin not in windows:
            windows[begin] = bare_logits(folders[32], short_text[begin : begin + WINDOW])
        logits = windows[begin][target - 1 - begin]
        log_probabilities = logits - logits.max() - np.log(np.exp(logits - logits.max()).sum())
        assert target == 1 or target - begin >= min(target, WINDOW - STRIDE)
        assert scores.log_likelihoods[target - 1] == pytest.approx(log_probabilities[short_text[target]], abs=1e-5)
        assert scores.top_tokens[target - 1] == log_probabilities.argmax()
        np.testing.assert_allclose(
            scores.sampled_log_probabilities[target - 1], log_probabilities, rtol=1e-3, atol=1e-4
        )
    assert scores.sampled_indices.tolist() == list(range(short_text.size - 1))


def test_block_and_sample_sizes_do_not_change_the_scores(
    model: Any, short_text: Tokens, scores: TextScores, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With a large vocabulary, few rows fit in a block and few positions in the sample."""
    monkeypatch.setattr(quality, "_NUMBERS_PER_BLOCK", 7 * 512)
    monkeypatch.setattr(quality, "MAX_SAMPLE_BYTES", 50 * 512 * 2)
    blocked = score_text(model, short_text, WINDOW, STRIDE)
    np.testing.assert_array_equal(blocked.log_likelihoods, scores.log_likelihoods)
    assert blocked.sampled_indices.tolist() == [index * 299 // 50 for index in range(50)]
    np.testing.assert_array_equal(
        blocked.sampled_log_probabilities, scores.sampled_log_probabilities[blocked.sampled_indices]
    )
    assert estimate_text_quality(blocked, blocked).kl_mean is not None


def test_model_with_only_last_logits_has_the_same_scores(
    folders: dict[WeightBits, Path], short_text: Tokens, scores: TextScores, tmp_path: Path
) -> None:
    decoders.contiguous(tmp_path)
    edited = onnx.load(folders[32] / "model.onnx")
    head = edited.graph.node[-1]
    edited.graph.initializer.append(numpy_helper.from_array(np.array([-1]), "last"))
    last = helper.make_node("Gather", [head.input[0], "last"], ["last_states"], axis=1)
    edited.graph.node.insert(len(edited.graph.node) - 1, last)
    edited.graph.node[-1].input[0] = "last_states"
    edited.graph.output[0].type.tensor_type.shape.dim[1].dim_value = 1
    onnx.save(edited, tmp_path / "model.onnx")
    pruned = score_text(open_model(tmp_path), short_text[:100], WINDOW, STRIDE)
    np.testing.assert_allclose(pruned.log_likelihoods, scores.log_likelihoods[:99], atol=1e-4)
    np.testing.assert_array_equal(pruned.top_tokens, scores.top_tokens[:99])


def test_quality_of_a_model_against_itself_is_perfect(model: Any, short_text: Tokens, scores: TextScores) -> None:
    itself = estimate_text_quality(score_text(model, short_text, WINDOW, STRIDE), scores)
    assert itself.perplexity_ratio is not None
    assert itself.token_agreement is not None
    assert itself.kl_mean is not None
    assert (itself.perplexity_ratio.value, itself.token_agreement.value, itself.kl_mean.value) == (1.0, 1.0, 0.0)


def test_fewer_weight_bits_lower_the_text_quality(folders: dict[WeightBits, Path], text: Tokens) -> None:
    """With a single window, each token is predicted from all tokens before it, as it was generated."""
    bits: tuple[WeightBits, ...] = (32, 8, 4)
    reference, *others = (score_text(open_model(folders[weight_bits]), text, TEXT_TOKENS, 1) for weight_bits in bits)
    qualities = [estimate_text_quality(other, reference) for other in others]
    ratios, agreements, divergences = (
        [getattr(quality_of_bits, name).value for quality_of_bits in qualities]
        for name in ("perplexity_ratio", "token_agreement", "kl_mean")
    )
    assert abs(ratios[0] - 1.0) < 0.01 < ratios[1] - 1.0
    assert 1.0 > agreements[0] > agreements[1] > 0.5
    assert 0.0 < divergences[0] < divergences[1]
    assert qualities[1].perplexity_ratio is not None
    assert qualities[1].perplexity_ratio.ci95 is not None
    assert qualities[1].perplexity_ratio.ci95[0] > 1.0


@pytest.mark.parametrize("stride", [0, WINDOW])
def test_stride_outside_1_to_window_minus_1_is_rejected(model: Any, short_text: Tokens, stride: int) -> None:
    with pytest.raises(UsageError, match=rf"the stride must be between 1 and 63 tokens \(got {stride}\)"):
        score_text(model, short_text, WINDOW, stride)


def test_logits_that_are_not_finite_are_a_measurement_error(tmp_path: Path, short_text: Tokens) -> None:
    decoders.contiguous(tmp_path)
    broken = onnx.load(tmp_path / "model.onnx")
    name = broken.graph.node[-1].input[1]
    weights = next(tensor for tensor in broken.graph.initializer if tensor.name == name)
    weights.CopyFrom(numpy_helper.from_array(np.full((64, 512), np.nan, np.float32), name))
    onnx.save(broken, tmp_path / "model.onnx")
    with pytest.raises(MeasurementError, match="not finite after 1 to 63 tokens of the text"):
        score_text(open_model(tmp_path), short_text, WINDOW, STRIDE)


def test_token_without_logits_is_a_measurement_error(model: Any) -> None:
    with pytest.raises(MeasurementError, match="the token 512, but the model has logits for 512 tokens"):
        score_text(model, np.array([5, 512], np.int32), WINDOW, STRIDE)


def test_text_is_encoded_up_to_the_maximum_token_count(model: Any) -> None:
    tokens = encode_text(model, "the text of a test", 100)
    assert genai.Tokenizer(model).decode(tokens) == "the text of a test"
    assert encode_text(model, "the text of a test", 3).tolist() == tokens[:3].tolist()
    with pytest.raises(UsageError, match="the text has 1 tokens, but at least 2"):
        encode_text(model, "a", 100)


def test_selected_prompts_are_different_parts_of_the_text() -> None:
    text = np.arange(10, dtype=np.int32)
    assert select_prompts(text, 3, 4).tolist() == [[0, 1, 2, 3], [3, 4, 5, 6], [6, 7, 8, 9]]
    assert select_prompts(text, 1, 4).tolist() == [[0, 1, 2, 3]]
    assert len({tuple(prompt) for prompt in select_prompts(text, 7, 4)}) == 7
    with pytest.raises(UsageError, match="too few for 8 different prompts of 4 tokens"):
        select_prompts(text, 8, 4)


def test_greedy_tokens_do_not_depend_on_the_batch_size(model: Any, short_text: Tokens) -> None:
    consistency = compare_greedy_tokens(model, select_prompts(short_text, 4, 20), 30)
    assert (consistency.batch, consistency.tokens, consistency.divergences) == (4, 30, ())


def test_first_divergence_in_a_batch_is_reported_with_its_logits(
    folders: dict[WeightBits, Path], model: Any, short_text: Tokens, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Simulate a runtime that computes batches with 4-bit weights."""
    other, open_generator = open_model(folders[4]), quality._open_generator
    monkeypatch.setattr(
        quality,
        "_open_generator",
        lambda used, length, batch: open_generator(other if batch > 1 else used, length, batch),
    )
    prompts = select_prompts(short_text, 4, 20)
    divergences = compare_greedy_tokens(model, prompts, 30).divergences
    assert {divergence.row for divergence in divergences} - {0}
    both_bits: tuple[WeightBits, ...] = (32, 4)
    for divergence in divergences:
        single = quality._generate_greedily(model, prompts[divergence.row : divergence.row + 1], 30)[0]
        in_batch = quality._generate_greedily(model, prompts, 30)[divergence.row]
        assert (single[: divergence.position] == in_batch[: divergence.position]).all()
        context = np.concatenate([prompts[divergence.row], single[: divergence.position]]).astype(np.int32)
        logits, logits_in_batch = (bare_logits(folders[bits], context)[-1] for bits in both_bits)
        tokens = single[divergence.position], in_batch[divergence.position]
        assert tokens[0] != tokens[1]
        assert divergence.margin == pytest.approx(logits[tokens[0]] - logits[tokens[1]], abs=1e-4)
        assert divergence.logit_range == pytest.approx(np.ptp(logits), abs=1e-4)
        assert divergence.logit_change == pytest.approx(np.abs(logits - logits_in_batch).max(), abs=1e-2)
        assert not divergence.is_rounding
