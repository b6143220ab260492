"""Joint input and output lengths of requests: packed for a result, and unpacked for a fit and a simulation."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import numpy as np
import numpy.typing as npt

from app.analysis.columns import Floats
from app.records.estimate import TokenSample
from app.records.metrics import PERCENTILES

MAX_PAIRS = 1024
"""Of one sample: enough for a p99 of lengths, small enough for one in each stage of a result."""
_STRATA = 32
_NODES = 256

Ints = npt.NDArray[np.int64]


def sample_of_rows(inputs: Sequence[float] | Floats, outputs: Sequence[float] | Floats) -> TokenSample | None:
    """Of requests whose two lengths are known, in the order of the rows; None where no request has both."""
    pairs = np.column_stack([np.asarray(inputs, dtype=float), np.asarray(outputs, dtype=float)])
    pairs = pairs[np.isfinite(pairs).all(axis=1) & (pairs >= 0).all(axis=1)]
    return sample_of_pairs(np.rint(pairs).astype(np.int64)) if len(pairs) else None


def sample_of_pairs(pairs: Ints, max_pairs: int = MAX_PAIRS) -> TokenSample:
    inputs, outputs = np.clip(_thinned(pairs, max_pairs), 1, 2**31 - 1).T
    return TokenSample(inputs.astype("<i4").tobytes(), outputs.astype("<i4").tobytes())


def sample_of_percentiles(inputs: Mapping[str, float], outputs: Mapping[str, float]) -> TokenSample | None:
    """Of a tool that reports percentiles of either length and no requests: the two are then taken to be independent.

    Needs the median and a higher percentile of both; the means are kept where they are reported.
    """
    columns = [_from_percentiles(levels) for levels in (inputs, outputs)]
    if columns[0] is None or columns[1] is None:
        return None
    order = np.random.default_rng(0).permutation(_NODES)
    return sample_of_pairs(np.column_stack([columns[0], columns[1][order]]))


def pairs_of(sample: TokenSample) -> Ints:
    """Rows of input and output tokens."""
    columns = [np.frombuffer(column, "<i4").astype(np.int64) for column in (sample.input_tokens, sample.output_tokens)]
    return np.column_stack(columns)


def merged(samples: Iterable[TokenSample], max_pairs: int = MAX_PAIRS) -> TokenSample | None:
    """One sample of all; each counts by how many requests it holds."""
    pairs = [pairs_of(sample) for sample in samples]
    return sample_of_pairs(np.concatenate(pairs), max_pairs) if pairs else None


def scaled(sample: TokenSample, means: tuple[float, float]) -> TokenSample:
    """The same unevenness around other means."""
    pairs = pairs_of(sample)
    return sample_of_pairs(np.rint(pairs * (np.array(means) / pairs.mean(axis=0))).astype(np.int64))


def invalid_sample(sample: TokenSample) -> str | None:
    """Why a sample from a file that may have been edited cannot be used; None where it can."""
    size, rest = divmod(len(sample.input_tokens), 4)
    if rest or not 1 <= size <= 4 * MAX_PAIRS or len(sample.output_tokens) != len(sample.input_tokens):
        return f"a sample of lengths must have two columns of 1 to {4 * MAX_PAIRS} numbers of 4 bytes"
    return None if (pairs_of(sample) >= 1).all() else "a sample of lengths holds a length below 1"


def _thinned(pairs: Ints, max_pairs: int) -> Ints:
    """A systematic sample: every n-th along a path through all pairs on which neighbors are similar.

    The start is random, so that the longest requests have their share: a selection that left them out would let a fit
    find too little KV cache.
    """
    if len(pairs) <= max_pairs:
        return pairs
    strata = np.array_split(pairs[np.lexsort((pairs[:, 0], pairs[:, 1]))], _STRATA)
    path = [one[np.argsort(one[:, 0], kind="stable")][:: -1 if at % 2 else 1] for at, one in enumerate(strata)]
    start = np.random.default_rng(len(pairs)).random()
    places = (start + np.arange(max_pairs)) * len(pairs) / max_pairs
    return np.asarray(np.concatenate(path)[places.astype(int)])


def _from_percentiles(levels: Mapping[str, float]) -> Ints | None:
    """Quantiles by linear interpolation of logarithms over normal scores, continued beyond the highest level."""
    known = sorted((PERCENTILES[name], value) for name, value in levels.items() if name in PERCENTILES and value >= 1)
    if len(known) < 2 or known[0][0] > 0.5:
        return None
    from scipy import special  # imported late: the start of a run would wait for it

    shares, values = np.array(known).T
    scores, logs = special.ndtri(shares), np.log(np.maximum.accumulate(values))
    low = logs[0] - (logs[1] - logs[0]) / (scores[1] - scores[0]) * (scores[0] + 3.0)  # symmetric around the median
    nodes = special.ndtri((np.arange(_NODES) + 0.5) / _NODES)
    found = np.exp(np.interp(nodes, [-3.0, *scores], [low, *logs]))
    mean = levels.get("mean")
    return np.asarray(np.maximum(np.rint(found * (mean / found.mean() if mean else 1.0)), 1), dtype=np.int64)
