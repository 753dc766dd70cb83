"""The publisher's promises that need no broker: bounded, nothing dropped silently, honest counts."""

from __future__ import annotations

import logging
import threading

import pytest
from kafka import errors
from kafka.future import Future

from core.sensors import DEFAULT_SENSORS
from iot_simulator import publisher as module
from iot_simulator.fault_plan import FaultPlan
from iot_simulator.fault_table import no_faults
from iot_simulator.live import CATCH_UP_SECONDS, LiveStations, first_tick_after
from iot_simulator.process import StationProcess
from iot_simulator.publisher import Counts, Publisher
from tests.waiting import wait_until


class FakeClient:
    """A client whose answers the test gives; what it was configured with is in `options`."""

    def __init__(self, **options: object) -> None:
        self.options = options
        self.open: list[tuple[bytes, Future]] = []
        self.log: list[bytes] = []
        self.raising: list[Exception] = []
        self.closed: float | None = None

    def send(self, topic: str, key: bytes, value: bytes) -> Future:
        if self.raising:
            raise self.raising.pop(0)
        future = Future()
        self.open.append((value, future))
        self.log.append(value)
        return future

    def answer(self, error: Exception | None = None) -> None:
        waiting, self.open = self.open, []
        for _, future in waiting:
            future.success(None) if error is None else future.failure(error)

    def close(self, timeout: float) -> None:
        self.closed = timeout


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "RETRY_PAUSE_SECONDS", 0.01)


def connected(limit: int = 100) -> tuple[Publisher, FakeClient, threading.Event]:
    made: list[FakeClient] = []

    def make(**options: object) -> FakeClient:
        made.append(FakeClient(**options))
        return made[0]

    stop = threading.Event()
    publisher = Publisher({"bootstrap_servers": ["127.0.0.1:1"]}, stop, limit, make)
    assert publisher.connect()
    return publisher, made[0], stop


def test_it_asks_for_an_idempotent_producer() -> None:
    """Breaks if acknowledgements no longer mean that all replicas have it, or the client may create topics."""
    _, client, _ = connected()
    assert client.options["enable_idempotence"] is True and client.options["acks"] == "all"
    assert client.options["allow_auto_create_topics"] is False


def test_counts_tell_sent_from_acknowledged() -> None:
    """Breaks if something counts as acknowledged before the broker said so."""
    publisher, client, _ = connected()
    assert publisher.publish("t", b"k", b"1") and publisher.publish("t", b"k", b"2")
    assert publisher.counts("t") == Counts(2, 0, 0)
    client.answer()
    assert publisher.counts("t") == Counts(2, 2, 0) and publisher.counts("other") == Counts()
    assert str(Counts(5, 3, 1)) == "sent=5 acknowledged=3 failed=2"


def test_it_waits_when_the_buffer_is_full() -> None:
    """Breaks if what is in flight is not bounded, or waiting drops the reading."""
    publisher, client, _ = connected(limit=3)
    sender = threading.Thread(target=lambda: [publisher.publish("t", b"k", b"%d" % n) for n in range(5)])
    sender.start()
    wait_until(lambda: len(client.open) == 3, "three are on their way")
    sender.join(0.2)
    assert sender.is_alive() and len(client.log) == 3
    client.answer()
    sender.join(5)
    assert not sender.is_alive() and client.log == [b"0", b"1", b"2", b"3", b"4"]


def test_a_signal_ends_the_waiting_and_the_reading_was_not_sent() -> None:
    """Breaks if SIGTERM hangs while the broker is away, or a reading never handed over counts as sent."""
    publisher, _, stop = connected(limit=1)
    assert publisher.publish("t", b"k", b"1")
    stop.set()
    assert publisher.publish("t", b"k", b"2") is False
    assert publisher.counts("t") == Counts(1, 0, 0)


@pytest.mark.usefixtures("quick")
def test_a_failed_delivery_is_handed_over_again() -> None:
    """Breaks if a delivery that the client gave up for a passing reason is lost, or counts as failed or twice."""
    publisher, client, _ = connected()
    publisher.publish("t", b"k", b"1")
    client.answer(errors.OutOfOrderSequenceNumberError())
    assert publisher.counts("t") == Counts(1, 0, 0)
    closing = threading.Thread(target=publisher.close, args=(10,))
    closing.start()
    wait_until(lambda: client.log == [b"1", b"1"], "it is sent again")
    client.answer()
    closing.join(5)
    assert publisher.counts("t") == Counts(1, 1, 0) and client.closed


