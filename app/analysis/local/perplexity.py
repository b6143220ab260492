"""Perplexity of a language model on a text, and comparison of its predictions with those of a
reference precision.

The log-likelihoods of neighboring tokens are autocorrelated, so intervals use batch means where
those are wider. The perplexity ratio is computed from the differences of the log-likelihoods, token
by token, so that variation common to both models cancels out."""

from __future__ import annotations

import math
from dataclasses import dataclass

import msgspec
import numpy as np
import numpy.typing as npt

from app.analysis.columns import Floats, Ints
from app.analysis.estimates import estimate_mean, estimate_ordered_proportion
from app.analysis.local.fidelity import compute_softmax_divergences
from app.records.estimate import Estimate
from app.records.generation import BatchDivergence, TextQuality


@dataclass(frozen=True)
class TextScores:
    """Predictions of a language model on a text of n tokens, for each token but the first.

    `log_likelihoods` are those of the tokens of the text, and `top_tokens` are the most probable
    tokens; both have n − 1 entries. `sampled_indices` are indices into these, in ascending order,
    for which `sampled_log_probabilities` has the log-probabilities of the whole vocabulary, rounded
    to float16 to limit the size."""

    tokens: npt.NDArray[np.int32]
    window_tokens: int
    stride_tokens: int
    log_likelihoods: Floats
    top_tokens: npt.NDArray[np.int32]
    sampled_indices: Ints
    sampled_log_probabilities: npt.NDArray[np.float16]


def estimate_text_quality(scores: TextScores, reference: TextScores | None) -> TextQuality:
    """Estimate the perplexity, and compare the predictions with those of the reference, `None` for
    the reference itself. Without values, the comparison has the reason why both are not comparable."""
    quality = TextQuality(
        tokens=scores.log_likelihoods.size,
        window_tokens=scores.window_tokens,
        stride_tokens=scores.stride_tokens,
        perplexity=_estimate_exponential_of_mean(-scores.log_likelihoods),
    )
    if reference is None:
        return quality
    reason = find_incomparability(scores, reference)
    if reason is not None:
        missing = Estimate(None, reason=reason)
        return msgspec.structs.replace(quality, perplexity_ratio=missing, token_agreement=missing, kl_mean=missing)
    return msgspec.structs.replace(
        quality,
        perplexity_ratio=_estimate_exponential_of_mean(reference.log_likelihoods - scores.log_likelihoods),
        token_agreement=estimate_ordered_proportion(scores.top_tokens == reference.top_tokens),
        kl_mean=_estimate_divergence(scores, reference),
    )


def find_incomparability(scores: TextScores, reference: TextScores) -> str | None:
    """Return why the predictions of two models cannot be compared; `None` if they can."""
    if not np.array_equal(scores.tokens, reference.tokens):
        return "the two models split the text into different tokens"
    windows = [(side.window_tokens, side.stride_tokens) for side in (scores, reference)]
    if windows[0] != windows[1]:
        return f"the windows have {windows[0][0]} and {windows[1][0]} tokens, because the contexts of the models differ"
    return None


def _estimate_exponential_of_mean(values: Floats) -> Estimate:
    """Estimate exp(mean), with the interval of the mean on the same scale."""
    mean = estimate_mean(values, is_signed=True)
    if mean.value is None:
        return mean
    try:
        interval = None if mean.ci95 is None else (math.exp(mean.ci95[0]), math.exp(mean.ci95[1]))
        return msgspec.structs.replace(mean, value=math.exp(mean.value), ci95=interval)
    except OverflowError:
        return Estimate(None, n=mean.n, reason="the perplexity exceeds the largest number")


def _estimate_divergence(scores: TextScores, reference: TextScores) -> Estimate:
    vocabularies = [each.sampled_log_probabilities.shape[1] for each in (scores, reference)]
    if vocabularies[0] != vocabularies[1]:
        return Estimate(None, n=0, reason=f"the vocabularies have {vocabularies[0]} and {vocabularies[1]} tokens")
    divergences = compute_softmax_divergences(scores.sampled_log_probabilities, reference.sampled_log_probabilities)
    return estimate_mean(np.maximum(divergences, 0.0))  # equal predictions can differ by a rounding error


_MAX_ROUNDING_CHANGE = 0.05
"""Maximum change of a logit by rounding, as a proportion of the range of the logits. float16 has a
precision of 0.001 and int8 activations of 0.004, and the errors of the layers accumulate: the
logits of a 4-bit model with 30 layers changed by 0.02 between batch sizes on a CPU."""


def build_batch_divergence(
    row: int, position: int, tokens: tuple[int, int], logits_alone: Floats, logits_in_batch: Floats
) -> BatchDivergence:
    """Describe the first difference of a row. `tokens` are the tokens generated alone and in the
    batch, and the logits are those of the whole vocabulary at this position."""
    alone, in_batch = tokens
    logit_change = float(np.abs(logits_alone - logits_in_batch).max())
    logit_range = float(logits_alone.max() - logits_alone.min())
    return BatchDivergence(
        row=row,
        position=position,
        margin=float(logits_alone[alone] - logits_alone[in_batch]),
        logit_change=logit_change,
        logit_range=logit_range,
        is_rounding=logit_change <= _MAX_ROUNDING_CHANGE * logit_range,
    )
