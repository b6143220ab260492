"""Running requests of a replica with continuous batching: a queue of prompts, and a heap of
sequences ordered by the number of their last step.
"""

from __future__ import annotations

from app.planning.simulation.compiled import compiled
from app.planning.simulation.histogram import BUCKET_COUNT, find_bucket
from app.planning.simulation.queueing import get_class
from app.planning.simulation.state import (
    ARRIVAL,
    CONTEXT,
    DECODING,
    DONE,
    DONE_SUM,
    ENDS,
    FIRST_LIMIT,
    FIRST_TOKEN,
    FIXED,
    FREE,
    GOOD,
    HISTOGRAMS,
    KV_TOKENS,
    LAST_STEP,
    LATE,
    LATENCY,
    LIMIT,
    OUTSIDE,
    PACKED_CLASS,
    PAIRS_OFFSET,
    PER_ITEM,
    PER_PROMPT,
    PER_TOKEN,
    PREFILL,
    PREFILL_HEAD,
    PREFILLING,
    RESERVED,
    RUNNING,
    SLOT,
    STEP,
    SUM,
    TOKEN_LIMIT,
    UNPROCESSED,
    WIDTH,
    WORK,
    Fleet,
)


@compiled
def count_input_tokens(fleet: Fleet, packed_class: int) -> int:
    """Return the number of prompt tokens of a request, at least 1: the length of its token pair, times the work of
    its class."""
    return max(
        1,
        int(
            fleet.settings[fleet.settings[PAIRS_OFFSET] + 2 * (packed_class >> 8)]
            * fleet.classes[get_class(packed_class), WORK]
            + 0.5
        ),
    )


@compiled
def count_output_tokens(fleet: Fleet, packed_class: int) -> int:
    """Return the number of output tokens of a request, at least 1: the length of its token pair, times the work of
    its class."""
    return max(
        1,
        int(
            fleet.settings[fleet.settings[PAIRS_OFFSET] + 2 * (packed_class >> 8) + 1]
            * fleet.classes[get_class(packed_class), WORK]
            + 0.5
        ),
    )


@compiled
def count_reserved_tokens(fleet: Fleet, replica: int, packed_class: int) -> int:
    """Return the number of tokens in the KV cache that a request reserves: input and output tokens,
    at most the entire KV cache."""
    return min(
        count_input_tokens(fleet, packed_class) + count_output_tokens(fleet, packed_class),
        int(fleet.counts[replica, KV_TOKENS]),
    )


@compiled
def estimate_work_s(fleet: Fleet, replica: int, packed_class: int) -> float:
    """Return the work of a request at a full batch, in seconds of the entire replica."""
    time_per_token_s = fleet.floats[replica, FIXED] / fleet.counts[replica, WIDTH] + fleet.floats[replica, PER_ITEM]
    return float(
        count_input_tokens(fleet, packed_class) * fleet.floats[replica, PER_PROMPT]
        + count_output_tokens(fleet, packed_class) * time_per_token_s
    )


@compiled
def begin_prefill(fleet: Fleet, replica: int, arrival_s: float, packed_class: int) -> None:
    """Add an admitted request to the end of the prefill queue of a replica, and reserve its KV cache tokens."""
    width, running_count = fleet.counts[replica, WIDTH], fleet.counts[replica, RUNNING]
    slot = fleet.heaps[replica, width - running_count - 1, FREE]
    fleet.running[replica, slot, ARRIVAL] = arrival_s
    fleet.running[replica, slot, PACKED_CLASS] = packed_class
    prompt_count = fleet.counts[replica, PREFILLING]
    fleet.heaps[replica, (fleet.counts[replica, PREFILL_HEAD] + prompt_count) % width, PREFILL] = slot
    if prompt_count == 0:
        fleet.counts[replica, UNPROCESSED] = count_input_tokens(fleet, packed_class)
    fleet.counts[replica, PREFILLING] = prompt_count + 1
    fleet.counts[replica, RUNNING] = running_count + 1
    fleet.counts[replica, RESERVED] += count_reserved_tokens(fleet, replica, packed_class)
    fleet.floats[replica, DONE_SUM] += estimate_work_s(fleet, replica, packed_class)


@compiled
def process_prompts(fleet: Fleet, replica: int, tokens: int) -> None:
    """Process `tokens` prompt tokens in one step. A completed prompt returns its first token, and
    its sequence decodes from then on."""
    while fleet.counts[replica, PREFILLING] > 0:
        if fleet.counts[replica, UNPROCESSED] > tokens:
            fleet.counts[replica, UNPROCESSED] -= tokens
            return
        tokens -= fleet.counts[replica, UNPROCESSED]
        head = fleet.counts[replica, PREFILL_HEAD]
        _start_decoding(fleet, replica, fleet.heaps[replica, head, PREFILL])
        head = (head + 1) % fleet.counts[replica, WIDTH]
        fleet.counts[replica, PREFILL_HEAD] = head
        fleet.counts[replica, PREFILLING] -= 1
        if fleet.counts[replica, PREFILLING] > 0:
            fleet.counts[replica, UNPROCESSED] = count_input_tokens(
                fleet, int(fleet.running[replica, fleet.heaps[replica, head, PREFILL], PACKED_CLASS])
            )


