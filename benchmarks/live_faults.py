"""Which injected faults a running `make run` has seen: `python -m benchmarks.live_faults [--minutes N]`.

Reads the labels of the simulator's faults from Kafka and the stored anomalies from Cassandra, and prints for each kind
and size how many faults hold an anomaly, and how often stations raised an alarm beside every fault. Changes nothing.
Faults count whose readings have all had the time to be judged. A fault during which the stations were stopped counts
as not seen: what was never sent is not known here.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable, Iterable, Sequence
from contextlib import closing
from dataclasses import dataclass
from datetime import UTC, datetime

import msgspec
import numpy as np
from kafka import KafkaConsumer, TopicPartition
from kafka.errors import KafkaError

from benchmarks.detection.tables import markdown
from core.episodes import episodes
from core.errors import BrokerUnavailable, StationwatchError
from core.settings import Settings, load_settings
from local_stack.servers.stack import Stack, endpoints_settings
from models.evaluation.evaluation import GRACE, MARGIN
from models.evaluation.fault_models import KINDS, Fault
from storage.driver.session import StoreConfig, connect
from storage.tables.anomaly_scan import by_station

BANDS = ((0.0, 4.0), (4.0, 6.0), (6.0, np.inf))  # live faults are 3 to 10 sigma
SIZELESS = frozenset({"stuck", "dropout"})
_SETTLE_SECONDS = 60.0
_POLL_MS = 1000
_MINUTE_MS = 60_000
_DAY_SECONDS = 86_400.0


@dataclass(frozen=True)
class Stored:
    """A stored anomaly: event time in ms, and the station's count of readings."""

    event_ms: int
    ordinal: int


@dataclass(frozen=True)
class Seen:
    """What became of the faults.

    Args:
        faults: that are over.
        delays: seconds from a fault's start to its first anomaly, None where there is none.
        false_alarms: episodes of the faults' stations outside all faults and the margin behind them.
        station_days: that these stations were healthy.
    """

    faults: Sequence[Fault]
    delays: Sequence[float | None]
    false_alarms: int
    station_days: float


def seen(
    faults: Sequence[Fault],
    anomalies_of: Callable[[str], Iterable[Stored]],
    *,
    cadence: float,
    start_ms: int,
    end_ms: int,
) -> Seen:
    """Hold labels against stored anomalies.

    Args:
        faults: labels that lie within the stretch.
        anomalies_of: a station's anomalies of the stretch.
        cadence: s between two readings of a station.
        start_ms: first moment of the stretch that is looked at.
        end_ms: its end.
    """
    delays: dict[Fault, float | None] = {}
    false_alarms, healthy_ms = 0, 0
    for station in sorted({fault.station_id for fault in faults}):
        mine = [fault for fault in faults if fault.station_id == station]
        anomalies = sorted(anomalies_of(station), key=lambda one: one.ordinal)
        times = np.array([one.event_ms for one in anomalies], dtype=np.int64)
        beside = np.ones(len(times), dtype=bool)
        for fault in mine:
            first, last = _ms(fault.start), _ms(fault.end)
            grace = round(GRACE.get(fault.kind, 0) * cadence * 1000)
            hits = times[(times >= first) & (times < last + grace)]
            delays[fault] = float(hits.min() - first) / 1000.0 if len(hits) else None
            beside &= ~((times >= first) & (times < last + _margin_ms(cadence)))
        ordinals = np.array([one.ordinal for one in anomalies], dtype=np.int64)
        false_alarms += episodes(np.zeros(len(times), dtype=np.int64), ordinals, beside).count
        covered = sum(_ms(fault.end) - _ms(fault.start) + _margin_ms(cadence) for fault in mine)
        healthy_ms += max(0, end_ms - start_ms - covered)
    return Seen(faults, [delays[fault] for fault in faults], false_alarms, healthy_ms / 1000.0 / _DAY_SECONDS)


def table(result: Seen) -> str:
    """One line per kind: faults seen of all, per band of sizes, and the median delay."""
    rows = []
    for kind in (*KINDS, "all"):
        of_kind = [
            (fault, delay)
            for fault, delay in zip(result.faults, result.delays, strict=True)
            if kind in (fault.kind, "all")
        ]
        bands = [
            _share([delay for fault, delay in of_kind if fault.kind not in SIZELESS and low <= fault.magnitude < high])
            for low, high in BANDS
        ]
        late = [delay for _, delay in of_kind if delay is not None]
        median = f"{np.median(late):.0f} s" if late else "-"
        rows.append((kind.replace("_", " "), *bands, _share([delay for _, delay in of_kind]), median))
    sizes = [f"from {low:g} σ" if np.isinf(high) else f"{low:g} to {high:g} σ" for low, high in BANDS]
    return markdown(("fault", *sizes, "all", "median delay"), rows)


