from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from app.analysis.local.perplexity import TextScores, build_batch_divergence, estimate_text_quality
from app.records.estimate import Estimate
from app.records.generation import TextQuality


def build_scores(log_likelihoods: Any, top_tokens: Any = None, log_probabilities: Any = None) -> TextScores:
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


def compare_scores(variant: TextScores, reference: TextScores) -> tuple[Estimate, Estimate, Estimate]:
    quality = estimate_text_quality(variant, reference)
    assert quality.perplexity_ratio is not None
    assert quality.token_agreement is not None
    assert quality.kl_mean is not None
    return quality.perplexity_ratio, quality.token_agreement, quality.kl_mean


def get_interval(estimate: Estimate) -> tuple[float, float]:
    assert estimate.ci95 is not None
    return estimate.ci95


def test_uniform_guess_among_50_tokens_has_perplexity_50() -> None:
    quality = estimate_text_quality(build_scores(np.full(100, -math.log(50))), None)
    assert quality == TextQuality(tokens=100, window_tokens=8, stride_tokens=4, perplexity=quality.perplexity)
    assert quality.perplexity.value == pytest.approx(50)
    assert get_interval(quality.perplexity) == pytest.approx((50, 50))
    assert quality.perplexity.n == 100


def test_perplexity_is_geometric_mean_with_student_interval() -> None:
    quality = estimate_text_quality(build_scores(np.log([0.5, 0.125])), None)
    assert quality.perplexity.value == pytest.approx(4)
    half_width = 12.706 * math.log(2)  # Student's t of two values, whose standard error is ln 2.
    assert get_interval(quality.perplexity) == pytest.approx(
        (4 * math.exp(-half_width), 4 * math.exp(half_width)), rel=1e-3
    )


def test_autocorrelated_tokens_widen_perplexity_interval() -> None:
    """All 100 tokens of a passage have the same likelihood, so there are 40 independent values, not 4,000."""
    random = np.random.default_rng(1)
    passages = random.normal(-3, 1, 40)
    correlated = get_interval(estimate_text_quality(build_scores(np.repeat(passages, 100)), None).perplexity)
    shuffled = random.permutation(np.repeat(passages, 100))
    independent = get_interval(estimate_text_quality(build_scores(shuffled), None).perplexity)
    assert math.log(correlated[1] / correlated[0]) > 4 * math.log(independent[1] / independent[0])


def test_perplexity_ratio_is_paired_by_token() -> None:
    """The difference per token varies by 0.1, while the log-likelihood of the tokens varies by 2."""
    random = np.random.default_rng(2)
    reference, noise = random.normal(-3, 2, 4000), random.normal(0, 0.1, 4000)
    ratio, _, _ = compare_scores(build_scores(reference - 0.05 - noise + noise.mean()), build_scores(reference))
    assert ratio.value == pytest.approx(math.exp(0.05))
    lower, upper = get_interval(ratio)
    assert math.exp(0.05) - 0.01 < lower < math.exp(0.05) < upper < math.exp(0.05) + 0.01


def test_token_agreement_counts_equal_top_tokens() -> None:
    _, agreement, _ = compare_scores(
        build_scores(np.zeros(100), np.arange(100)), build_scores(np.zeros(100), np.arange(100) // 10 * 10)
    )
    assert (agreement.value, agreement.n) == (0.1, 100)
    _, agreement, _ = compare_scores(build_scores(np.zeros(100)), build_scores(np.zeros(100)))
    assert agreement.value == 1.0
    assert get_interval(agreement) == pytest.approx((0.963, 1.0), abs=0.001)


def test_kl_divergence_is_computed_from_reference() -> None:
    reference = build_scores(np.zeros(3), log_probabilities=np.log([[0.5, 0.5], [0.8, 0.2]]))
    variant = build_scores(np.zeros(3), log_probabilities=np.log([[0.9, 0.1], [0.8, 0.2]]))
    _, _, divergence = compare_scores(variant, reference)
    expected = (0.5 * math.log(0.5 / 0.9) + 0.5 * math.log(0.5 / 0.1)) / 2
    assert divergence.value == pytest.approx(expected, rel=2e-3)
    assert divergence.n == 2
    assert get_interval(divergence)[0] == 0.0
    assert compare_scores(reference, reference)[2].value == 0.0


def test_kl_divergence_of_impossible_token_is_finite() -> None:
    reference = build_scores(np.zeros(2), log_probabilities=[[0.0, -60_000.0]])
    variant = build_scores(np.zeros(2), log_probabilities=[[-60_000.0, 0.0]])
    assert compare_scores(variant, reference)[2].value == pytest.approx(60_000, rel=1e-3)


def test_vocabularies_of_different_sizes_have_no_kl_divergence() -> None:
    padded = build_scores(np.zeros(3), log_probabilities=np.log([[0.5, 0.25, 0.25]]))
    assert compare_scores(padded, build_scores(np.zeros(3)))[2] == Estimate(
        None, n=0, reason="the vocabularies have 3 and 2 tokens"
    )


def test_perplexity_overflow_is_withheld_with_reason() -> None:
    quality = estimate_text_quality(build_scores(np.full(5, -1000.0)), None)
    assert (quality.perplexity.value, quality.perplexity.n) == (None, 5)
    assert quality.perplexity.reason == "the perplexity exceeds the largest number"


def test_text_quality_is_compared_only_for_same_tokens_and_windows() -> None:
    first, other = build_scores(np.zeros(5)), replace(build_scores(np.zeros(5)), tokens=np.zeros(6, np.int32))
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


def test_small_logit_change_of_batch_is_rounding() -> None:
    single_logits, batched_logits = np.array([5.0, 4.99, -5.0]), np.array([4.98, 5.0, -5.0])
    divergence = build_batch_divergence(2, 7, (0, 1), single_logits, batched_logits)
    assert (divergence.row, divergence.position, divergence.is_rounding) == (2, 7, True)
    assert (divergence.margin, divergence.logit_change, divergence.logit_range) == pytest.approx((0.01, 0.02, 10))
    assert not build_batch_divergence(0, 0, (0, 1), single_logits, np.array([4.4, 5.0, -5.0])).is_rounding
