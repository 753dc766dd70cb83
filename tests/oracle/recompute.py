"""C6 and C8: every verdict again, offline, from the stored readings and the stored models alone."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from core.sensors import Sensor
from core.verdict import Verdicts
from models.scoring.feature_block import Blocks, unpack_rows
from models.scoring.shard_state import Incoming, ShardState, Step
from models.scoring.station_prior import Prior
from tests.oracle.stations import HOUR_MS
from tests.oracle.stream_input import Identity
from tests.oracle.tables import Row, few, identity_of

SCORE_TOLERANCE = 1e-6
SEVERITY_TOLERANCE = 1e-3
TABLES = ("anomalies_by_time", "anomalies_by_station", "anomaly_feed")
SAME_EVERYWHERE = (
    "sensors", "score", "severity", "flags", "verdict", "ordinal", "model_version", "kafka_partition", "kafka_offset",
    "record_time",
)  # fmt: skip
SAME_AS_READING = tuple(name for name in SAME_EVERYWHERE if name not in ("verdict", "ordinal"))


class Judge(Protocol):
    """A model version."""

    def judge(self, blocks: Blocks) -> Verdicts:
        """Verdicts of blocks."""


@dataclass(frozen=True)
class Judging:
    """Who judges what.

    Args:
        sensors: the stream's catalogue.
        prior: the stored one.
        versions: model version → that version.
        activations: Kafka partition → (from_offset, version), ascending.
    """

    sensors: tuple[Sensor, ...]
    prior: Prior
    versions: Mapping[int, Judge]
    activations: Mapping[int, Sequence[tuple[int, int]]]

    def version_of(self, partition: int, offset: int) -> int | None:
        """The version that must judge this offset; None before the first activation."""
        pairs = sorted(self.activations.get(partition, []))
        place = bisect_right([start for start, _ in pairs], offset)
        return pairs[place - 1][1] if place else None


@dataclass(frozen=True)
class Recomputed:
    """What the state and the versions say of the stored readings, along `rows`, which are in Kafka order."""

    rows: list[Row]
    step: Step
    verdicts: Verdicts

    def flagged(self) -> set[Identity]:
        """Identities of the anomalies."""
        return {identity_of(self.rows[place]) for place in np.flatnonzero(self.verdicts.is_anomaly)}


def recompute(readings: Sequence[Row], judging: Judging) -> Recomputed:
    """Run the state over the stored values in Kafka order, then each reading's own version over its block.

    Raises:
        KeyError: a row names a version that is not stored.
    """
    rows = sorted(readings, key=lambda row: (row["kafka_partition"], row["kafka_offset"]))
    state = ShardState(judging.sensors, judging.prior)
    step = state.take(_incoming(rows, state.names))
    verdicts = judge_each(step.blocks, [row["model_version"] for row in rows], judging)
    return Recomputed(rows, step, verdicts)


def judge_each(blocks: Blocks, versions: Sequence[int], judging: Judging) -> Verdicts:
    """Judge each block by its own version."""
    n = len(blocks)
    whole = Verdicts(np.zeros(n), np.zeros(n, np.float32), np.zeros(n, np.int32), np.zeros(n))
    of = np.array(versions, np.int64)
    for version in np.unique(of).tolist():
        rows = np.flatnonzero(of == version)
        found = judging.versions[version].judge(blocks.take(rows))
        for name in ("score", "severity", "flags", "forest"):
            getattr(whole, name)[rows] = getattr(found, name)
    return whole


def c6_anomalies(again: Recomputed, tables: Mapping[str, Sequence[Row]], judging: Judging) -> list[str]:
    """The anomaly tables hold exactly the readings that are flagged, and say the same of them as `readings` does.

    Args:
        again: the recomputed verdicts.
        tables: `TABLES` and `anomaly_hours`.
        judging: who judges what.
    """
    flagged = again.flagged()
    readings = {identity_of(row): row for row in again.rows}
    problems = few("C6: taken twice, or conflicting, offline", _not_accepted(again))
    problems += few("C6: judged by a version that was not active there", _wrong_version(again.rows, judging))
    for table in TABLES:
        found = [identity_of(row) for row in tables[table]]
        problems += few(f"C6: flagged, but not in {table}", flagged - set(found))
        problems += few(f"C6: in {table}, but not flagged", set(found) - flagged)
        problems += [f"C6: {len(found) - len(set(found))} doubled in {table}"] if len(found) != len(set(found)) else []
        wrong = [
            identity_of(row) for row in tables[table] if not _same(row, readings.get(identity_of(row)), SAME_AS_READING)
        ]
        problems += few(f"C6: {table} and readings differ", wrong)
    problems += _tables_agree(tables) + _filed_rightly(tables)
    return problems


def c8_scores(again: Recomputed, anomalies: Sequence[Row], judging: Judging) -> list[str]:
    """Every stored score, severity and flag follows from the stored values; an anomaly's from its block alone too."""
    wrong = []
    for place, row in enumerate(again.rows):
        want = [getattr(again.verdicts, name)[place] for name in ("score", "severity", "flags")]
        if not _same_verdict(row, *want):
            wrong.append((identity_of(row), row["score"], row["flags"], "recomputed", *want))
    problems = few("C8: readings scored otherwise", wrong)
    if anomalies:
        problems += _from_blocks(again, anomalies, judging)
    return problems


