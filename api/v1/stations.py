"""`/api/v1/stations`: all, one, and what one measured."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from typing import Any

from apiflask import APIBlueprint
from apiflask.fields import Integer, String
from flask import Response, jsonify

from api.http.bulkhead import Bulkhead
from api.http.interval import Interval, IntervalQuery, resolve
from api.http.paging import Page, PageTokens
from api.http.problems import refuse
from api.http.query import STRICT, BoundedInteger, Choice, StrictQuery
from api.http.request_hooks import add_etag
from api.openapi import ok
from api.representations import fields
from api.representations.common import either
from api.representations.stations import Minute, Reading, Readings, Station, Stations
from api.services.context import Context
from api.v1.export import ABOUT_LINES, CSV, EXPORTS, NDJSON, Format, choose_format, refuse_token, stream_lines
from core.errors import NotFound
from core.reading import STATION_ID
from core.sensors import Sensor
from core.station_groups import StationGroups
from core.station_silence import is_stale
from core.times import MINUTE_MS
from storage.driver.session import Store
from storage.tables import stream_progress
from storage.tables.minutes import MinuteRow, SensorMinute, minutes_of
from storage.tables.readings import ReadingPlace, readings_of, readings_page
from storage.tables.stations import StationRow, station, stations_page

DEFAULT_RANGE = "1h"
_JUDGED_COLUMNS = ("score", "severity", "is_anomaly", "late")


class PagedQuery(StrictQuery):
    """Parameters of a list without an interval."""

    page_size: Integer = BoundedInteger(1, 1000, load_default=50)
    page_token = String(metadata={"description": "next_page_token of the page before"})


class ReadingsQuery(IntervalQuery):
    """Parameters of `/stations/{id}/readings`."""

    resolution = Choice("raw", "minute", load_default="raw")
    page_size: Integer = BoundedInteger(1, 1000, load_default=50)
    page_token = String(metadata={"description": "next_page_token of the page before"})
    format = Choice("json", "ndjson", "csv", metadata={"description": ABOUT_LINES})


def station_routes(context: Context) -> APIBlueprint:
    """Stations and their readings."""
    routes = APIBlueprint("stations", __name__, url_prefix="/api/v1", tag="Stations")
    routes.after_request(add_etag)
    sensors = context.settings.sensors
    groups = StationGroups(context.settings.station_groups)
    exports = Bulkhead(EXPORTS, "exports")
    tokens, reading_tokens = PageTokens("stations"), PageTokens("readings")

    def stale(store: Store) -> bool:
        sign_ms = stream_progress.progress(store, context.settings.readings_topic).heartbeat_ms
        return is_stale(sign_ms, context.now_ms(), context.settings.api_stale_seconds)

    def show(row: StationRow, blind: bool) -> Station:
        return Station.from_row(row, sensors, blind, context.now_ms(), groups.group_of(row.station_id))

    @routes.get("/stations")
    @routes.input(PagedQuery, location="query", arg_name="query", unknown=STRICT)
    @routes.doc(summary="Stations, by id", responses={200: ok("One page.", Stations)})
    def listed(query: dict[str, Any]) -> Response:
        return context.answers.get("stations", query, lambda: page_of(query))

    def page_of(query: dict[str, Any]) -> Response:
        store = context.store.get()
        after = str(tokens.read(store, query["page_token"], query).place[0]) if "page_token" in query else ""
        rows, last = stations_page(store, after, query["page_size"])
        blind = stale(store)
        document = Stations([show(row, blind) for row in rows])
        if last is not None:
            document.next_page_token = tokens.sign(store, Page([last]), query)
        return jsonify(document)

    @routes.get("/stations/<station_id>")
    @routes.input(StrictQuery, location="query", arg_name="query", unknown=STRICT)
    @routes.doc(summary="One station", responses={200: ok("The station.", Station)})
    def one(station_id: str, query: dict[str, Any]) -> Response:
        store = context.store.get()
        return jsonify(show(find_station(store, station_id), stale(store)))

    @routes.get("/stations/<station_id>/readings")
    @routes.input(ReadingsQuery, location="query", arg_name="query", unknown=STRICT)
    @routes.doc(
        summary="What a station measured, oldest first",
        description="`raw`: each reading that is kept. `minute`: least, mean, largest and the typical band of each "
        "sensor; the last minutes may be open (`closed`: false). A page may be short, even empty, and still have a "
        "`next_page_token`; the first page fixes the interval. Without an interval: the last hour.",
        responses={
            200: ok(
                "One page; or the whole range as lines.",
                Readings,
                also={NDJSON: either(Reading, Minute), CSV: fields.TEXT},
            )
        },
    )
    def readings(station_id: str, query: dict[str, Any]) -> Response:
        store = context.store.get()
        row = find_station(store, station_id)
        asked = {**query, "station_id": station_id}
        page = _read_page(context, store, reading_tokens, asked)
        interval = Interval(page.start_ms, page.end_ms)
        wanted = choose_format(query.get("format"))
        if wanted in ("ndjson", "csv"):
            refuse_token(query)
            return _stream_range(store, row, interval, sensors, query["resolution"], wanted, exports)
        if query["resolution"] == "raw":
            found, place = readings_page(store, station_id, ReadingPlace(*page.place), page.end_ms, query["page_size"])
            left = list(place) if place else None
            shown: list[Any] = [Reading.from_row(reading, sensors) for reading in found]
        else:
            shown, left = _minutes(store, row, page, query["page_size"])
        document = Readings(station_id, *interval.times(), query["resolution"], shown)
        if left is not None:
            document.next_page_token = reading_tokens.sign(store, page._replace(place=left), asked)
        return jsonify(document)

    return routes


def find_station(store: Store, station_id: str) -> StationRow:
    """The station.

    Raises:
        HTTPError: 404; no id of a station, or of one that was never heard.
    """
    try:
        if STATION_ID.fullmatch(station_id):
            return station(store, station_id)
    except NotFound:
        pass
    raise refuse(404, "not-found", "There is no station with this id.")


def _read_page(context: Context, store: Store, tokens: PageTokens, query: dict[str, Any]) -> Page:
    if "page_token" in query:
        return tokens.read(store, query["page_token"], query)
    interval = resolve(query, context.now_ms(), DEFAULT_RANGE)
    return Page([interval.start_ms], *interval)


def _minutes(store: Store, row: StationRow, page: Page, size: int) -> tuple[list[Minute], list[Any] | None]:
    """Minutes of a page as documents, and the start of the next one; None at the end."""
    found = list(islice(station_minutes(store, row, page.place[0], page.end_ms), size))
    shown = [Minute.from_row(minute, closed) for minute, closed in found]
    return shown, [found[-1][0].minute_ms + MINUTE_MS] if len(found) == size else None


def _stream_range(
    store: Store,
    row: StationRow,
    interval: Interval,
    sensors: tuple[Sensor, ...],
    resolution: str,
    wanted: Format,
    exports: Bulkhead,
) -> Response:
    """A whole range as lines."""
    names = [sensor.name for sensor in sensors]
    if resolution == "raw":
        readings = (Reading.from_row(one, sensors) for one in readings_of(store, row.station_id, *interval))
        header = ["event_time", "seq", *names, *_JUDGED_COLUMNS, "rules", "model_version"]
        return stream_lines(readings, wanted, header, lambda one: _flat_reading(one, names), exports)
    minutes = (Minute.from_row(one, closed) for one, closed in station_minutes(store, row, *interval))
    header = ["time", "closed", "readings", *(f"{name}_{column}" for name in names for column in SensorMinute._fields)]
    return stream_lines(minutes, wanted, header, lambda one: _flat_minute(one, names), exports)


def _flat_reading(reading: Reading, names: list[str]) -> list[Any]:
    values = (reading.sensors.get(name) for name in names)
    judged = (getattr(reading, name) for name in _JUDGED_COLUMNS)
    return [reading.event_time, reading.seq, *values, *judged, " ".join(reading.rules), reading.model_version]


def _flat_minute(minute: Minute, names: list[str]) -> list[Any]:
    sensors = (minute.sensors.get(name) for name in names)
    columns = (getattr(sensor, column, None) for sensor in sensors for column in SensorMinute._fields)
    return [minute.time, minute.closed, minute.readings, *columns]


def station_minutes(store: Store, row: StationRow, start_ms: int, end_ms: int) -> Iterator[tuple[MinuteRow, bool]]:
    """Yield the minutes of a station that start in [start_ms, end_ms), and whether each is closed; oldest first.

    A minute that closed since the station row was written is met once, closed.
    """
    last = start_ms - 1
    for minute in minutes_of(store, row.station_id, start_ms, end_ms):
        yield minute, True
        last = minute.minute_ms
    open_ones = sorted((at, held) for at, held in row.open_minutes.items() if last < at < end_ms)
    for at, held in open_ones:
        yield MinuteRow(row.station_id, at, held, max((one.readings for one in held.values()), default=0)), False
