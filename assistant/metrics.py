"""What Prometheus scrapes: how the assistant stands, read from the ledger when it is asked, and how this process does.

What the ledger has is not counted as it happens: several processes write there. What is only known as it happens (how
long an answer takes) comes from `assistant.meter`.
"""

from __future__ import annotations

from collections.abc import Iterable
from threading import active_count

from prometheus_client import CollectorRegistry, Metric, ProcessCollector
from prometheus_client.core import GaugeMetricFamily, InfoMetricFamily
from prometheus_client.registry import Collector

from assistant.meter import Meter
from assistant.versions import number
from memory.ledger import Ledger
from memory.records import BASE, AdapterState, LessonState, NightStatus


def registry(ledger: Ledger, meter: Meter | None = None) -> CollectorRegistry:
    """A registry of its own, with all that the ledger tells, and with a meter what it has counted and this process."""
    made = CollectorRegistry()
    made.register(_Standing(ledger))
    if meter is not None:
        made.register(_Process(meter))
        ProcessCollector(registry=made)
    return made


class _Process(Collector):
    """What a meter has counted, and the threads of its process."""

    def __init__(self, meter: Meter) -> None:
        self._meter = meter

    def describe(self) -> Iterable[Metric]:
        """Nothing: whoever registers this need not have it counted."""
        return []

    def collect(self) -> Iterable[Metric]:
        yield from self._meter.registry.collect()
        yield GaugeMetricFamily("nightschool_threads", "Threads of this process that Python knows", active_count())


class _Standing(Collector):
    """The ledger's answers at the moment of the scrape."""

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger

    def describe(self) -> Iterable[Metric]:
        """Nothing: whoever registers this need not have the ledger read."""
        return []

    def collect(self) -> Iterable[Metric]:
        yield from self._versions()
        yield from self._feedback()
        yield from self._nights()
        yield from self._drift()

    def _versions(self) -> Iterable[Metric]:
        active = self._ledger.active_adapter()
        info = InfoMetricFamily("nightschool_serving", "The version that serves")
        about = {"version": active.version, "sha256": active.sha256, "model": active.model_id} if active else {}
        info.add_metric([], {"version": BASE} | about)
        yield info
        serves = number(active.version) if active else 0
        yield GaugeMetricFamily("nightschool_active_version", "N of the version vN that serves, 0 for the base", serves)
        made = [adapter.state for adapter in self._ledger.adapters()]
        adapters = GaugeMetricFamily("nightschool_adapters", "Versions by their standing", labels=["state"])
        for state in AdapterState:
            adapters.add_metric([state], made.count(state))
        yield adapters

    def _feedback(self) -> Iterable[Metric]:
        yield GaugeMetricFamily("nightschool_exchanges", "Exchanges in the ledger", self._ledger.count_exchanges())
        ratings = GaugeMetricFamily(
            "nightschool_ratings", "Thumbs that hold, by the version that answered", labels=["version", "value"]
        )
        for version, votes in sorted(self._ledger.votes().items()):
            ratings.add_metric([version, "up"], votes.up)
            ratings.add_metric([version, "down"], votes.down)
        yield ratings
        counts = self._ledger.lesson_counts()
        lessons = GaugeMetricFamily("nightschool_lessons", "Lessons by state", labels=["state"])
        for state in LessonState:
            lessons.add_metric([state], counts.get(state, 0))
        yield lessons

    def _nights(self) -> Iterable[Metric]:
        nights = self._ledger.nights(limit=10)
        running = any(night.status is NightStatus.RUNNING for night in nights)
        yield GaugeMetricFamily("nightschool_night_running", "Whether a night is under way", float(running))
        last = next((night for night in nights if night.status.ended), None)
        status = GaugeMetricFamily("nightschool_last_night", "1 for how the last night ended", labels=["status"])
        for ending in NightStatus:
            if ending.ended:
                status.add_metric([ending], float(last is not None and last.status is ending))
        yield status
        ended_at = GaugeMetricFamily("nightschool_last_night_ended_timestamp_seconds", "When the last night ended")
        if last is not None and last.ended_at is not None:
            ended_at.add_metric([], last.ended_at.timestamp())
        yield ended_at

    def _drift(self) -> Iterable[Metric]:
        """As the last night found it; of a version that no longer serves there is no drift to tell."""
        active, told = self._ledger.active_adapter(), self._ledger.last_drift()
        current = told if told and active and told["adapter"] == active.version else {}
        thumbs, exam = current.get("thumbs"), current.get("exam")
        drifted = GaugeMetricFamily(
            "nightschool_drift",
            "1 where the version that serves is below its band, as the last night found it",
            labels=["signal"],
        )
        for name, signal in (("thumbs", thumbs), ("exam", exam)):
            drifted.add_metric([name], float(bool(signal and signal["drifted"])))
        yield drifted
        down = GaugeMetricFamily(
            "nightschool_drift_thumbs_down_share",
            "Share of thumbs down, on the version that serves and on those before it, as the last night found it",
            labels=["of"],
        )
        right = GaugeMetricFamily(
            "nightschool_drift_exam_share",
            "Share of what it was verified on that the version that serves still had right when it was last asked",
        )
        if thumbs:
            down.add_metric(["serving"], thumbs["down"] / thumbs["rated"])
            down.add_metric(["usual"], thumbs["usual_down"] / thumbs["usual_rated"])
        if exam:
            right.add_metric([], exam["right"] / exam["asked"])
        yield down
        yield right
