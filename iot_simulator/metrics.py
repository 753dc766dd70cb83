"""What the stations publish, as Prometheus reads it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from prometheus_client import CollectorRegistry
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric

from iot_simulator.publisher import Publisher


class PublisherMetrics:
    """Reads the publisher's own counts when it is asked, so that sending a record costs nothing more.

    Args:
        publisher: counted.
        topics: whose counts are told.
        behind: how late the stations are, s.
    """

    def __init__(self, publisher: Publisher, topics: Sequence[str], behind: Callable[[], float]) -> None:
        self._publisher, self._topics, self._behind = publisher, topics, behind

    def collect(self) -> Iterator[Metric]:
        """Yield the metrics at this moment."""
        counts = {topic: self._publisher.counts(topic) for topic in self._topics}
        sent = CounterMetricFamily("iot_simulator_sent", "Records handed to the client", labels=["topic"])
        acknowledged = CounterMetricFamily(
            "iot_simulator_acknowledged", "Records that Kafka acknowledged", labels=["topic"]
        )
        failed = CounterMetricFamily("iot_simulator_failed", "Records given up", labels=["topic"])
        in_flight = GaugeMetricFamily(
            "iot_simulator_in_flight_records", "Records without an acknowledgement", labels=["topic"]
        )
        for topic, held in counts.items():
            sent.add_metric([topic], held.sent)
            acknowledged.add_metric([topic], held.acknowledged)
            failed.add_metric([topic], held.failed)
            in_flight.add_metric([topic], held.in_flight)
        yield from (sent, acknowledged, failed, in_flight)
        yield GaugeMetricFamily("iot_simulator_behind_seconds", "How late the stations are", value=self._behind())


def registry_of(metrics: PublisherMetrics) -> CollectorRegistry:
    """Return a registry that holds them alone."""
    registry = CollectorRegistry()
    registry.register(metrics)  # type: ignore[arg-type]
    return registry
