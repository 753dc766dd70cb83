"""One station: what it measured, what was typical, when it was abnormal."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import chain, islice
from typing import Any

from api.pages.conditions import MEANINGS, trouble
from api.pages.folding import Episode, EpisodeFold, said
from api.pages.links import anomaly_url
from api.pages.plant import episode_shown
from api.pages.series import Series, document, joined, of_minutes, of_readings, thinned, width_for
from api.pages.words import label, number, unit_shown
from api.services.context import Context
from core.sensors import Sensor
from core.station_groups import StationGroups
from core.times import DAY_MS, HOUR_MS, MINUTE_MS, floored
from models.scoring.rules import rules_of
from storage.driver.session import Store
from storage.tables.anomalies import AnomalyRow
from storage.tables.anomaly_scan import Place, walk_station
from storage.tables.minutes import MinuteRow, minutes_of
from storage.tables.readings import readings_of
from storage.tables.stations import StationRow, station

RAW_MS = 2 * HOUR_MS
MOST_RAW = 20_000
"""Single readings are read up to two hours and this many; beyond, minutes say the same at a hundredth of the cost."""

LONGEST_MS = 31 * DAY_MS
MARKED = 2000
MARKS = 400
_WHOLE_DAYS_MS = 2 * DAY_MS
_DAY_STEP_MS = 5 * MINUTE_MS
_PAST_DAYS = 600
_PAST_HELD_MS = 10 * MINUTE_MS


def station_view(store: Store, station_id: str, plant: dict[str, Any], context: Context) -> dict[str, Any]:
    """The frame of a station's page; the charts are drawn by the script.

    Raises:
        NotFound: no reading of it was ever accepted.
    """
    row = station(store, station_id)
    tile = next((tile for tile in plant["tiles"] if tile["id"] == station_id), None)
    condition = tile["condition"] if tile else "unknown"
    return {
        "state": plant["state"],
        "title": f"{station_id} · {condition.replace('-', ' ')} · stationwatch",
        "station": tile or {"id": station_id, "condition": condition, "line": "", "since_ms": None, "seen_ms": 0},
        "meaning": MEANINGS[condition],
        "readings": row.readings,
        "group": StationGroups(context.settings.station_groups).group_of(station_id),
        "interval": row.typical_interval_seconds,
        "figures": [_figure(row, sensor) for sensor in context.settings.sensors],
    }


def _figure(row: StationRow, sensor: Sensor) -> dict[str, Any]:
    """The newest value of a sensor beside what is typical."""
    newest = row.open_minutes[max(row.open_minutes)].get(sensor.name) if row.open_minutes else None
    band = (
        ""
        if newest is None or newest.lower is None or newest.upper is None
        else (f"{number(newest.lower, sensor)} to {number(newest.upper, sensor)}")
    )
    return {
        "name": sensor.name,
        "label": label(sensor.name),
        "unit": unit_shown(sensor.unit),
        "value": number(row.sensors.get(sensor.name), sensor),
        "band": band,
    }


class StationHistory:
    """Reads what charts need. Days gone by hardly change, so that their minutes are kept for a while, thinned.

    Args:
        sensors: the catalogue.
    """

    def __init__(self, sensors: Sequence[Sensor]) -> None:
        self._names = [sensor.name for sensor in sensors]
        self._past: dict[tuple[str, int], tuple[int, Series]] = {}

    def show(
        self, store: Store, station_id: str, start_ms: int, end_ms: int, step_ms: int, now_ms: int
    ) -> dict[str, Any]:
        """Columns, marks and episodes of an interval.

        Args:
            store: where from.
            station_id: the station.
            start_ms: ms since the epoch.
            end_ms: the moment after the last one.
            step_ms: grid of an earlier answer that this one has to fit; 0 lets the interval decide.
            now_ms: ms since the epoch.

        Raises:
            NotFound: no reading of it was ever accepted.
        """
        row = station(store, station_id)
        interval_ms = round(1000 * (row.typical_interval_seconds or 1.0))
        series, step_ms = self._series(store, row, start_ms, end_ms, step_ms, interval_ms, now_ms)
        rows = _abnormal(store, station_id, start_ms, end_ms)
        return {
            "start_ms": start_ms,
            "end_ms": end_ms,
            "step_ms": step_ms,
            "raw": step_ms < MINUTE_MS,
            **document(series, self._names, 3 * max(step_ms, interval_ms, 1000)),
            **marks_of(rows, start_ms, end_ms),
        }

    def _series(
        self, store: Store, row: StationRow, start_ms: int, end_ms: int, step_ms: int, interval_ms: int, now_ms: int
    ) -> tuple[Series, int]:
        span = end_ms - start_ms
        raw = step_ms < MINUTE_MS if step_ms else span <= RAW_MS and span <= MOST_RAW * interval_ms
        if raw:
            step = step_ms or width_for(span, max(1, interval_ms))
            bands = of_minutes(_minutes(store, row, start_ms - 5 * MINUTE_MS, end_ms), self._names)
            found = of_readings(readings_of(store, row.station_id, start_ms, end_ms), bands, self._names)
            # Where readings are not kept, the minutes are all there is.
            if len(found) or not len(bands):
                return thinned(found, 1 if step <= interval_ms else step), step
        step = max(step_ms, width_for(span, MINUTE_MS))
        first = floored(start_ms, MINUTE_MS)
        if span <= _WHOLE_DAYS_MS:
            return thinned(of_minutes(_minutes(store, row, first, end_ms), self._names), step), step
        step = max(step, _DAY_STEP_MS)
        parts = [self._day(store, row, day, now_ms) for day in range(floored(first, DAY_MS), end_ms, DAY_MS)]
        whole = joined(parts, len(self._names))
        inside = (whole.times >= first) & (whole.times < end_ms)
        return thinned(Series(whole.times[inside], whole.cells[inside]), step), step

    def _day(self, store: Store, row: StationRow, day_ms: int, now_ms: int) -> Series:
        key = row.station_id, day_ms
        made_ms, held = self._past.get(key, (0, None))
        if held is not None and now_ms - made_ms < _PAST_HELD_MS:
            return held
        found = thinned(of_minutes(_minutes(store, row, day_ms, day_ms + DAY_MS), self._names), _DAY_STEP_MS)
        if day_ms + DAY_MS < now_ms - HOUR_MS:
            if len(self._past) >= _PAST_DAYS:
                self._past.pop(next(iter(self._past)), None)
            self._past[key] = now_ms, found
        return found


def _minutes(store: Store, row: StationRow, start_ms: int, end_ms: int) -> Iterable[MinuteRow]:
    """Closed minutes, then those of the station's row that are still open."""
    last = start_ms - 1
    for minute in minutes_of(store, row.station_id, start_ms, end_ms):
        yield minute
        last = minute.minute_ms
    for at in sorted(row.open_minutes):
        if last < at < end_ms:
            yield MinuteRow(row.station_id, at, row.open_minutes[at], 0)


