"""The count checks C0 to C5, C7 and C9 of faults.md. Each returns its violations; an empty list means that it holds."""

from __future__ import annotations

import hashlib
import json
import struct
import time
import urllib.request
from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

from core.verdict import Flag
from tests.oracle.ledger import Ledger, digest
from tests.oracle.stations import HOUR_MS, Decision, Expected, TopicRow
from tests.oracle.tables import Row, few, identity_of

MEAN_TOLERANCE = 1e-6


def c0_checkpoint(checkpoint: Path, topic: str, ends: Mapping[int, int]) -> list[str]:
    """The last committed batch reaches the broker's end on every partition.

    A later one may have been begun: timers make batches without input, and a stop may cut one off.
    """
    committed = _last_log(checkpoint / "commits")
    begun = checkpoint / "offsets" / committed.name if committed else None
    if begun is None or not begun.is_file():
        return [f"C0: last committed batch {committed}, its offsets {begun}"]
    documents = [json.loads(line) for line in begun.read_text().splitlines() if line.startswith("{")]
    found = [offsets for document in documents for offsets in _named(document, topic)]
    if not found:
        return [f"C0: no offsets of {topic} in {begun}"]
    reached = {int(partition): offset for partition, offset in found[-1].items()}
    return [] if reached == dict(ends) else [f"C0: checkpoint reached {reached}, the broker's end is {dict(ends)}"]


def c0_progress(progress: Sequence[Row], topic: str, ends: Mapping[int, int]) -> list[str]:
    """The table `stream_progress` says so as well."""
    reached = {
        row["kafka_partition"]: row["complete_to"]
        for row in progress
        if row["topic"] == topic and row["kafka_partition"] >= 0
    }
    missing = {partition: end for partition, end in ends.items() if (reached.get(partition) or 0) != end}
    return [f"C0: complete_to {reached}, the broker's end is {dict(ends)}"] if missing else []


def c1_nothing_acknowledged_is_lost(ledger: Ledger, topic: Sequence[TopicRow]) -> list[str]:
    """Every acknowledged attempt is in Kafka, where it was said to be, unchanged."""
    held = {(row.partition, row.offset): digest(row.key, row.value) for row in topic}
    lost = [
        (entry.partition, entry.offset, entry.planned.label)
        for entry in ledger.entries
        if entry.acknowledged and held.get((entry.partition, entry.offset)) != entry.digest  # type: ignore[arg-type]
    ]
    return few("C1: acknowledged, but Kafka does not hold it", lost)


def c2_nothing_is_invented(ledger: Ledger, topic: Sequence[TopicRow]) -> list[str]:
    """Kafka holds nothing that was not attempted."""
    attempted = {entry.digest for entry in ledger.entries}
    invented = [(row.partition, row.offset) for row in topic if digest(row.key, row.value) not in attempted]
    return few("C2: in Kafka, but never attempted", invented)


def c3_every_entry_has_one_fate(expected: Expected, topic: Sequence[TopicRow]) -> list[str]:
    """The oracle decided each entry once: K = V + D."""
    fates = Counter(decision.fate for decision in expected.decisions)
    return [] if fates.total() == len(topic) else [f"C3: {len(topic)} entries in Kafka, decided {dict(fates)}"]


def c4_readings(expected: Expected, readings: Sequence[Row], sensors: Sequence[str]) -> list[str]:
    """The table holds each distinct identity once, as it was sent and from where it stands in Kafka."""
    stored = expected.stored()
    identities = Counter(identity_of(row) for row in readings)
    problems = few("C4: missing in readings", stored.keys() - identities.keys())
    problems += few("C4: in readings, but not accepted", identities.keys() - stored.keys())
    problems += few("C4: more than one row", [identity for identity, count in identities.items() if count > 1])
    if len(readings) != len(stored):
        problems.append(f"C4: {len(readings)} rows, {len(stored)} distinct identities")
    wrong = [
        (identity_of(row), difference)
        for row in readings
        if identity_of(row) in stored and (difference := _differs(row, stored[identity_of(row)], sensors))
    ]
    return problems + few("C4: stored otherwise than sent", wrong)


def c5_dead_letters(expected: Expected, rejected: Sequence[TopicRow], topic: str) -> list[str]:
    """Each dead letter is there under its identity, bytes unchanged, with a reason that fits; nothing else is."""
    wanted = {_letter_key(topic, decision.row): decision for decision in expected.of("dead")}
    found = {row.key for row in rejected}
    problems = few("C5: missing in the dead letters", wanted.keys() - found)
    problems += few("C5: dead letters that are none", found - wanted.keys())
    wrong = [
        (row.key, difference)
        for row in rejected
        if row.key in wanted and (difference := _letter_differs(row, wanted[row.key], topic))
    ]
    return problems + few("C5: dead letters that are not as they should be", wrong)


def c7_api(base_url: str, anomalies: Sequence[Row], limit: int = 50) -> list[str]:
    """What the API counts and lists is what the tables hold."""
    problems = []
    newest = sorted((row["event_time"] for row in anomalies), reverse=True)
    for time_range, length_ms in (("1m", 60_000), ("5m", 300_000), ("1h", HOUR_MS), ("30d", 720 * HOUR_MS)):
        before = time.time() * 1000
        counted = _get(f"{base_url}/api/outliers_count?time_range={time_range}")["outliers_count"]
        after = time.time() * 1000
        # A station's clock may run ahead, so there is no end to the counted interval.
        least = sum(after - length_ms <= at for at in newest)
        most = sum(before - length_ms <= at for at in newest)
        if not least <= counted <= most:
            problems.append(f"C7: outliers_count {time_range} says {counted}, expected {least} to {most}")
    listed = _get(f"{base_url}/api/latest_anomalies?limit={limit}")
    times = [_epoch_ms(row["record_time"]) for row in listed]
    if times != newest[:limit]:
        problems.append(f"C7: latest_anomalies lists {times[:5]}…, expected {newest[:5]}…")
    known = {(row["station_id"], row["event_time"]) for row in anomalies}
    strangers = [row for row, at in zip(listed, times, strict=True) if (row["station_id"], at) not in known]
    return problems + few("C7: listed, but not stored", map(str, strangers))