@pytest.mark.usefixtures("quick")
def test_a_hopeless_delivery_is_counted_and_shown(caplog: pytest.LogCaptureFixture) -> None:
    """Breaks if what the broker can never take is dropped silently, or blocks the rest."""
    publisher, client, _ = connected()
    publisher.publish("t", b"key-1", b"1")
    client.answer(errors.MessageSizeTooLargeError())
    client.raising = [errors.MessageSizeTooLargeError()]
    publisher.publish("t", b"key-2", b"2")
    publisher.close(1)
    assert publisher.counts("t") == Counts(2, 0, 2)
    assert "key-1" in caplog.text and "key-2" in caplog.text


@pytest.mark.usefixtures("quick")
def test_it_waits_for_a_topic_that_is_not_there(caplog: pytest.LogCaptureFixture) -> None:
    """Breaks if a topic created a little later costs readings."""
    publisher, client, _ = connected()
    client.raising = [errors.KafkaTimeoutError(), errors.KafkaTimeoutError()]
    assert publisher.publish("t", b"k", b"1")
    assert client.log == [b"1"] and "topic t is not known" in caplog.text


def test_what_is_not_acknowledged_at_the_end_is_said(caplog: pytest.LogCaptureFixture) -> None:
    """Breaks if closing hangs on a broker that is away, or reports unacknowledged readings as sent and done."""
    publisher, client, _ = connected()
    publisher.publish("t", b"k", b"1")
    publisher.close(0.05)
    assert str(publisher.counts("t")) == "sent=1 acknowledged=0 failed=1"
    assert "1 records were not acknowledged" in caplog.text and client.closed == 0


def test_it_waits_for_the_broker_at_the_start() -> None:
    """Breaks if the order in which processes start matters, or a stop is not noticed while waiting."""
    refusals = [errors.KafkaTimeoutError(), errors.KafkaConnectionError()]

    def make(**options: object) -> FakeClient:
        if refusals:
            raise refusals.pop(0)
        return FakeClient(**options)

    assert Publisher({"bootstrap_servers": ["127.0.0.1:1"]}, threading.Event(), producer=make).connect()
    stopped = threading.Event()
    stopped.set()
    refusals = [errors.KafkaTimeoutError()] * 100
    assert Publisher({"bootstrap_servers": ["127.0.0.1:1"]}, stopped, producer=make).connect() is False


def test_silence_is_said_once_in_a_while_and_its_end_too(caplog: pytest.LogCaptureFixture) -> None:
    """Breaks if a broker that is away goes unnoticed, or fills the log."""
    silence = module._Silence("b:1")
    silence.sign(0.0)
    with caplog.at_level(logging.WARNING):
        for second in range(1, 100):
            silence.watch(float(second), in_flight=5)
        silence.sign(100.0)
        silence.watch(100.0, in_flight=5)
        silence.watch(101.0, in_flight=0)
    said = [line.getMessage() for line in caplog.records]
    assert len(said) == 6 and "has not answered for 5 s" in said[0] and "answers again after 99 s" in said[-1]


class Clock:
    """Time that passes only by waiting."""

    def __init__(self, now: float) -> None:
        self.now = now

    def __call__(self) -> float:
        return self.now


class Slow:
    """Stands in for the publisher; each tick costs it time on the clock."""

    def __init__(self, clock: Clock, costs: list[float]) -> None:
        self.clock, self.costs, self.seqs = clock, costs, []

    def publish(self, topic: str, key: bytes, value: bytes) -> bool:
        self.seqs.append(int(value.split(b'"seq":')[1].split(b",")[0]))
        self.clock.now += self.costs.pop(0) if self.costs else 1.0
        return True

    def watch(self) -> None:
        pass


def stations_with(clock: Clock, costs: list[float]) -> tuple[LiveStations, Slow]:
    process = StationProcess(7, range(1), DEFAULT_SENSORS, 1.0)
    slow = Slow(clock, costs)
    plan = FaultPlan(process, 0.0, no_faults())
    live = LiveStations(process, plan, slow, readings_topic="r", labels_topic="l", now=clock)  # type: ignore[arg-type]
    return live, slow


def test_missed_ticks_are_published(caplog: pytest.LogCaptureFixture) -> None:
    """Breaks if a pause of the broker makes a hole in the stations' readings."""
    clock = Clock(1000.5)
    live, slow = stations_with(clock, [60.0, *[0.0] * 40, *[1.0] * 100])
    live.run(first_tick_after(clock.now, 1.0) - 1, 30, threading.Event())
    assert slow.seqs == list(range(1000, 1030))
    assert "missed ticks" in caplog.text


def test_catching_up_is_bounded_and_said(caplog: pytest.LogCaptureFixture) -> None:
    """Breaks if an endless backlog is sent, or ticks are skipped without a word."""
    clock = Clock(1000.0)
    live, slow = stations_with(clock, [CATCH_UP_SECONDS + 100.0, *[0.0] * 100])
    live.run(1000, 110, threading.Event())
    assert slow.seqs[:3] == [1000, 1100, 1101]
    assert "are skipped" in caplog.text