def _from_blocks(again: Recomputed, anomalies: Sequence[Row], judging: Judging) -> list[str]:
    blocks = unpack_rows([row["block"] for row in anomalies], again.step.blocks.sensors)
    verdicts = judge_each(blocks, [row["model_version"] for row in anomalies], judging)
    places = {identity_of(row): place for place, row in enumerate(again.rows)}
    wrong, other = [], []
    for number, row in enumerate(anomalies):
        if not _same_verdict(row, verdicts.score[number], verdicts.severity[number], verdicts.flags[number]):
            wrong.append((identity_of(row), row["score"], float(verdicts.score[number])))
        place = places.get(identity_of(row))
        if place is None:
            continue
        same = np.array_equal(blocks.rows[number], again.step.blocks.rows[place], equal_nan=True)
        if not same or row["ordinal"] != again.step.ordinal[place]:
            other.append(identity_of(row))
    return few("C8: scores that do not follow from the block", wrong) + few("C8: blocks or ordinals differ", other)


def _incoming(rows: Sequence[Row], names: Sequence[str]) -> Incoming:
    values = [[(row["sensors"] or {}).get(name, np.nan) for name in names] for row in rows]
    return Incoming(
        station_ids=[row["station_id"] for row in rows],
        event_ms=np.array([row["event_time"] for row in rows], np.int64),
        record_ms=np.array([row["record_time"] for row in rows], np.int64),
        seq=np.array([row["seq"] for row in rows], np.int64),
        values=np.array(values, np.float64).reshape(len(rows), len(names)),
    )


def _not_accepted(again: Recomputed) -> list[Identity]:
    return [identity_of(again.rows[place]) for place in np.flatnonzero(again.step.outcome)]


def _wrong_version(rows: Sequence[Row], judging: Judging) -> list[tuple[Identity, int, int | None]]:
    found = ((row, judging.version_of(row["kafka_partition"], row["kafka_offset"])) for row in rows)
    return [
        (identity_of(row), row["model_version"], version) for row, version in found if row["model_version"] != version
    ]


def _same(row: Row, other: Row | None, columns: Sequence[str]) -> bool:
    return other is not None and all(row[name] == other[name] for name in columns)


def _same_verdict(row: Row, score: float, severity: float, flags: int) -> bool:
    close = abs(row["score"] - score) <= SCORE_TOLERANCE and abs(row["severity"] - severity) <= SEVERITY_TOLERANCE
    return bool(close and row["flags"] == flags)


def _tables_agree(tables: Mapping[str, Sequence[Row]]) -> list[str]:
    by_time = {identity_of(row): row for row in tables["anomalies_by_time"]}
    blocks = [
        row for row in tables["anomalies_by_station"] if not _same(row, by_time.get(identity_of(row)), ("block",))
    ]
    problems = few("C6: blocks differ between the tables", map(identity_of, blocks))
    for table in TABLES[1:]:
        wrong = [row for row in tables[table] if not _same(row, by_time.get(identity_of(row)), SAME_EVERYWHERE)]
        problems += few(f"C6: {table} and anomalies_by_time differ", map(identity_of, wrong))
    return problems


def _filed_rightly(tables: Mapping[str, Sequence[Row]]) -> list[str]:
    """Rows lie in the partitions that their readers look into, and those are in the index."""
    indexed = {(row["hour"], row["slot"]) for row in tables["anomaly_hours"]}
    hours = [row for row in tables["anomalies_by_time"] if row["hour"] != row["event_time"] // HOUR_MS * HOUR_MS]
    feed = [row for row in tables["anomaly_feed"] if row["append_hour"] != row["record_time"] // HOUR_MS * HOUR_MS]
    unindexed = {(row["hour"], row["slot"]) for row in tables["anomalies_by_time"]} - indexed
    problems = few("C6: under another hour", map(identity_of, hours)) + few(
        "C6: fed in another hour", map(identity_of, feed)
    )
    return problems + few("C6: partitions missing in anomaly_hours", unindexed)
