"""How cold the start of a variant is: opened again and again, each time in a new process, and closed."""

from __future__ import annotations

import msgspec

from app.errors import SizewiseError
from app.inference.job import VariantJob
from app.records.local import ColdStartOf
from app.session.interruption import Interruption
from app.session.limits import LimitWatch
from app.session.local_parts import LocalParts, PreparedModel
from app.session.local_spec import LocalSpec, VariantOrder
from app.session.telling import Telling

_OPEN_LIMIT_S = 600.0


class ColdStarts:
    """Found once for variants that are opened in the same way: batch and streams do not matter to it."""

    def __init__(
        self, spec: LocalSpec, parts: LocalParts, telling: Telling, limits: LimitWatch, interruption: Interruption
    ) -> None:
        self._spec, self._parts, self._telling = spec, parts, telling
        self._limits, self._interruption = limits, interruption
        self._known: set[tuple[object, ...]] = set()

    def of(self, order: VariantOrder, prepared: PreparedModel) -> tuple[ColdStartOf, ...]:
        """Empty where another variant has told it. Raises what opening it raises."""
        key = (prepared.path, order.variant.provider, order.settings.threads, order.variant.devices)
        if key in self._known or self._spec.cold_starts == 0:
            return ()
        self._known.add(key)
        self._telling.phase("cold start", f"starting {order.variant.label} anew, {self._spec.cold_starts} times")
        found = [self._start(order, prepared.path, None) for _ in range(self._spec.cold_starts)]
        if prepared.kept_model is not None:
            found += self._with_kept(order, prepared.path, prepared.kept_model)
        return tuple(one for one in found if one is not None)

    def _with_kept(self, order: VariantOrder, path: str, kept_model: str) -> list[ColdStartOf | None]:
        try:
            self._start(order, path, kept_model)  # keeps it, where it is not kept yet
            return [self._start(order, path, kept_model) for _ in range(self._spec.cold_starts)]
        except SizewiseError as error:  # it runs, and cannot be kept: of more than 2 GiB, say
            if not self._interruption.is_requested:
                self._telling.note(f"{order.variant.label}: no start with the optimised model kept: {error}.")
            return []

    def _start(self, order: VariantOrder, path: str, kept_model: str | None) -> ColdStartOf | None:
        if self._interruption.is_requested or not self._limits.check(self._parts.now_ns()):
            return None
        settings = order.settings
        if kept_model is not None and order.variant.provider == "tensorrt":
            settings = msgspec.structs.replace(settings, engine_folder=kept_model)
        elif kept_model is not None:
            settings = msgspec.structs.replace(settings, kept_model=kept_model)
        job = VariantJob(
            model=path,
            provider=order.variant.provider,
            batch=order.variant.batch,
            settings=settings,
            memory_limit_bytes=self._spec.memory_limit(order.variant.provider),
        )
        running = self._parts.start_variant(order.variant.label, job, order.environment)
        self._interruption.attach(lambda _: running.kill())
        try:
            opened = running.opened(self._limits.within(_OPEN_LIMIT_S, self._parts.now_ns()))
        finally:
            running.close()
        return ColdStartOf(
            is_cached=kept_model is not None,
            process_ms=(opened.begun_ns - running.started_ns) / 1e6,
            library_load_ms=opened.library_load_ms,
            session_build_ms=opened.session_build_ms,
            first_inference_ms=opened.first_inference_ms,
        )
