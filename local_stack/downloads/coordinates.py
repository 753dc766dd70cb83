"""What is fetched: the root coordinates of each lock. `python -m local_stack lock` resolves them."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, order=True)
class Coordinate:
    """One jar in Maven's terms."""

    group: str
    artifact: str
    version: str
    classifier: str = ""

    def __str__(self) -> str:
        return ":".join(part for part in (self.group, self.artifact, self.version, self.classifier) if part)

    @classmethod
    def parse(cls, text: str) -> Coordinate:
        """Read `group:artifact:version[:classifier]`.

        Raises:
            ValueError: another number of parts, or an empty one.
        """
        parts = text.split(":")
        if len(parts) not in (3, 4) or not all(parts):
            raise ValueError(f"coordinate {text!r}: expected group:artifact:version[:classifier]")
        return cls(*parts)

    @property
    def file_name(self) -> str:
        """File name of the jar, as Maven names it."""
        return f"{self.artifact}-{self.version}{'-' if self.classifier else ''}{self.classifier}.jar"


@dataclass(frozen=True)
class Root:
    """A jar that is asked for, with or without what it depends on."""

    coordinate: str
    with_dependencies: bool = True


LOCKS: dict[str, tuple[Root, ...]] = {
    "kafka": (
        Root("org.apache.kafka:kafka_2.13:4.3.1"),
        # Without an slf4j binding the broker is mute; Kafka's slf4j is 1.7, hence not log4j-slf4j2-impl.
        Root("org.apache.logging.log4j:log4j-slf4j-impl:2.25.4"),
    ),
    "cassandra": (Root("org.apache.cassandra:cassandra-all:5.0.9"),),
    # Everything else these four need is in pyspark's own jars folder, in pyspark's versions.
    "spark-kafka": (
        Root("org.apache.spark:spark-sql-kafka-0-10_2.13:4.2.0", with_dependencies=False),
        # The registry has it up to 4.0.0 only. The 4.2.0 source runs on it: a link check finds two log-key classes
        # missing, which only Kerberos delegation tokens use.
        Root("org.apache.spark:spark-token-provider-kafka-0-10_2.13:4.0.0", with_dependencies=False),
        Root("org.apache.kafka:kafka-clients:3.9.2", with_dependencies=False),
        Root("org.apache.commons:commons-pool2:2.13.1", with_dependencies=False),
    ),
    "jmx": (Root("io.prometheus.jmx:jmx_prometheus_javaagent:1.0.1", with_dependencies=False),),
}
