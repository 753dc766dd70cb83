"""Every table gives back what was written, however often and in whatever order, on a real Cassandra."""

from __future__ import annotations

import random
import time
import uuid
from collections.abc import Iterator
from dataclasses import replace

import pytest

from core.errors import ArtefactRefused, NotFound
from core.settings import Settings
from core.times import DAY_MS, HOUR_MS, MINUTE_MS
from local_stack.servers.stack import Stack, endpoints_settings
from storage.driver.migrations import apply_schema, read_migrations
from storage.driver.session import Store, StoreConfig, connect
from storage.tables.anomalies import AnomalyRow, anomaly, feed, time_slot, write_anomalies
from storage.tables.anomaly_counts import counted
from storage.tables.anomaly_scan import by_station, latest
from storage.tables.artefacts import CHUNK_BYTES, get_artefact, put_artefact, put_version, version, versions
from storage.tables.feature_samples import SampleRow, samples, write_samples
from storage.tables.minutes import MinuteRow, SensorMinute, minutes_of, write_minutes
from storage.tables.readings import BUCKET_MS, ReadingRow, readings_of, write_readings
from storage.tables.stations import StationRow, station, stations, write_stations

NOW = time.time_ns() // 1_000_000
NEW_YEAR_2026 = 1_767_225_600_000


@pytest.fixture(scope="module")
def store(stack: Stack) -> Iterator[Store]:
    settings = endpoints_settings(Settings(_env_file=None, cassandra_keyspace="tables"), stack.endpoints())
    # Long enough for the rows around the turn of a year that lies behind.
    config = replace(StoreConfig.from_settings(settings), readings_ttl_days=3650, anomalies_ttl_days=3650)
    apply_schema(config, read_migrations(), NOW)
    opened = connect(config)
    yield opened
    opened.close()


@pytest.fixture
def empty_anomalies(store: Store) -> Store:
    for table in ("anomaly_hours", "anomalies_by_time", "anomalies_by_station", "anomaly_feed"):
        store.run(f"TRUNCATE {table}")
    return store


def count(store: Store, start_ms: int, end_ms: int) -> int:
    return int(counted(store, start_ms, end_ms, None, "severity", 0).counts.sum())


def name() -> str:
    return f"station-{uuid.uuid4().hex[:8]}"


def reading(station_id: str, event_ms: int, seq: int = 0) -> ReadingRow:
    sensors = {"temperature": 21.25 + seq, "humidity": 48.0}
    return ReadingRow(station_id, event_ms, seq, sensors, 0.75, 12.5, 3, 7, 2, seq, event_ms + 5, event_ms + 9)


def abnormal(station_id: str, event_ms: int, seq: int = 0, **changes: object) -> AnomalyRow:
    row = AnomalyRow(
        station_id, event_ms, seq, {"noise": 99.5}, 1.9, 82.5, 1, '{"rules":["°C"]}', 10 + seq, b"\x00block\xff",
        7, 2, seq, event_ms + 5, event_ms + 9, event_ms + 12,
    )  # fmt: skip
    return row._replace(**changes)


def test_readings_come_back_in_order_across_buckets_and_only_those_asked_for(store: Store) -> None:
    """Breaks when a range misses a bucket, includes its end, or a value changes on the way."""
    station_id, start = name(), NOW - NOW % BUCKET_MS - 1_000_000
    rows = [reading(station_id, start + at * 100_000, at) for at in range(1, 300)]
    shuffled = rows + [reading(name(), start, 1)]
    random.Random(5).shuffle(shuffled)  # noqa: S311
    write_readings(store, shuffled)
    write_readings(store, rows[:50])

    assert list(readings_of(store, station_id, 0 + rows[0].event_ms, rows[-1].event_ms + 1)) == rows
    assert list(readings_of(store, station_id, rows[10].event_ms, rows[20].event_ms)) == rows[10:20]
    assert list(readings_of(store, station_id, start, rows[-1].event_ms, newest_first=True)) == rows[-2::-1]
    assert list(readings_of(store, station_id, rows[5].event_ms, rows[5].event_ms)) == []


def test_readings_of_one_moment_are_told_apart_by_seq(store: Store) -> None:
    """Breaks when two readings of one station and moment overwrite each other."""
    station_id = name()
    rows = [reading(station_id, NOW, seq) for seq in (-(2**63), 0, 2**63 - 1)]
    write_readings(store, rows)
    assert list(readings_of(store, station_id, NOW, NOW + 1)) == rows


def test_a_reading_without_any_value_is_kept(store: Store) -> None:
    """Breaks when a reading whose sensors are all missing fails the batch, or comes back as nothing."""
    row = reading(name(), NOW)._replace(sensors={}, score=0.0)
    write_readings(store, [row])
    assert list(readings_of(store, row.station_id, NOW, NOW + 1)) == [row]


