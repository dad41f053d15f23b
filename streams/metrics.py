"""The metrics of a process, kept by prometheus-client and served over HTTP; what there is stands in `pipeline.observing`."""

from __future__ import annotations

import errno
import platform
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.metadata import version
from wsgiref.simple_server import WSGIServer

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, disable_created_metrics, start_http_server
from prometheus_client.exposition import generate_latest

from pipeline.observing import BUILD_INFO, CATALOGUE, Metric

disable_created_metrics()  # type: ignore[no-untyped-call]


class Metrics:
    """An observer with a registry of its own, so that the figures of two of them in one process never mix."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry(auto_describe=True)
        self._counters: dict[str, Counter] = {}
        self._gauges: dict[str, Gauge] = {}
        self._histograms: dict[str, Histogram] = {}
        for metric in CATALOGUE:
            if metric.kind == "counter":
                self._counters[metric.name] = Counter(metric.name, metric.help, metric.labels, registry=self.registry)
            elif metric.kind == "gauge":
                self._gauges[metric.name] = Gauge(metric.name, metric.help, metric.labels, registry=self.registry)
            else:
                self._histograms[metric.name] = Histogram(metric.name, metric.help, metric.labels, registry=self.registry, buckets=metric.buckets)
        self.gauge(BUILD_INFO, 1, version=version("payout"), python=platform.python_version())

    def count(self, metric: Metric, amount: int = 1, **labels: str) -> None:
        """Adds to a counter."""
        _check(metric, labels)
        counter = self._counters[metric.name]
        (counter.labels(**labels) if labels else counter).inc(amount)

    def observe(self, metric: Metric, value: float, **labels: str) -> None:
        """Adds one measurement to a histogram."""
        _check(metric, labels)
        histogram = self._histograms[metric.name]
        (histogram.labels(**labels) if labels else histogram).observe(value)

    def gauge(self, metric: Metric, value: float, **labels: str) -> None:
        """States what a gauge stands at now."""
        _check(metric, labels)
        gauge = self._gauges[metric.name]
        (gauge.labels(**labels) if labels else gauge).set(value)

    def replace(self, metric: Metric, rows: Mapping[tuple[str, ...], float]) -> None:
        """States a whole gauge anew, one value per tuple of labels in the catalogue's order; what is not among them is gone."""
        gauge = self._gauges[metric.name]
        gauge.clear()
        for labels, value in rows.items():
            self.gauge(metric, value, **dict(zip(metric.labels, labels, strict=True)))

    def text(self) -> str:
        """All figures in the text format that is scraped."""
        return generate_latest(self.registry).decode()

    def serve(self, port: int, host: str = "127.0.0.1") -> MetricsServer:
        """Serves `/metrics` from a thread until closed; port 0 takes a free one."""
        try:
            server, thread = start_http_server(port, host, self.registry)
        except OSError as error:
            reason = "is already in use, choose another metrics_port" if error.errno == errno.EADDRINUSE else f"cannot be served: {error.strerror}"
            raise OSError(error.errno, f"metrics_port {port} on {host} {reason}") from None
        return MetricsServer(server, thread)


@dataclass(frozen=True, slots=True)
class MetricsServer:
    """The thread that answers scrapes."""

    server: WSGIServer
    thread: threading.Thread

    @property
    def url(self) -> str:
        """Where to scrape."""
        return f"http://{self.server.server_address[0]!s}:{self.server.server_port}/metrics"

    def close(self) -> None:
        """Stops answering."""
        self.server.shutdown()
        self.server.server_close()
        self.thread.join()


def _check(metric: Metric, labels: Mapping[str, str]) -> None:
    """A label value outside the catalogue's words is a defect of the caller, and the way in which person data would leak."""
    for label, words in metric.values.items():
        if labels.get(label) not in words:
            raise ValueError(f"{metric.name}: {label}={labels.get(label)!r} is none of {', '.join(words)}")


def catalogue_page() -> str:
    """The page `docs/metrics.md`."""
    lines = [
        "# Metrics",
        "",
        "What a running process serves at `/metrics` (`payout run --metrics-port PORT`). Money is in minor units of its currency, time in seconds.",
        "This page is written from the catalogue in `pipeline/observing.py` by `make docs`; a test holds the two together.",
        "",
        "| question | metric | type | unit | labels | says |",
        "|---|---|---|---|---|---|",
    ]
    for metric in CATALOGUE:
        labels = ", ".join(_label_text(metric, label) for label in metric.labels) or "none"
        lines.append(f"| {metric.question} | `{metric.name}` | {metric.kind} | {metric.unit or 'number'} | {labels} | {metric.help} |")
    return "\n".join([*lines, ""])


def _label_text(metric: Metric, label: str) -> str:
    words = metric.values.get(label)
    return f"`{label}` ({', '.join(words)})" if words else f"`{label}`"
