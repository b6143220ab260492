"""What a replica of continuous batching has in hand: prompts being read, in order, and a heap of sequences by their
last step.
"""

from __future__ import annotations

from app.planning.simulation.compiled import compiled
from app.planning.simulation.histogram import bucket_of
from app.planning.simulation.queueing import class_of
from app.planning.simulation.state import (
    CONTEXT,
    DECODING,
    DONE,
    DONE_SUM,
    FIRST_TOKEN,
    FIXED,
    GOOD,
    KV_TOKENS,
    LATE,
    LATENCY,
    OUTSIDE,
    PER_ITEM,
    PER_PROMPT,
    PER_TOKEN,
    READ_HEAD,
    READING,
    RESERVED,
    STEP,
    UNREAD,
    WIDTH,
    WORKING,
    Fleet,
)


@compiled
def tokens_in(fleet: Fleet, mark: int) -> int:
    return max(1, int(fleet.inputs[mark >> 8] * fleet.classes[class_of(mark), 1] + 0.5))


@compiled
def tokens_out(fleet: Fleet, mark: int) -> int:
    return max(1, int(fleet.outputs[mark >> 8] * fleet.classes[class_of(mark), 1] + 0.5))


@compiled
def reserve_of(fleet: Fleet, replica: int, mark: int) -> int:
    """The whole of its tokens; of one larger than the cache, the cache."""
    return min(tokens_in(fleet, mark) + tokens_out(fleet, mark), fleet.limits[replica, KV_TOKENS])


@compiled
def owed_s(fleet: Fleet, replica: int, mark: int) -> float:
    """The replica's time a request takes where its batch is full."""
    a_token_s = fleet.law[replica, FIXED] / fleet.limits[replica, WIDTH] + fleet.law[replica, PER_ITEM]
    return float(
        tokens_in(fleet, mark) * fleet.law[replica, PER_PROMPT] + tokens_out(fleet, mark) * a_token_s
    )


@compiled
def begin_reading(fleet: Fleet, replica: int, arrival_s: float, mark: int) -> None:
    width, working = fleet.limits[replica, WIDTH], fleet.counts[replica, WORKING]
    place = fleet.free_places[replica, width - working - 1]
    fleet.work_arrival_s[replica, place] = arrival_s
    fleet.work_mark[replica, place] = mark
    reading = fleet.counts[replica, READING]
    fleet.reading[replica, (fleet.counts[replica, READ_HEAD] + reading) % width] = place
    if reading == 0:
        fleet.counts[replica, UNREAD] = tokens_in(fleet, mark)
    fleet.counts[replica, READING] = reading + 1
    fleet.counts[replica, WORKING] = working + 1
    fleet.counts[replica, RESERVED] += reserve_of(fleet, replica, mark)
    fleet.reals[replica, DONE_SUM] += owed_s(fleet, replica, mark)


@compiled
def read_prompts(fleet: Fleet, replica: int, tokens: int) -> None:
    """Reads so many tokens of the prompts; what is read whole decodes from this step on, with its first token."""
    while fleet.counts[replica, READING] > 0:
        if fleet.counts[replica, UNREAD] > tokens:
            fleet.counts[replica, UNREAD] -= tokens
            return
        tokens -= fleet.counts[replica, UNREAD]
        head = fleet.counts[replica, READ_HEAD]
        _begin_decoding(fleet, replica, fleet.reading[replica, head])
        head = (head + 1) % fleet.limits[replica, WIDTH]
        fleet.counts[replica, READ_HEAD] = head
        fleet.counts[replica, READING] -= 1
        if fleet.counts[replica, READING] > 0:
            fleet.counts[replica, UNREAD] = tokens_in(fleet, fleet.work_mark[replica, fleet.reading[replica, head]])


@compiled
def unread_tokens(fleet: Fleet, replica: int, most: int) -> int:
    """Of all prompts being read, up to `most`."""
    unread, width = fleet.counts[replica, UNREAD], fleet.limits[replica, WIDTH]
    for step in range(1, fleet.counts[replica, READING]):
        if unread >= most:
            break
        place = fleet.reading[replica, (fleet.counts[replica, READ_HEAD] + step) % width]
        unread += tokens_in(fleet, fleet.work_mark[replica, place])
    return int(min(unread, most))


