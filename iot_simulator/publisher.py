"""The simulator's only door to Kafka: nothing is dropped silently; what is not acknowledged is said to be so."""

from __future__ import annotations

import logging
import threading
import time
from collections import defaultdict, deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import lru_cache, partial
from typing import Any

from kafka import KafkaProducer, errors
from kafka.cluster import ClusterMetadata
from kafka.partitioner import DefaultPartitioner, murmur2
from tenacity import RetryError, Retrying, retry_if_exception_type, sleep_using_event
from tenacity.stop import stop_when_event_set
from tenacity.wait import wait_exponential_jitter

from core.errors import BrokerUnavailable
from core.kafka_errors import broker_error, overheard

log = logging.getLogger(__name__)

# The client retries by itself for this long; what it gives back after that is handed to it again.
DELIVERY_TIMEOUT_MS = 24 * 3_600_000
# How long one call into the client may block, so that a signal is noticed.
BLOCK_MS = 2_000
RETRY_PAUSE_SECONDS = 1.0
SILENT_SECONDS = 5.0

# Errors that another attempt would only repeat.
HOPELESS = (
    errors.MessageSizeTooLargeError,
    errors.RecordListTooLargeError,
    errors.InvalidRecordError,
    errors.InvalidTopicError,
    errors.TopicAuthorizationFailedError,
    errors.ClusterAuthorizationFailedError,
    TypeError,
)


@dataclass(frozen=True)
class Counts:
    """What became of one topic's records: `sent` = handed to the client, `failed` = given up."""

    sent: int = 0
    acknowledged: int = 0
    failed: int = 0

    @property
    def in_flight(self) -> int:
        """Handed over, fate unknown."""
        return self.sent - self.acknowledged - self.failed

    def __str__(self) -> str:
        """Show the counts as they stand at the end, when whatever is not acknowledged has failed."""
        return f"sent={self.sent} acknowledged={self.acknowledged} failed={self.sent - self.acknowledged}"


@dataclass(frozen=True)
class _Delivery:
    topic: str
    key: bytes
    value: bytes


