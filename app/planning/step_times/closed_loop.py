"""What a measuring client sees that keeps a number of requests open: how many of them decode at once, and how long
prompts wait.

The client of the published measurements sends `clients` requests at once, and another when one ends, ten for each
client in all. Lengths are uniform between 80 % and 100 % of nominal.
"""

from __future__ import annotations

import numpy as np

from app.planning.step_times.positive_sum import Floats

MEAN_LENGTH = 0.9
"""Mean length of a prompt or response, as a share of the nominal one."""
_LENGTH_RANGE = 0.2
_WAVES = 10
"""Requests that each client sends."""
_MAX_LOAD = 0.999
_MAX_PREFILL_SHARE = 0.8
"""Largest share of the requests that are taken to be in prefill at once."""


def count_decoding(
    in_flight: Floats,
    cached: Floats,
    prefill_s: Floats,
    step_s: Floats,
    output_tokens: Floats,
    max_prefilled: Floats,
    decoding: Floats,
) -> Floats:
    """Return the mean number of sequences that decode at once, from an estimate `decoding` of it.

    `in_flight` requests are open; `cached` sequences fit in the KV cache; a prompt takes `prefill_s`, a step `step_s`;
    `max_prefilled` is the number of prompts that a step can prefill.
    """
    requests_per_s = decoding / (output_tokens * step_s)
    in_prefill = np.minimum(requests_per_s * prefill_s, _MAX_PREFILL_SHARE * in_flight)
    limit = np.minimum(np.minimum(in_flight - in_prefill, cached), output_tokens * max_prefilled)
    return np.sqrt(decoding * np.maximum(limit, np.minimum(1.0, in_flight)))


def count_prompts_waited_for(in_flight: Floats, prefill_s: Floats, response_s: Floats) -> Floats:
    """Return how many prefills of other prompts a prompt waits for on average.

    In the first wave, all prompts arrive at once. The prompts of wave k + 1 arrive as the responses of wave k end:
    paced by the prefills of the first wave, and spread further by the lengths of k responses of `response_s` s. They
    wait as in a queue at that load, but never longer than a random order of `in_flight` prompts allows.
    """
    waves = np.arange(1, _WAVES, dtype=np.float64)
    work_s = (in_flight * prefill_s)[:, None]
    spread_s = _LENGTH_RANGE * np.sqrt(waves)[None, :] * response_s[:, None]
    load = np.minimum(work_s / (work_s + spread_s), _MAX_LOAD)
    waiting = np.minimum(load / (2 * (1 - load)), 0.5 * np.sqrt(in_flight)[:, None])
    others = 1 - 1 / np.maximum(in_flight, 1.0)
    burst = (np.maximum(in_flight, 1.0) - 1) / 2
    return np.asarray(burst / _WAVES + (1 - 1 / _WAVES) * others * waiting.mean(axis=1))