def test_latest_anomalies_are_the_newest_of_all_stations(empty_anomalies: Store) -> None:
    """Breaks when a slot or hour is skipped, the order is wrong, or an older anomaly displaces a newer one."""
    rng = random.Random(11)  # noqa: S311
    rows = [abnormal(f"s{rng.randrange(40)}", NOW - rng.randrange(60 * HOUR_MS), seq) for seq in range(400)]
    rows += [abnormal("s1", NOW - 200 * DAY_MS, 1000), abnormal("s2", NOW - 400 * DAY_MS, 1001)]
    write_anomalies(empty_anomalies, rows)
    write_anomalies(empty_anomalies, rows[:100])

    newest = sorted(rows, key=lambda row: (-row.event_ms, row.station_id, -row.seq))
    for limit in (1, 7, 100, 401, 1000):
        found = latest(empty_anomalies, limit, NOW)
        assert found == [row._replace(block=None) for row in newest[:limit]]


def test_counts_are_exact_and_half_open(empty_anomalies: Store) -> None:
    """Breaks when an anomaly at an edge is counted twice or never, a replay counts again, or a year's turn is lost."""
    rng = random.Random(3)  # noqa: S311
    moments = [NEW_YEAR_2026 - 1, NEW_YEAR_2026, NEW_YEAR_2026 + HOUR_MS]
    moments += [NEW_YEAR_2026 + rng.randrange(-5 * HOUR_MS, 5 * HOUR_MS) for _ in range(300)]
    rows = [abnormal(f"s{seq % 30}", moment, seq) for seq, moment in enumerate(moments)]
    write_anomalies(empty_anomalies, rows)
    write_anomalies(empty_anomalies, reversed(rows))

    spans = [(NEW_YEAR_2026 - 6 * HOUR_MS, NEW_YEAR_2026 + 6 * HOUR_MS), (NEW_YEAR_2026, NEW_YEAR_2026 + HOUR_MS)]
    spans += [(NEW_YEAR_2026 - 1, NEW_YEAR_2026), (NEW_YEAR_2026, NEW_YEAR_2026), (NEW_YEAR_2026 + 1, NEW_YEAR_2026)]
    spans += [(moments[9], moments[9] + 1_234_567), (NEW_YEAR_2026 - 3 * DAY_MS, NEW_YEAR_2026 - 2 * DAY_MS)]
    for start, end in spans:
        assert count(empty_anomalies, start, end) == sum(start <= moment < end for moment in moments)


def test_a_station_s_anomalies_cross_days_newest_first(store: Store) -> None:
    """Breaks when a day's turn hides anomalies of a station, or the whole block cannot be had for one of them."""
    station_id = name()
    rows = [abnormal(station_id, NEW_YEAR_2026 + at * 6 * HOUR_MS, at) for at in range(-8, 8)]
    write_anomalies(store, rows)
    plain = [row._replace(block=None) for row in rows]
    assert list(by_station(store, station_id, rows[0].event_ms, rows[-1].event_ms + 1)) == plain[::-1]
    assert list(by_station(store, station_id, rows[3].event_ms, rows[9].event_ms)) == plain[3:9][::-1]
    assert list(by_station(store, station_id, NEW_YEAR_2026, NEW_YEAR_2026)) == []
    assert anomaly(store, station_id, rows[4].event_ms, rows[4].seq) == rows[4]
    assert anomaly(store, station_id, rows[4].event_ms, 99) is None


def test_the_feed_follows_arrival_and_stops_below_what_is_complete(store: Store) -> None:
    """Breaks when a follower misses an anomaly, sees one twice, or sees a batch that is half written."""
    hour, partition = NOW - NOW % HOUR_MS, random.SystemRandom().randrange(1000, 10**6)
    rows = [
        abnormal(name(), NOW - at * DAY_MS, at, kafka_partition=partition, kafka_offset=10 * at, record_ms=hour + at)
        for at in range(20)
    ]
    write_anomalies(store, rows[::-1])

    seen, after = [], -1
    while page := feed(store, hour, partition, after, 7, below_offset=150):
        seen += page
        after = page[-1].kafka_offset
    assert seen == [row._replace(block=None) for row in rows[:15]]
    assert feed(store, hour + HOUR_MS, partition, -1, 10) == []


def test_half_written_anomalies_mislead_nobody_and_are_completed_by_a_repeat(empty_anomalies: Store) -> None:
    """Breaks when a crash between the tables leaves a count or a list that the repeated batch does not put right."""
    rows = [abnormal(f"s{at}", NOW - at * 1000, at) for at in range(10)]
    write_anomalies(empty_anomalies, rows)
    for table in ("anomalies_by_time", "anomalies_by_station", "anomaly_feed"):
        empty_anomalies.run(f"TRUNCATE {table}")  # as if the process had died after the index
    assert (count(empty_anomalies, NOW - DAY_MS, NOW + 1), latest(empty_anomalies, 5, NOW)) == (0, [])
    write_anomalies(empty_anomalies, rows)
    assert count(empty_anomalies, NOW - DAY_MS, NOW + 1) == 10
    assert len(latest(empty_anomalies, 50, NOW)) == 10