class Publisher:
    """Publishes keyed records, at most `limit` of them unacknowledged; a full buffer or an absent broker makes it wait.

    One thread publishes. A delivery that fails for a passing reason is handed over again, so the broker may hold it
    twice and out of order; a reading's identity makes that harmless.

    Args:
        kafka: client settings of kafka-python, with `bootstrap_servers`.
        stop: when set, waiting ends: `publish` refuses, `connect` gives up.
        limit: most records without acknowledgement.
        producer: makes the client; tests put theirs here.
    """

    def __init__(
        self,
        kafka: Mapping[str, Any],
        stop: threading.Event,
        limit: int = 50_000,
        producer: Callable[..., Any] = KafkaProducer,
    ) -> None:
        self._kafka, self._stop, self._limit, self._make = kafka, stop, limit, producer
        self._bootstrap = ",".join(kafka["bootstrap_servers"])
        self._client: Any = None
        self._tally: dict[str, list[int]] = defaultdict(lambda: [0, 0, 0])
        self._in_flight = 0
        self._changed = threading.Condition()
        self._again: deque[_Delivery] = deque()
        self._again_at = 0.0
        self._silence = _Silence(self._bootstrap)

    def connect(self) -> bool:
        """Wait for the broker. False when stopped before it answered.

        Raises:
            BrokerRefused: it does not take the login, or its certificate is not trusted.
        """
        attempts = Retrying(
            retry=retry_if_exception_type(BrokerUnavailable),
            wait=wait_exponential_jitter(multiplier=0.5, max=10),
            sleep=sleep_using_event(self._stop),
            stop=stop_when_event_set(self._stop),
            before_sleep=lambda state: log.warning(
                "%s (attempt %d); trying again",
                state.outcome.exception() if state.outcome else self._bootstrap,
                state.attempt_number,
            ),
        )
        try:
            self._client = attempts(self._open)
        except RetryError:
            return False
        return True

    def publish(self, topic: str, key: bytes, value: bytes) -> bool:
        """Hand one record over, waiting for room. False when stopped while waiting: it was not attempted."""
        if self._again:
            self._hand_over_again()
        while self._in_flight >= self._limit:
            if self._stop.is_set():
                return False
            self._wait(0.5)
        with self._changed:
            if self._in_flight == 0:
                self._silence.sign(time.monotonic())
            self._in_flight += 1
            self._tally[topic][0] += 1
        return self._hand_over(_Delivery(topic, key, value), give_up_when_stopped=True)

    def counts(self, topic: str) -> Counts:
        """Return the counts of one topic so far."""
        with self._changed:
            return Counts(*self._tally[topic])

    def watch(self) -> None:
        """Say when the broker fell silent or answers again; to be called now and then."""
        self._silence.watch(time.monotonic(), self._in_flight)

    def close(self, seconds: float) -> None:
        """Wait up to `seconds` until everything is acknowledged, then close. The counts tell what was not."""
        deadline = time.monotonic() + seconds
        while self._in_flight and (left := deadline - time.monotonic()) > 0:
            self._hand_over_again()
            self._wait(min(0.5, left))
        if self._client is None:
            return
        if self._in_flight:
            log.error("%d records were not acknowledged within %.0f s and may be lost", self._in_flight, seconds)
        try:
            self._client.close(timeout=0 if self._in_flight else 10)
        except errors.KafkaTimeoutError:
            log.debug("the client closed with records in its buffer")

    def _open(self) -> Any:
        heard: list[str] = []
        try:
            with overheard() as heard:
                return self._client_of_settings()
        except (errors.KafkaTimeoutError, errors.KafkaConnectionError) as error:
            raise broker_error(self._bootstrap, error, heard) from error

    def _client_of_settings(self) -> Any:
        return self._make(
            **self._kafka,
            enable_idempotence=True,
            acks="all",
            delivery_timeout_ms=DELIVERY_TIMEOUT_MS,
            bootstrap_timeout_ms=BLOCK_MS,
            max_block_ms=BLOCK_MS,
            reconnect_backoff_max_ms=2_000,
            request_timeout_ms=15_000,
            linger_ms=10,
            batch_size=128 * 1024,
            # The client computes CRC-32C in Python: over a fifth of the bytes, a record costs 59 us of CPU and not 91.
            compression_type="gzip",
            # A topic that the client creates would have neither the stated partitions nor LogAppendTime.
            allow_auto_create_topics=False,
            partitioner=_KeyPartitioner(),
            metrics_enabled=False,
        )

    def _hand_over(self, delivery: _Delivery, *, give_up_when_stopped: bool) -> bool:
        while True:
            try:
                future = self._client.send(delivery.topic, key=delivery.key, value=delivery.value)
            except errors.KafkaTimeoutError:
                log.warning("topic %s is not known at %s; waiting for it", delivery.topic, self._bootstrap)
                if give_up_when_stopped and self._stop.is_set():
                    self._settle(delivery.topic, sent=-1)
                    return False
                self._stop.wait(RETRY_PAUSE_SECONDS)
            except HOPELESS as error:
                self._failed(delivery, error)
                return True
            else:
                future.add_callback(partial(self._acknowledged, delivery.topic))
                future.add_errback(partial(self._failed, delivery))
                return True

    def _hand_over_again(self) -> None:
        if time.monotonic() < self._again_at:
            return
        for _ in range(len(self._again)):
            self._hand_over(self._again.popleft(), give_up_when_stopped=False)

    def _acknowledged(self, topic: str, _: object) -> None:
        self._silence.sign(time.monotonic())
        self._settle(topic, acknowledged=1)

    def _failed(self, delivery: _Delivery, error: BaseException) -> None:
        if isinstance(error, HOPELESS):
            log.error("%s, key %r: given up: %s", delivery.topic, delivery.key, error)
            self._settle(delivery.topic, failed=1)
            return
        if not self._again:
            log.warning("%s: deliveries failed (%s); they are handed over again", delivery.topic, error)
            self._again_at = time.monotonic() + RETRY_PAUSE_SECONDS
        self._again.append(delivery)

    def _settle(self, topic: str, *, sent: int = 0, acknowledged: int = 0, failed: int = 0) -> None:
        with self._changed:
            tally = self._tally[topic]
            tally[0] += sent
            tally[1] += acknowledged
            tally[2] += failed
            self._in_flight -= acknowledged + failed - sent
            self._changed.notify()

    def _wait(self, seconds: float) -> None:
        with self._changed:
            self._changed.wait(seconds)
        self._hand_over_again()
        self.watch()


class _Silence:
    """Notices that a broker owes answers and gives none."""

    def __init__(self, bootstrap: str) -> None:
        self._bootstrap = bootstrap
        self._last_sign = 0.0
        self._say_at = SILENT_SECONDS
        self._silent = 0.0

    def sign(self, now: float) -> None:
        self._last_sign = now

    def watch(self, now: float, in_flight: int) -> None:
        silent = now - self._last_sign if in_flight else 0.0
        if silent >= self._say_at:
            log.warning(
                "broker %s has not answered for %.0f s; %d records wait, none is dropped",
                self._bootstrap,
                silent,
                in_flight,
            )
            self._say_at = min(2 * self._say_at, self._say_at + 60)
        elif silent < SILENT_SECONDS and self._say_at > SILENT_SECONDS:
            log.warning("broker %s answers again after %.0f s", self._bootstrap, self._silent)
            self._say_at = SILENT_SECONDS
        self._silent = max(silent, self._silent) if self._say_at > SILENT_SECONDS else 0.0


class _KeyPartitioner(DefaultPartitioner):
    """The client's partitioner by key, remembering the hash: in Python it is dearer than the rest of a send."""

    def partition(
        self,
        topic: str,
        key: object,
        serialized_key: bytes,
        value: object,
        serialized_value: bytes,
        cluster: ClusterMetadata,
    ) -> int:
        partitions = sorted(cluster.partitions_for_topic(topic))
        return partitions[_key_hash(serialized_key) % len(partitions)]


@lru_cache(maxsize=200_000)
def _key_hash(key: bytes) -> int:
    return murmur2(key) & 0x7FFFFFFF
