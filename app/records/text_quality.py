"""Quality of the text predictions of a language model, compared with those of a reference precision."""

from __future__ import annotations

import msgspec

from app.records.estimate import Estimate


class TextQuality(msgspec.Struct, frozen=True, kw_only=True):
    """Quality of the next-token predictions on a text, with 95 % confidence intervals that account
    for the autocorrelation of neighboring tokens.

    Perplexities are comparable only for the same text, tokenizer, window and stride. The values
    that compare with the reference are None for the reference itself."""

    tokens: int
    """Number of predicted tokens: all tokens of the text but the first."""
    window_tokens: int
    stride_tokens: int
    perplexity: Estimate
    """exp(−mean log-likelihood of the tokens of the text)."""
    perplexity_ratio: Estimate | None = None
    """Perplexity divided by that of the reference, with a paired interval over the tokens."""
    token_agreement: Estimate | None = None
    """Fraction of positions at which the most probable next token is that of the reference."""
    kl_mean: Estimate | None = None
    """Mean Kullback-Leibler divergence, in nats, of the predicted distribution from that of the
    reference, over a sample of the positions."""


class BatchDivergence(msgspec.Struct, frozen=True, kw_only=True):
    """First token of a row of a batch that differs from the token that the same prompt generates
    alone. `position` counts the generated tokens from 0."""

    row: int
    position: int
    margin: float
    """Logit of the token that was generated alone, minus the logit of the token that was generated
    in the batch; both logits are those of the prompt alone."""
    logit_change: float
    """Largest absolute difference between the logits alone and in the batch, at this position."""
    logit_range: float
    """Largest minus smallest logit of the prompt alone, at this position."""
    is_rounding: bool
    """True if the difference is explained by rounding: two almost equally probable tokens, whose
    order changes because kernels for another batch size add in another order."""


class BatchConsistency(msgspec.Struct, frozen=True, kw_only=True):
    """Comparison of the greedy tokens of prompts in a batch with the greedy tokens of each prompt
    alone. Rows without an entry in `divergences` generate equal tokens."""

    batch: int
    tokens: int
    """Number of tokens that each row generates."""
    divergences: tuple[BatchDivergence, ...]
