"""Which series of a stranger's page are kept, and under which names."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from itertools import islice

from app.telemetry.prometheus_text import Sample, samples

MOST_SERIES = 200
MOST_OTHER_SERIES = 100
"""Of exporters that are not known, so that they leave room for what is."""
MOST_NAME = 200
_MOST_SAMPLES = 5_000
_MOST_LABELS = 32
_NODE = frozenset((
    "node_memory_MemTotal_bytes", "node_memory_MemAvailable_bytes", "node_load1", "node_time_seconds",
    "node_network_receive_bytes_total", "node_network_transmit_bytes_total",
    "node_disk_read_bytes_total", "node_disk_written_bytes_total",
))  # fmt: skip
_CPU = "node_cpu_seconds_total"
"""Eight series a core: only their sums are told."""
_KNOWN = (
    "DCGM_", "nv_", "node_", "vllm:", "llamacpp:", "sglang:", "sizewise_endpoint_", "queue_", "revision_", "kn_",
    "request_preprocess_", "request_predict_", "request_postprocess_", "request_explain_", "process_",
)  # fmt: skip
_OF_RUNTIMES = ("go_", "python_", "promhttp_")
_OF_HISTOGRAMS = ("_bucket", "_created")


def chosen_samples(page: str, labels: Mapping[str, str]) -> list[Sample]:
    """Those worth keeping that carry the labels; of a very long page, the first of them."""
    worth_keeping = (one for one in samples(page) if _is_of_interest(one.name) and _carries(one, labels))
    return list(islice(worth_keeping, _MOST_SAMPLES))


def _is_of_interest(name: str) -> bool:
    if name.startswith("node_"):
        return name in _NODE or name == _CPU
    return not name.startswith(_OF_RUNTIMES) and not name.endswith(_OF_HISTOGRAMS)


def _carries(sample: Sample, wanted: Mapping[str, str]) -> bool:
    # most samples of a long page do not even hold the text
    if any(f'"{value}"' not in sample.labels_text for value in wanted.values() if value.isalnum()):
        return False
    labels = sample.labels() if wanted else {}
    return all(labels.get(name) == value for name, value in wanted.items())


def named_series(chosen: Iterable[Sample]) -> Iterator[tuple[str, Sample]]:
    """Each with its own name on the page, which holds no more labels than tell it from its likes.

    One whose name would be too long, or that is there twice, is left out.
    """
    by_name: dict[str, list[Sample]] = {}
    for sample in chosen:
        if sample.name != _CPU and len(sample.name) <= MOST_NAME:
            by_name.setdefault(sample.name, []).append(sample)
    for name, alike in by_name.items():
        if len(alike) == 1:
            yield name, alike[0]
            continue
        labels = [sample.labels() for sample in alike]
        telling = _telling_labels(labels)
        named: dict[str, Sample] = {}
        for sample, own in zip(alike, labels, strict=True):
            told = ",".join(f'{label}="{_plain(own[label])}"' for label in telling if label in own)
            named.setdefault(f"{name}{{{told}}}" if told else name, sample)
        yield from ((full, sample) for full, sample in named.items() if len(full) <= MOST_NAME)


def _telling_labels(labels: list[dict[str, str]]) -> list[str]:
    """As few as tell all apart, taken in the order in which they are written."""
    telling: list[str] = []
    told_apart = 1
    for label in list(dict.fromkeys(label for own in labels for label in own))[:_MOST_LABELS]:
        tried = [*telling, label]
        different = len({tuple(own.get(one) for one in tried) for own in labels})
        if different > told_apart:
            telling, told_apart = tried, different
        if told_apart == len(labels):
            break
    return telling


def _plain(value: str) -> str:
    escaped = value.replace("\\", r"\\").replace('"', r"\"").replace("\n", r"\n")
    return "".join(one if one.isprintable() else "?" for one in escaped)


class Kept:
    """The series that were kept first go on to be kept, so that a page of changing names fills no disk."""

    def __init__(self) -> None:
        self._names: set[str] = set()
        self._others = 0

    def takes(self, full_name: str, sample: Sample) -> bool:
        if full_name in self._names:
            return True
        is_other = not sample.name.startswith(_KNOWN)
        if len(self._names) >= MOST_SERIES or (is_other and self._others >= MOST_OTHER_SERIES):
            return False
        self._names.add(full_name)
        self._others += is_other
        return True