@compiled
def count_unprocessed_tokens(fleet: Fleet, replica: int, max_tokens: int) -> int:
    """Return the number of unprocessed tokens of all prompts, at most `max_tokens`."""
    unprocessed_tokens, width = fleet.counts[replica, UNPROCESSED], fleet.counts[replica, WIDTH]
    for step in range(1, fleet.counts[replica, PREFILLING]):
        if unprocessed_tokens >= max_tokens:
            break
        slot = fleet.heaps[replica, (fleet.counts[replica, PREFILL_HEAD] + step) % width, PREFILL]
        unprocessed_tokens += count_input_tokens(fleet, int(fleet.running[replica, slot, PACKED_CLASS]))
    return int(min(unprocessed_tokens, max_tokens))


@compiled
def _start_decoding(fleet: Fleet, replica: int, slot: int) -> None:
    packed_class = int(fleet.running[replica, slot, PACKED_CLASS])
    fleet.running[replica, slot, ENDS] = fleet.floats[replica, DONE]
    heaps = fleet.heaps
    last_step = fleet.counts[replica, STEP] + count_output_tokens(fleet, packed_class) - 1
    position = fleet.counts[replica, DECODING]
    fleet.counts[replica, DECODING] = position + 1
    fleet.counts[replica, CONTEXT] += count_input_tokens(fleet, packed_class) + 1
    while position > 0:
        parent = (position - 1) // 2
        if heaps[replica, parent, LAST_STEP] <= last_step:
            break
        heaps[replica, position, LAST_STEP], heaps[replica, position, SLOT] = (
            heaps[replica, parent, LAST_STEP],
            heaps[replica, parent, SLOT],
        )
        position = parent
    heaps[replica, position, LAST_STEP], heaps[replica, position, SLOT] = last_step, slot


@compiled
def finish_sequences(fleet: Fleet, replica: int) -> None:
    """Finish all sequences whose last decode step is done."""
    while fleet.counts[replica, DECODING] > 0 and fleet.heaps[replica, 0, LAST_STEP] <= fleet.counts[replica, STEP]:
        slot = fleet.heaps[replica, 0, SLOT]
        packed_class = int(fleet.running[replica, slot, PACKED_CLASS])
        _pop_sequence(fleet, replica)
        _record_response(fleet, replica, slot, packed_class)
        running_count = fleet.counts[replica, RUNNING] - 1
        fleet.counts[replica, RUNNING] = running_count
        fleet.heaps[replica, fleet.counts[replica, WIDTH] - running_count - 1, FREE] = slot
        fleet.counts[replica, CONTEXT] -= count_input_tokens(fleet, packed_class) + count_output_tokens(
            fleet, packed_class
        )
        fleet.counts[replica, RESERVED] -= count_reserved_tokens(fleet, replica, packed_class)
        fleet.floats[replica, DONE_SUM] -= estimate_work_s(fleet, replica, packed_class)
        if running_count == 0:
            fleet.floats[replica, DONE_SUM] = 0.0


@compiled
def _pop_sequence(fleet: Fleet, replica: int) -> None:
    heaps = fleet.heaps
    size = fleet.counts[replica, DECODING] - 1
    fleet.counts[replica, DECODING] = size
    last_step, slot = heaps[replica, size, LAST_STEP], heaps[replica, size, SLOT]
    position = 0
    while True:
        child = 2 * position + 1
        if child >= size:
            break
        if child + 1 < size and heaps[replica, child + 1, LAST_STEP] < heaps[replica, child, LAST_STEP]:
            child += 1
        if heaps[replica, child, LAST_STEP] >= last_step:
            break
        heaps[replica, position, LAST_STEP], heaps[replica, position, SLOT] = (
            heaps[replica, child, LAST_STEP],
            heaps[replica, child, SLOT],
        )
        position = child
    heaps[replica, position, LAST_STEP], heaps[replica, position, SLOT] = last_step, slot


@compiled
def _record_response(fleet: Fleet, replica: int, slot: int, packed_class: int) -> None:
    class_index, now_s, outside_s = get_class(packed_class), fleet.floats[replica, DONE], fleet.floats[replica, OUTSIDE]
    arrival_s = fleet.running[replica, slot, ARRIVAL]
    latencies_s = (now_s - arrival_s + outside_s, fleet.running[replica, slot, ENDS] - arrival_s + outside_s)
    token_gaps = count_output_tokens(fleet, packed_class) - 1
    time_per_token_s = (latencies_s[0] - latencies_s[1]) / token_gaps if token_gaps > 0 else 0.0
    is_good = (
        latencies_s[0] <= fleet.classes[class_index, LIMIT]
        and latencies_s[1] <= fleet.classes[class_index, FIRST_LIMIT]
        and time_per_token_s <= fleet.classes[class_index, TOKEN_LIMIT]
    )
    fleet.tallies[class_index, GOOD if is_good else LATE] += 1
    fleet.tallies[class_index, HISTOGRAMS + LATENCY * BUCKET_COUNT + find_bucket(latencies_s[0])] += 1
    fleet.tallies[class_index, HISTOGRAMS + FIRST_TOKEN * BUCKET_COUNT + find_bucket(latencies_s[1])] += 1
    fleet.classes[class_index, SUM + LATENCY] += latencies_s[0]
    fleet.classes[class_index, SUM + FIRST_TOKEN] += latencies_s[1]
    if token_gaps > 0:
        fleet.tallies[class_index, HISTOGRAMS + PER_TOKEN * BUCKET_COUNT + find_bucket(time_per_token_s)] += 1
        fleet.classes[class_index, SUM + PER_TOKEN] += time_per_token_s