def _abnormal(store: Store, station_id: str, start_ms: int, end_ms: int) -> list[AnomalyRow]:
    """The newest anomalies of the interval, newest first; one more than are marked says that there are more."""
    walk = walk_station(store, station_id, start_ms, Place(end_ms), MARKED)
    return list(islice(chain.from_iterable(stretch.rows for stretch in walk), MARKED + 1))


def marks_of(newest_first: Sequence[AnomalyRow], start_ms: int, end_ms: int) -> dict[str, Any]:
    """The worst anomaly of each short step, the episodes, and how often each rule fired.

    `marked_from_ms` is where marks begin when there are more anomalies than are marked; None when all are.
    """
    rows = list(newest_first[:MARKED])[::-1]
    width = max(1, (end_ms - start_ms) // MARKS)
    worst: dict[int, AnomalyRow] = {}
    fold = EpisodeFold()
    rules: dict[str, int] = {}
    for row in rows:
        place = row.event_ms // width
        if place not in worst or row.severity > worst[place].severity:
            worst[place] = row
        for rule in rules_of(row.flags):
            rules[rule] = rules.get(rule, 0) + 1
    fold.add(sorted(rows, key=lambda row: row.ordinal))
    return {
        "marked_from_ms": rows[0].event_ms if len(newest_first) > MARKED else None,
        "marks": [_mark(row, place * width, width) for place, row in worst.items()],
        "episodes": [_listed(episode) for episode in fold.newest(20)],
        "rules": [{"name": label(name), "count": count} for name, count in sorted(rules.items())],
    }


def _listed(episode: Episode) -> dict[str, Any]:
    return episode_shown(episode, is_open=False)


def _mark(row: AnomalyRow, from_ms: int, width_ms: int) -> dict[str, Any]:
    _, sensor = said(row.verdict)
    return {
        "at_ms": row.event_ms,
        "from_ms": from_ms,
        "to_ms": from_ms + width_ms,
        "severity": round(row.severity),
        "condition": trouble(row.severity),
        "url": anomaly_url(row.station_id, row.event_ms, row.seq),
        "sensor": sensor,
        "value": row.sensors.get(sensor),
        "rules": [label(rule) for rule in rules_of(row.flags)],
    }
