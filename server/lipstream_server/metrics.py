"""What the server tells a monitoring system: prometheus_client's counters, gauges, histograms."""

from collections.abc import Iterable, Iterator
from typing import Protocol

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    disable_created_metrics,
    generate_latest,
)
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
_DELAYS = (0.15, 0.2, 0.25, 0.3, 0.4, 0.5, 0.75, 1.0, 2.0)
_ANSWERS = (0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
_ENCODINGS = (0.002, 0.005, 0.01, 0.02, 0.04, 0.08, 0.16, 0.32)
_RATES = (50e3, 100e3, 200e3, 300e3, 400e3, 600e3, 800e3, 1e6, 2e6)
_SESSIONS = (1, 10, 60, 300, 900, 1800, 3600, 4 * 3600)
_FILMS = (5, 15, 30, 60, 180, 600, 1800, 3600)
"""Upper bounds of the histograms' buckets, seconds."""


class Measured(Protocol):
    """What has numbers of its own and is asked for them."""

    def metric_values(self) -> "Iterable[MetricValue]":
        """Return the numbers as they stand."""
        ...


class MetricValue:
    """A number that somebody else keeps."""

    def __init__(self, kind: str, name: str, about: str, value: float) -> None:
        """``kind`` is counter or gauge; a counter's ``name`` ends with ``_total``."""
        family = CounterMetricFamily if kind == "counter" else GaugeMetricFamily
        self.metric: Metric = family(name, about, value=value)


class ServerMetrics:
    """The metrics of one server. Any thread's: prometheus_client locks."""

    def __init__(self) -> None:
        disable_created_metrics()  # type: ignore[no-untyped-call]  # lines that nothing reads
        self._registry = CollectorRegistry()
        self.session_delay = self._histogram(
            "session_delay_seconds", "Delay of each session, once a second.", _DELAYS
        )
        self.answer_time = self._histogram(
            "offer_seconds", "From an offer to its answer.", _ANSWERS
        )
        self.session_length = self._histogram(
            "session_seconds", "From an answer to the end of its session.", _SESSIONS
        )
        self.picture_encoding = self._histogram(
            "picture_encoding_seconds",
            "From a picture's being due to its being encoded in every rung.",
            _ENCODINGS,
        )
        self.line_rate = self._histogram(
            "line_bits_per_second", "What each viewer is sent, once a second.", _RATES
        )
        self.key_pictures = self._counter("key_pictures_total", "Key pictures encoded.")
        self.packets_resent = self._counter("packets_resent_total", "Lost packets sent again.")
        self.film_work = self._histogram(
            "studio_film_work_seconds", "From the start of work on a film to its end.", _FILMS
        )
        self.films_waiting = self._gauge("studio_films_waiting", "Films that wait.")
        self.films_working = self._gauge("studio_films_working", "Films in work.")
        self.kept_bytes = self._gauge("studio_kept_bytes", "Room taken on the disk.")
        self.films_finished = self._counter("studio_films_finished_total", "Films made.")
        self.films_failed = self._counter("studio_films_failed_total", "Films that failed.")
        self.film_seconds = self._counter("studio_film_seconds_total", "Length of films made.")
        self.received_bytes = self._counter("studio_received_bytes_total", "Files taken in.")

    def ask(self, measured: Measured) -> None:
        """Ask for somebody's values whenever the metrics are read."""
        self._registry.register(_MeasuredCollector(measured))

    def text(self) -> bytes:
        """Return all metrics in Prometheus' text format, 0.0.4."""
        return generate_latest(self._registry)

    def _counter(self, name: str, about: str) -> Counter:
        return Counter(f"lipstream_{name}", about, registry=self._registry)

    def _gauge(self, name: str, about: str) -> Gauge:
        return Gauge(f"lipstream_{name}", about, registry=self._registry)

    def _histogram(self, name: str, about: str, buckets: tuple[float, ...]) -> Histogram:
        return Histogram(f"lipstream_{name}", about, buckets=buckets, registry=self._registry)


class _MeasuredCollector:
    """Somebody's values, as a collector of prometheus_client."""

    def __init__(self, measured: Measured) -> None:
        self._measured = measured

    def collect(self) -> Iterator[Metric]:
        """Yield each."""
        for value in self._measured.metric_values():
            yield value.metric