def labels(settings: Settings) -> list[Fault]:
    """Read all labels of injected faults; one that was sent twice counts once.

    Raises:
        BrokerUnavailable: Kafka does not answer.
        StationwatchError: a label that cannot be read.
    """
    found: dict[tuple[str, str, str, datetime], Fault] = {}
    decoder = msgspec.json.Decoder(Fault)
    for place, value in _values(settings):
        try:
            fault = decoder.decode(value)
        except msgspec.MsgspecError as error:
            raise StationwatchError(f"{place}: no label of a fault, {error}") from error
        found[fault.station_id, fault.sensor, fault.kind, fault.start] = fault
    return sorted(found.values(), key=lambda fault: (fault.start, fault.station_id))


def _values(settings: Settings) -> list[tuple[str, bytes]]:
    """Everything in the topic of labels up to this moment, with where it lies."""
    topic = settings.labels_topic
    try:
        with closing(KafkaConsumer(**settings.kafka_client_options(), enable_auto_commit=False)) as consumer:
            parts = [TopicPartition(topic, number) for number in consumer.partitions_for_topic(topic) or ()]
            if not parts:
                return []
            consumer.assign(parts)
            consumer.seek_to_beginning(*parts)
            ends, found = consumer.end_offsets(parts), []
            deadline = time.monotonic() + 60.0
            while any(consumer.position(part) < ends[part] for part in parts):
                if time.monotonic() > deadline:
                    raise BrokerUnavailable(f"Kafka at {settings.bootstrap_servers}: {topic} was not read within 60 s")
                for part, batch in consumer.poll(timeout_ms=_POLL_MS).items():
                    found += [(f"{topic}[{part.partition}]@{one.offset}", one.value) for one in batch]
            return found
    except KafkaError as error:
        raise BrokerUnavailable(f"Kafka at {settings.bootstrap_servers}, topic {topic}: {error!r}") from error


def main(arguments: Sequence[str] | None = None) -> int:
    """Print the table: 0, or 1 with a sentence when there is nothing to compare."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.live_faults", description=__doc__)
    parser.add_argument("--minutes", type=float, default=24 * 60.0, help="how far back to look (1440)")
    options = parser.parse_args(arguments)
    try:
        settings = load_settings()
        result = _look(endpoints_settings(settings, Stack(settings).endpoints()), options.minutes)
    except StationwatchError as error:
        print(f"benchmarks.live_faults: {error}", file=sys.stderr)
        return 1
    print(table(result))
    large = [delay for fault, delay in zip(result.faults, result.delays, strict=True) if _large(fault)]
    print(f"\nfaults of 6 σ and more that were seen: {_share(large)}")
    if result.station_days:
        rate = result.false_alarms / result.station_days
        print(
            f"alarms beside faults: {result.false_alarms} in {result.station_days:.2f} station-days, {rate:.1f} a day"
        )
    return 0


def _look(settings: Settings, minutes: float) -> Seen:
    now_ms = time.time_ns() // 1_000_000
    end_ms = now_ms - round(_SETTLE_SECONDS * 1000)
    known = labels(settings)
    start_ms = max(now_ms - round(minutes * _MINUTE_MS), min((_ms(fault.start) for fault in known), default=0))
    over = [fault for fault in known if _ms(fault.start) >= start_ms and _ms(fault.end) <= end_ms]
    if not over:
        raise StationwatchError(
            f"no fault of the last {minutes:g} minutes is over in topic {settings.labels_topic} "
            f"({len(known)} labels in all); `make run` with STATIONWATCH_FAULT_RATE above 0 injects some"
        )
    with closing(connect(StoreConfig.from_settings(settings), 20.0)) as store:
        return seen(
            over,
            lambda station: [Stored(row.event_ms, row.ordinal) for row in by_station(store, station, start_ms, end_ms)],
            cadence=settings.cadence_seconds,
            start_ms=start_ms,
            end_ms=end_ms,
        )


def _large(fault: Fault) -> bool:
    return fault.kind not in SIZELESS and fault.magnitude >= BANDS[-1][0]


def _share(delays: Sequence[float | None]) -> str:
    found = sum(delay is not None for delay in delays)
    return f"{found} of {len(delays)}" if delays else "-"


def _margin_ms(cadence: float) -> int:
    return round(MARGIN * cadence * 1000)


def _ms(moment: datetime) -> int:
    return round(moment.astimezone(UTC).timestamp() * 1000)


if __name__ == "__main__":
    sys.exit(main())
