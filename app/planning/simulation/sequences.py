"""Requests in work at a replica with continuous batching: a queue of prompts, and a heap of sequences by last step."""

from __future__ import annotations

from app.planning.simulation.compiled import compiled
from app.planning.simulation.histogram import BUCKETS, bucket_of
from app.planning.simulation.queueing import class_of
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
    MARK,
    OUTSIDE,
    PAIRS_AT,
    PER_ITEM,
    PER_PROMPT,
    PER_TOKEN,
    PLACE,
    READ,
    READ_HEAD,
    READING,
    RESERVED,
    STEP,
    SUM,
    TOKEN_LIMIT,
    UNREAD,
    WIDTH,
    WORK,
    WORKING,
    Fleet,
)


@compiled
def tokens_in(fleet: Fleet, mark: int) -> int:
    return max(1, int(fleet.knobs[fleet.knobs[PAIRS_AT] + 2 * (mark >> 8)] * fleet.classes[class_of(mark), WORK] + 0.5))


@compiled
def tokens_out(fleet: Fleet, mark: int) -> int:
    return max(
        1, int(fleet.knobs[fleet.knobs[PAIRS_AT] + 2 * (mark >> 8) + 1] * fleet.classes[class_of(mark), WORK] + 0.5)
    )


@compiled
def reserve_of(fleet: Fleet, replica: int, mark: int) -> int:
    """Return the tokens that a request reserves: all of its tokens, at most the whole cache."""
    return min(tokens_in(fleet, mark) + tokens_out(fleet, mark), int(fleet.counts[replica, KV_TOKENS]))


@compiled
def owed_s(fleet: Fleet, replica: int, mark: int) -> float:
    """Return the time that a request takes of the replica at a full batch."""
    token_s = fleet.reals[replica, FIXED] / fleet.counts[replica, WIDTH] + fleet.reals[replica, PER_ITEM]
    return float(tokens_in(fleet, mark) * fleet.reals[replica, PER_PROMPT] + tokens_out(fleet, mark) * token_s)


@compiled
def begin_reading(fleet: Fleet, replica: int, arrival_s: float, mark: int) -> None:
    width, working = fleet.counts[replica, WIDTH], fleet.counts[replica, WORKING]
    place = fleet.heaps[replica, width - working - 1, FREE]
    fleet.works[replica, place, ARRIVAL] = arrival_s
    fleet.works[replica, place, MARK] = mark
    reading = fleet.counts[replica, READING]
    fleet.heaps[replica, (fleet.counts[replica, READ_HEAD] + reading) % width, READ] = place
    if reading == 0:
        fleet.counts[replica, UNREAD] = tokens_in(fleet, mark)
    fleet.counts[replica, READING] = reading + 1
    fleet.counts[replica, WORKING] = working + 1
    fleet.counts[replica, RESERVED] += reserve_of(fleet, replica, mark)
    fleet.reals[replica, DONE_SUM] += owed_s(fleet, replica, mark)


@compiled
def read_prompts(fleet: Fleet, replica: int, tokens: int) -> None:
    """Process `tokens` tokens of the prompts; a completed prompt decodes from this step on, with its first token."""
    while fleet.counts[replica, READING] > 0:
        if fleet.counts[replica, UNREAD] > tokens:
            fleet.counts[replica, UNREAD] -= tokens
            return
        tokens -= fleet.counts[replica, UNREAD]
        head = fleet.counts[replica, READ_HEAD]
        _begin_decoding(fleet, replica, fleet.heaps[replica, head, READ])
        head = (head + 1) % fleet.counts[replica, WIDTH]
        fleet.counts[replica, READ_HEAD] = head
        fleet.counts[replica, READING] -= 1
        if fleet.counts[replica, READING] > 0:
            fleet.counts[replica, UNREAD] = tokens_in(
                fleet, int(fleet.works[replica, fleet.heaps[replica, head, READ], MARK])
            )


@compiled
def unread_tokens(fleet: Fleet, replica: int, most: int) -> int:
    """Return the unprocessed tokens of all prompts, at most `most`."""
    unread, width = fleet.counts[replica, UNREAD], fleet.counts[replica, WIDTH]
    for step in range(1, fleet.counts[replica, READING]):
        if unread >= most:
            break
        place = fleet.heaps[replica, (fleet.counts[replica, READ_HEAD] + step) % width, READ]
        unread += tokens_in(fleet, int(fleet.works[replica, place, MARK]))
    return int(min(unread, most))