@compiled
def _begin_decoding(fleet: Fleet, replica: int, place: int) -> None:
    mark = fleet.work_mark[replica, place]
    fleet.first_s[replica, place] = fleet.reals[replica, DONE]
    last_step, places = fleet.last_step, fleet.place
    ends_at = fleet.counts[replica, STEP] + tokens_out(fleet, mark) - 1
    at = fleet.counts[replica, DECODING]
    fleet.counts[replica, DECODING] = at + 1
    fleet.counts[replica, CONTEXT] += tokens_in(fleet, mark) + 1
    while at > 0:
        parent = (at - 1) // 2
        if last_step[replica, parent] <= ends_at:
            break
        last_step[replica, at], places[replica, at] = last_step[replica, parent], places[replica, parent]
        at = parent
    last_step[replica, at], places[replica, at] = ends_at, place


@compiled
def finish_sequences(fleet: Fleet, replica: int) -> None:
    """Those whose last step is taken."""
    while fleet.counts[replica, DECODING] > 0 and fleet.last_step[replica, 0] <= fleet.counts[replica, STEP]:
        place = fleet.place[replica, 0]
        mark = fleet.work_mark[replica, place]
        _take_first(fleet, replica)
        _record(fleet, replica, place, mark)
        working = fleet.counts[replica, WORKING] - 1
        fleet.counts[replica, WORKING] = working
        fleet.free_places[replica, fleet.limits[replica, WIDTH] - working - 1] = place
        fleet.counts[replica, CONTEXT] -= tokens_in(fleet, mark) + tokens_out(fleet, mark)
        fleet.counts[replica, RESERVED] -= reserve_of(fleet, replica, mark)
        fleet.reals[replica, DONE_SUM] -= owed_s(fleet, replica, mark)
        if working == 0:
            fleet.reals[replica, DONE_SUM] = 0.0


@compiled
def _take_first(fleet: Fleet, replica: int) -> None:
    last_step, places = fleet.last_step, fleet.place
    size = fleet.counts[replica, DECODING] - 1
    fleet.counts[replica, DECODING] = size
    ends_at, place = last_step[replica, size], places[replica, size]
    at = 0
    while True:
        child = 2 * at + 1
        if child >= size:
            break
        if child + 1 < size and last_step[replica, child + 1] < last_step[replica, child]:
            child += 1
        if last_step[replica, child] >= ends_at:
            break
        last_step[replica, at], places[replica, at] = last_step[replica, child], places[replica, child]
        at = child
    last_step[replica, at], places[replica, at] = ends_at, place


@compiled
def _record(fleet: Fleet, replica: int, place: int, mark: int) -> None:
    kind, now_s, outside_s = class_of(mark), fleet.reals[replica, DONE], fleet.law[replica, OUTSIDE]
    arrival_s = fleet.work_arrival_s[replica, place]
    times_s = (now_s - arrival_s + outside_s, fleet.first_s[replica, place] - arrival_s + outside_s)
    gaps = tokens_out(fleet, mark) - 1
    a_token_s = (times_s[0] - times_s[1]) / gaps if gaps > 0 else 0.0
    good = (
        times_s[0] <= fleet.classes[kind, 2]
        and times_s[1] <= fleet.classes[kind, 3]
        and a_token_s <= fleet.classes[kind, 4]
    )
    fleet.tallies[kind, GOOD if good else LATE] += 1
    fleet.histograms[kind, LATENCY, bucket_of(times_s[0])] += 1
    fleet.histograms[kind, FIRST_TOKEN, bucket_of(times_s[1])] += 1
    fleet.sums_s[kind, LATENCY] += times_s[0]
    fleet.sums_s[kind, FIRST_TOKEN] += times_s[1]
    if gaps > 0:
        fleet.histograms[kind, PER_TOKEN, bucket_of(a_token_s)] += 1
        fleet.sums_s[kind, PER_TOKEN] += a_token_s