def c9_nothing_attempted_is_missing(ledger: Ledger, readings: Sequence[Row]) -> list[str]:
    """No attempted identity is missing, except those that were never acknowledged."""
    missing = ledger.attempted() - {identity_of(row) for row in readings} - ledger.not_acknowledged()
    return few("C9: attempted and acknowledged, but not stored", missing)


def minutes(expected: Expected, rows: Sequence[Row], sensors: Sequence[str]) -> list[str]:
    """`station_minutes` holds exactly the closed minutes, with the roll-ups of the readings counted in them."""
    stored = {(row["station_id"], row["minute"]): row for row in rows}
    problems = few("minutes: missing", expected.closed.keys() - stored.keys())
    problems += few("minutes: stored, but not closed", stored.keys() - expected.closed.keys())
    wrong = []
    for key in expected.closed.keys() & stored.keys():
        want = (expected.closed[key].readings, rolled_up(expected, key, sensors))
        got = (stored[key]["readings"], {name: held[:4] for name, held in stored[key]["sensors"].items() if held[3]})
        if (
            got[0] != want[0]
            or got[1].keys() != want[1].keys()
            or not all(_close(got[1][n], want[1][n]) for n in want[1])
        ):
            wrong.append((key, got, want))
    return problems + few("minutes: other roll-ups", wrong)


def stations(expected: Expected, rows: Sequence[Row]) -> list[str]:
    """`stations` names every station, with its clock, its last Kafka time and how many readings it had accepted."""
    accepted = Counter(decision.reading.station_id for decision in expected.of("accepted") if decision.reading)
    want = {
        station: (memory.clock_ms, memory.last_record_ms, accepted[station])
        for station, memory in expected.memories.items()
        if memory.clock_ms is not None
    }
    got = {row["station_id"]: (row["clock"], row["last_record_time"], row["readings"]) for row in rows}
    wrong = [
        (name, got.get(name), want.get(name)) for name in got.keys() | want.keys() if got.get(name) != want.get(name)
    ]
    return few("stations: (clock, last record time, readings) differ", wrong)


def _last_log(folder: Path) -> Path | None:
    numbered = [path for path in folder.glob("*") if path.name.isdigit()] if folder.is_dir() else []
    return max(numbered, key=lambda path: int(path.name), default=None)


def _named(document: Any, topic: str) -> list[dict[str, int]]:
    """Offsets of a topic anywhere in a document: Spark's log formats nest them differently."""
    if not isinstance(document, dict):
        return []
    here = [document[topic]] if isinstance(document.get(topic), dict) else []
    return here + [found for value in document.values() for found in _named(value, topic)]


def _differs(row: Row, decision: Decision, sensors: Sequence[str]) -> str | None:
    reading = decision.reading
    assert reading is not None
    values = {name: value for name, value in zip(sensors, reading.values, strict=True) if value is not None}
    want = (values, decision.row.partition, decision.row.offset, decision.row.record_ms, decision.late)
    late = bool(row["flags"] & Flag.LATE)
    got = (row["sensors"] or {}, row["kafka_partition"], row["kafka_offset"], row["record_time"], late)
    return None if got == want else f"stored {got}, expected {want}"


def _letter_key(topic: str, row: TopicRow) -> bytes:
    return f"{topic}-{row.partition}-{row.offset}".encode()


def _letter_differs(letter: TopicRow, decision: Decision, topic: str) -> str | None:
    original, headers = decision.row, dict(letter.headers)
    if hashlib.sha256(letter.value or b"").digest() != hashlib.sha256(original.value or b"").digest():
        return "other bytes"
    want = {"topic": topic, "partition": original.partition, "offset": original.offset, "timestamp": original.record_ms}
    wrong = {name: headers.get(name) for name, value in want.items() if headers.get(name) != str(value).encode()}
    if wrong:
        return f"headers {wrong}, expected {want}"
    if ("null_value" in headers) != (original.value is None):
        return "header null_value"
    if headers.get("reason", b"").decode() not in decision.reasons:
        return f"reason {headers.get('reason')!r}, expected one of {sorted(decision.reasons)}"
    return None if headers.get("detail") else "no detail"


def rolled_up(
    expected: Expected, key: tuple[str, int], sensors: Sequence[str]
) -> dict[str, tuple[float, float, float, int]]:
    """Sensor → (least, mean, most, values) of a closed minute; sensors without a value are left out."""
    held = zip(sensors, expected.closed[key].sensors, strict=True)
    return {
        name: (
            _float32(min(minute.values)),
            sum(minute.values) / len(minute.values),
            _float32(max(minute.values)),
            len(minute.values),
        )
        for name, minute in held
        if minute.values
    }


def _float32(value: float) -> float:
    return float(struct.unpack("<f", struct.pack("<f", value))[0])


def _close(got: Sequence[float], want: Sequence[float]) -> bool:
    exact = (got[0], got[2], got[3]) == (want[0], want[2], want[3])
    return exact and abs(got[1] - want[1]) <= MEAN_TOLERANCE * max(1.0, abs(want[1]))


def _get(url: str) -> Any:
    with urllib.request.urlopen(url, timeout=10) as answer:  # noqa: S310 (a loopback address that the test made)
        return json.load(answer)


def _epoch_ms(text: str) -> int:
    return round(datetime.fromisoformat(text).timestamp() * 1000)