def test_large_anomalies_fit_their_batches(empty_anomalies: Store) -> None:
    """Breaks when long explanations make a batch that Cassandra refuses."""
    station_id = name()
    rows = [abnormal(station_id, NOW - at, at, verdict="x" * 9000, block=bytes(400)) for at in range(100)]
    write_anomalies(empty_anomalies, rows)
    assert count(empty_anomalies, NOW - 100, NOW + 1) == 100
    slots = empty_anomalies.rows("SELECT slot FROM anomaly_hours WHERE year = ?", (time.gmtime(NOW / 1000).tm_year,))
    assert {slot for (slot,) in slots} == {time_slot(station_id)}


def test_minutes_come_back_with_their_sensors(store: Store) -> None:
    """Breaks when a band, a null or a day's turn is lost."""
    station_id = name()
    known = SensorMinute(1.0, 2.0, 3.0, 60, 0.5, 2.5, 4.5)
    rows = [
        MinuteRow(
            station_id, NEW_YEAR_2026 + at * MINUTE_MS, {"temperature": known, "noise": known._replace(lower=None)}, 60
        )
        for at in range(-3, 3)
    ] + [MinuteRow(station_id, NEW_YEAR_2026 + 3 * MINUTE_MS, {}, 2)]
    write_minutes(store, rows[::-1])
    assert list(minutes_of(store, station_id, rows[0].minute_ms, rows[-1].minute_ms + 1)) == rows
    assert list(minutes_of(store, station_id, rows[1].minute_ms, rows[4].minute_ms)) == rows[1:4]


def test_stations_hold_their_last_row(store: Store) -> None:
    """Breaks when a station is listed twice or not at all, or its open minutes do not come back."""
    open_minutes = {NOW - NOW % MINUTE_MS: {"temperature": SensorMinute(1.0, 1.5, 2.0, 3)}}
    rows = [StationRow(name(), NOW, NOW + 3, 5, None, {}, {}) for _ in range(100)]
    write_stations(store, rows)
    changed = rows[0]._replace(
        readings=6, typical_interval_seconds=1.0, sensors={"noise": 60.0}, open_minutes=open_minutes
    )
    write_stations(store, [changed])
    found = {row.station_id: row for row in stations(store)}
    assert found == {row.station_id: row for row in [changed._replace(open_minutes={}), *rows[1:]]}, (
        "lists leave them out"
    )
    assert station(store, changed.station_id) == changed
    with pytest.raises(NotFound):
        station(store, "station-that-never-was")


def test_the_largest_rank_wins_a_sample_slot_in_any_order(store: Store) -> None:
    """Breaks when the sample depends on the order of arrival, so that a replay trains another model."""
    rng = random.Random(1)  # noqa: S311
    hour = NEW_YEAR_2026 + HOUR_MS
    contenders = [
        SampleRow(
            hour + slot * 10 * MINUTE_MS, slot, rank, f"s{rank}", rank % 97, f"block {rank}".encode(), 1, 0.5, 0, 1
        )
        for slot in range(4)
        for rank in rng.sample(range(1, 2**63 - 1), 20)
    ]
    for order in range(3):
        rng.shuffle(contenders)
        for at in range(0, len(contenders), 7 + order):
            write_samples(store, contenders[at : at + 7 + order])
    winners = [max(row.rank for row in contenders if row.slot == slot) for slot in range(4)]
    assert list(samples(store, hour)) == [row for rank in winners for row in contenders if row.rank == rank]


def test_artefacts_are_found_by_their_hash_and_verified(store: Store) -> None:
    """Breaks when a model's bytes change unnoticed, or a half-written one is taken for whole."""
    data = random.Random(2).randbytes(2 * CHUNK_BYTES + 17)  # noqa: S311
    sha256 = put_artefact(store, "detector", data)
    assert put_artefact(store, "detector", data) == sha256
    assert get_artefact(store, sha256) == ("detector", data)
    assert get_artefact(store, put_artefact(store, "prior", b"")) == ("prior", b"")

    store.one("UPDATE model_artifacts SET data = ? WHERE sha256 = ? AND chunk = ?", (b"tampered", sha256, 1))
    with pytest.raises(ArtefactRefused, match=sha256):
        get_artefact(store, sha256)
    store.one("DELETE FROM model_artifacts WHERE sha256 = ? AND chunk = ?", (sha256, 1))
    with pytest.raises(ArtefactRefused, match="2 of 3 chunks"):
        get_artefact(store, sha256)
    store.one("DELETE chunks FROM model_artifacts WHERE sha256 = ?", (sha256,))
    with pytest.raises(NotFound):
        get_artefact(store, sha256)
    assert put_artefact(store, "detector", data) == sha256
    assert get_artefact(store, sha256) == ("detector", data)


def test_a_version_keeps_its_artefact(store: Store) -> None:
    """Breaks when a version number of another registry replaces the model that judged stored readings."""
    model = name()
    first = put_version(store, model, 1, "a" * 64, "run-1", NOW)
    assert put_version(store, model, 1, "a" * 64, "run-1", NOW + 5) == first
    second = put_version(store, model, 2, "b" * 64, "run-2", NOW)
    with pytest.raises(ArtefactRefused, match="another registry"):
        put_version(store, model, 1, "c" * 64, "run-3", NOW)
    assert (version(store, model, 1), versions(store, model)) == (first, [first, second])
    with pytest.raises(NotFound):
        version(store, model, 3)