@compiled
def _begin_decoding(fleet: Fleet, replica: int, place: int) -> None:
    mark = int(fleet.works[replica, place, MARK])
    fleet.works[replica, place, ENDS] = fleet.reals[replica, DONE]
    heaps = fleet.heaps
    last_step = fleet.counts[replica, STEP] + tokens_out(fleet, mark) - 1
    position = fleet.counts[replica, DECODING]
    fleet.counts[replica, DECODING] = position + 1
    fleet.counts[replica, CONTEXT] += tokens_in(fleet, mark) + 1
    while position > 0:
        parent = (position - 1) // 2
        if heaps[replica, parent, LAST_STEP] <= last_step:
            break
        heaps[replica, position, LAST_STEP], heaps[replica, position, PLACE] = (
            heaps[replica, parent, LAST_STEP],
            heaps[replica, parent, PLACE],
        )
        position = parent
    heaps[replica, position, LAST_STEP], heaps[replica, position, PLACE] = last_step, place


@compiled
def finish_sequences(fleet: Fleet, replica: int) -> None:
    """Finish the sequences whose last step is done."""
    while fleet.counts[replica, DECODING] > 0 and fleet.heaps[replica, 0, LAST_STEP] <= fleet.counts[replica, STEP]:
        place = fleet.heaps[replica, 0, PLACE]
        mark = int(fleet.works[replica, place, MARK])
        _pop_sequence(fleet, replica)
        _record_response(fleet, replica, place, mark)
        working = fleet.counts[replica, WORKING] - 1
        fleet.counts[replica, WORKING] = working
        fleet.heaps[replica, fleet.counts[replica, WIDTH] - working - 1, FREE] = place
        fleet.counts[replica, CONTEXT] -= tokens_in(fleet, mark) + tokens_out(fleet, mark)
        fleet.counts[replica, RESERVED] -= reserve_of(fleet, replica, mark)
        fleet.reals[replica, DONE_SUM] -= owed_s(fleet, replica, mark)
        if working == 0:
            fleet.reals[replica, DONE_SUM] = 0.0


@compiled
def _pop_sequence(fleet: Fleet, replica: int) -> None:
    heaps = fleet.heaps
    size = fleet.counts[replica, DECODING] - 1
    fleet.counts[replica, DECODING] = size
    last_step, place = heaps[replica, size, LAST_STEP], heaps[replica, size, PLACE]
    position = 0
    while True:
        child = 2 * position + 1
        if child >= size:
            break
        if child + 1 < size and heaps[replica, child + 1, LAST_STEP] < heaps[replica, child, LAST_STEP]:
            child += 1
        if heaps[replica, child, LAST_STEP] >= last_step:
            break
        heaps[replica, position, LAST_STEP], heaps[replica, position, PLACE] = (
            heaps[replica, child, LAST_STEP],
            heaps[replica, child, PLACE],
        )
        position = child
    heaps[replica, position, LAST_STEP], heaps[replica, position, PLACE] = last_step, place


@compiled
def _record_response(fleet: Fleet, replica: int, place: int, mark: int) -> None:
    class_index, now_s, outside_s = class_of(mark), fleet.reals[replica, DONE], fleet.reals[replica, OUTSIDE]
    arrival_s = fleet.works[replica, place, ARRIVAL]
    times_s = (now_s - arrival_s + outside_s, fleet.works[replica, place, ENDS] - arrival_s + outside_s)
    gaps = tokens_out(fleet, mark) - 1
    token_s = (times_s[0] - times_s[1]) / gaps if gaps > 0 else 0.0
    is_good = (
        times_s[0] <= fleet.classes[class_index, LIMIT]
        and times_s[1] <= fleet.classes[class_index, FIRST_LIMIT]
        and token_s <= fleet.classes[class_index, TOKEN_LIMIT]
    )
    fleet.tallies[class_index, GOOD if is_good else LATE] += 1
    fleet.tallies[class_index, HISTOGRAMS + LATENCY * BUCKETS + bucket_of(times_s[0])] += 1
    fleet.tallies[class_index, HISTOGRAMS + FIRST_TOKEN * BUCKETS + bucket_of(times_s[1])] += 1
    fleet.classes[class_index, SUM + LATENCY] += times_s[0]
    fleet.classes[class_index, SUM + FIRST_TOKEN] += times_s[1]
    if gaps > 0:
        fleet.tallies[class_index, HISTOGRAMS + PER_TOKEN * BUCKETS + bucket_of(token_s)] += 1
        fleet.classes[class_index, SUM + PER_TOKEN] += token_s
