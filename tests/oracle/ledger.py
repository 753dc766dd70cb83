"""The ledger: what was attempted and what Kafka acknowledged, kept outside the system under test."""

from __future__ import annotations

import hashlib
import json
import threading
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self, TextIO

from kafka import KafkaProducer

from tests.oracle.stream_input import Identity, Planned

ACKNOWLEDGED_WITHIN_SECONDS = 60


@dataclass
class Entry:
    """One attempt. `partition` and `offset` are set once Kafka has acknowledged it."""

    planned: Planned
    digest: str
    partition: int | None = None
    offset: int | None = None

    @property
    def acknowledged(self) -> bool:
        """Whether Kafka said that it has it."""
        return self.offset is not None


@dataclass
class Ledger:
    """All attempts, in order."""

    entries: list[Entry] = field(default_factory=list)

    def attempted(self) -> set[Identity]:
        """T: identities that were tried."""
        return {entry.planned.identity for entry in self.entries if entry.planned.identity}

    def not_acknowledged(self) -> set[Identity]:
        """T without A: identities of which no attempt was acknowledged."""
        acknowledged = {entry.planned.identity for entry in self.entries if entry.acknowledged}
        return self.attempted() - acknowledged

    def labels(self) -> Counter[str]:
        """How many attempts had each label."""
        return Counter(entry.planned.label.split(":")[0] for entry in self.entries)


def digest(key: bytes | None, value: bytes | None) -> str:
    """What identifies the content of a Kafka entry; null and empty differ."""
    parts = [b"null" if part is None else b"=" + part for part in (key, value)]
    return hashlib.sha256(hashlib.sha256(parts[0]).digest() + hashlib.sha256(parts[1]).digest()).hexdigest()


class Publisher:
    """Publishes a plan and writes the ledger.

    Args:
        kafka: client settings of kafka-python.
        topic: of the readings.
        path: the ledger's file, one JSON line per attempt before it is made and one per acknowledgement.
    """

    def __init__(self, kafka: Mapping[str, Any], topic: str, path: Path) -> None:
        """Connect."""
        self.ledger = Ledger()
        self._topic = topic
        self._file: TextIO = path.open("a", encoding="utf-8")
        self._lock = threading.Lock()
        self._producer = KafkaProducer(
            **kafka,
            acks="all",
            enable_idempotence=True,
            linger_ms=5,
            batch_size=64 * 1024,
        )

    def __enter__(self) -> Self:
        """Return itself."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close the client and the file."""
        self._producer.close(timeout=10)
        self._file.close()

    def publish(self, planned: Iterable[Planned]) -> list[Entry]:
        """Send in order and wait until all is acknowledged. A failed delivery stays unacknowledged in the ledger.

        Raises:
            KafkaTimeoutError: not all was acknowledged in time.
        """
        sent = [self._send(item) for item in planned]
        self._producer.flush(timeout=ACKNOWLEDGED_WITHIN_SECONDS)
        self._file.flush()
        return sent

    def _send(self, planned: Planned) -> Entry:
        entry = Entry(planned, digest(planned.key, planned.value))
        number = len(self.ledger.entries)
        self.ledger.entries.append(entry)
        self._write({"attempt": number, "label": planned.label, "identity": planned.identity, "digest": entry.digest})
        delivery = self._producer.send(self._topic, key=planned.key, value=planned.value)
        delivery.add_callback(lambda found: self._acknowledge(number, found))
        return entry

    def _acknowledge(self, number: int, found: Any) -> None:
        entry = self.ledger.entries[number]
        entry.partition, entry.offset = found.partition, found.offset
        self._write({"acknowledged": number, "partition": found.partition, "offset": found.offset})

    def _write(self, line: dict[str, object]) -> None:
        with self._lock:
            self._file.write(json.dumps(line) + "\n")


def chunks(planned: Sequence[Planned], parts: int) -> Iterator[Sequence[Planned]]:
    """Cut a plan into parts of about equal length, in order, so that a test can do harm in between."""
    size = -(-len(planned) // parts)
    for start in range(0, len(planned), size):
        yield planned[start : start + size]
