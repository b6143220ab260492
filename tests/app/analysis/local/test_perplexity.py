from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from app.analysis.local.perplexity import TextScores, build_batch_divergence, estimate_text_quality
from app.records.estimate import Estimate
from app.records.generation import TextQuality


def scores(log_likelihoods: Any, top_tokens: Any = None, log_probabilities: Any = None) -> TextScores:
    values = np.asarray(log_likelihoods, np.float64)
    sampled = np.log([[0.5, 0.5]]) if log_probabilities is None else np.asarray(log_probabilities)
    return TextScores(
        tokens=np.arange(values.size + 1, dtype=np.int32),
        window_tokens=8,
        stride_tokens=4,
        log_likelihoods=values,
        top_tokens=np.asarray(np.zeros(values.size) if top_tokens is None else top_tokens, np.int32),
        sampled_indices=np.arange(len(sampled)),
        sampled_log_probabilities=sampled.astype(np.float16),
    )


def compared(variant: TextScores, reference: TextScores) -> tuple[Estimate, Estimate, Estimate]:
    quality = estimate_text_quality(variant, reference)
    assert quality.perplexity_ratio is not None
    assert quality.token_agreement is not None
    assert quality.kl_mean is not None
    return quality.perplexity_ratio, quality.token_agreement, quality.kl_mean


def interval(estimate: Estimate) -> tuple[float, float]:
    assert estimate.ci95 is not None
    return estimate.ci95


def test_a_model_that_guesses_among_50_tokens_has_a_perplexity_of_50() -> None:
    quality = estimate_text_quality(scores(np.full(100, -math.log(50))), None)
    assert quality == TextQuality(tokens=100, window_tokens=8, stride_tokens=4, perplexity=quality.perplexity)
    assert quality.perplexity.value == pytest.approx(50)
    assert interval(quality.perplexity) == pytest.approx((50, 50))
    assert quality.perplexity.n == 100


def test_the_perplexity_is_the_geometric_mean_with_the_interval_of_the_mean() -> None:
    quality = estimate_text_quality(scores(np.log([0.5, 0.125])), None)
    assert quality.perplexity.value == pytest.approx(4)
    half_width = 12.706 * math.log(2)  # Student's t of two values, whose standard error is ln 2.
    assert interval(quality.perplexity) == pytest.approx(
        (4 * math.exp(-half_width), 4 * math.exp(half_width)), rel=1e-3
    )


def test_autocorrelated_tokens_widen_the_interval() -> None:
    """Passages of 100 tokens that are equally likely each: 40 values, not 4,000."""
    random = np.random.default_rng(1)
    passages = random.normal(-3, 1, 40)
    correlated = interval(estimate_text_quality(scores(np.repeat(passages, 100)), None).perplexity)
    shuffled = random.permutation(np.repeat(passages, 100))
    independent = interval(estimate_text_quality(scores(shuffled), None).perplexity)
    assert math.log(correlated[1] / correlated[0]) > 4 * math.log(independent[1] / independent[0])


def test_the_ratio_is_paired() -> None:
    """The difference of each token is the same within 0.1, while the tokens differ by 2."""
    random = np.random.default_rng(2)
    reference, noise = random.normal(-3, 2, 4000), random.normal(0, 0.1, 4000)
    ratio, _, _ = compared(scores(reference - 0.05 - noise + noise.mean()), scores(reference))
    assert ratio.value == pytest.approx(math.exp(0.05))
    lower, upper = interval(ratio)
    assert math.exp(0.05) - 0.01 < lower < math.exp(0.05) < upper < math.exp(0.05) + 0.01


def test_agreement_counts_equal_top_tokens() -> None:
    _, agreement, _ = compared(scores(np.zeros(100), np.arange(100)), scores(np.zeros(100), np.arange(100) // 10 * 10))
    assert (agreement.value, agreement.n) == (0.1, 100)
    _, agreement, _ = compared(scores(np.zeros(100)), scores(np.zeros(100)))
    assert agreement.value == 1.0
    assert interval(agreement) == pytest.approx((0.963, 1.0), abs=0.001)


def test_the_divergence_is_from_the_reference() -> None:
    reference = scores(np.zeros(3), log_probabilities=np.log([[0.5, 0.5], [0.8, 0.2]]))
    variant = scores(np.zeros(3), log_probabilities=np.log([[0.9, 0.1], [0.8, 0.2]]))
    _, _, divergence = compared(variant, reference)
    expected = (0.5 * math.log(0.5 / 0.9) + 0.5 * math.log(0.5 / 0.1)) / 2
    assert divergence.value == pytest.approx(expected, rel=2e-3)
    assert divergence.n == 2
    assert interval(divergence)[0] == 0.0
    assert compared(reference, reference)[2].value == 0.0


def test_a_token_that_is_impossible_has_a_finite_divergence() -> None:
    reference = scores(np.zeros(2), log_probabilities=[[0.0, -60_000.0]])
    variant = scores(np.zeros(2), log_probabilities=[[-60_000.0, 0.0]])
    assert compared(variant, reference)[2].value == pytest.approx(60_000, rel=1e-3)


def test_vocabularies_of_different_sizes_have_no_divergence() -> None:
    padded = scores(np.zeros(3), log_probabilities=np.log([[0.5, 0.25, 0.25]]))
    assert compared(padded, scores(np.zeros(3)))[2] == Estimate(
        None, n=0, reason="the vocabularies have 3 and 2 tokens"
    )


def test_a_perplexity_beyond_all_numbers_is_not_available() -> None:
    quality = estimate_text_quality(scores(np.full(5, -1000.0)), None)
    assert (quality.perplexity.value, quality.perplexity.n) == (None, 5)
    assert quality.perplexity.reason == "the perplexity exceeds the largest number"


def test_only_predictions_of_the_same_text_are_compared() -> None:
    first, other = scores(np.zeros(5)), replace(scores(np.zeros(5)), tokens=np.zeros(6, np.int32))
    for reference, reason in (
        (other, "the two models split the text into different tokens"),
        (
            replace(first, window_tokens=16),
            "the windows have 8 and 16 tokens, because the contexts of the models differ",
        ),
    ):
        quality = estimate_text_quality(first, reference)
        assert quality.perplexity.value is not None
        missing = Estimate(None, reason=reason)
        assert [quality.perplexity_ratio, quality.token_agreement, quality.kl_mean] == [missing] * 3


def test_a_small_change_of_the_logits_is_rounding() -> None:
    alone, rounded = np.array([5.0, 4.99, -5.0]), np.array([4.98, 5.0, -5.0])
    divergence = build_batch_divergence(2, 7, (0, 1), alone, rounded)
    assert (divergence.row, divergence.position, divergence.is_rounding) == (2, 7, True)
    assert (divergence.margin, divergence.logit_change, divergence.logit_range) == pytest.approx((0.01, 0.02, 10))
    assert not build_batch_divergence(0, 0, (0, 1), alone, np.array([4.4, 5.0, -5.0])).is_rounding
