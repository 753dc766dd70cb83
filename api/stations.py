"""`/api/v1/stations`: all, one, and what one measured."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from typing import Any

from apiflask import APIBlueprint
from apiflask.fields import Integer, String
from flask import Response, jsonify

from api.caching import revalidated
from api.context import Context
from api.health import is_stale
from api.interval import Interval, IntervalQuery, resolve
from api.openapi import ok
from api.paging import Page, PageTokens
from api.problems import refuse
from api.query import STRICT, BoundedInteger, Choice, StrictQuery
from api.schemas import ref
from api.shapes import minute_shown, reading_shown, station_shown
from models.detection.errors import NotFound
from models.detection.reading import STATION_ID
from storage import stream
from storage.minutes import MinuteRow, minutes_of
from storage.readings import ReadingPlace, readings_page
from storage.session import Store
from storage.stations import StationRow, station, stations_page
from storage.times import MINUTE_MS

DEFAULT_RANGE = "1h"


class PagedQuery(StrictQuery):
    """Parameters of a list without an interval."""

    page_size: Integer = BoundedInteger(1, 1000, load_default=50)
    page_token = String(metadata={"description": "next_page_token of the page before"})


class ReadingsQuery(IntervalQuery):
    """Parameters of `/stations/{id}/readings`."""

    resolution = Choice("raw", "minute", load_default="raw")
    page_size: Integer = BoundedInteger(1, 1000, load_default=50)
    page_token = String(metadata={"description": "next_page_token of the page before"})


def station_routes(context: Context) -> APIBlueprint:
    """Stations and their readings."""
    routes = APIBlueprint("stations", __name__, url_prefix="/api/v1", tag="Stations")
    routes.after_request(revalidated)
    sensors = context.settings.sensors
    tokens, reading_tokens = PageTokens("stations"), PageTokens("readings")

    def stale(store: Store) -> bool:
        sign_ms = stream.progress(store, context.settings.readings_topic).heartbeat_ms
        return is_stale(sign_ms, context.now_ms(), context.settings.api_stale_seconds)

    @routes.get("/stations")
    @routes.input(PagedQuery, location="query", arg_name="query", unknown=STRICT)
    @routes.doc(summary="Stations, by id", responses={200: ok("One page.", ref("Stations"))})
    def listed(query: dict[str, Any]) -> Response:
        store = context.store.get()
        after = str(tokens.read(store, query["page_token"], query).place[0]) if "page_token" in query else ""
        rows, last = stations_page(store, after, query["page_size"])
        blind, now = stale(store), context.now_ms()
        document: dict[str, Any] = {"stations": [station_shown(row, sensors, blind, now) for row in rows]}
        if last is not None:
            document["next_page_token"] = tokens.sign(store, Page([last]), query)
        return jsonify(document)

    @routes.get("/stations/<station_id>")
    @routes.input(StrictQuery, location="query", arg_name="query", unknown=STRICT)
    @routes.doc(summary="One station", responses={200: ok("The station.", ref("Station"))})
    def one(station_id: str, query: dict[str, Any]) -> Response:
        store = context.store.get()
        return jsonify(station_shown(known(store, station_id), sensors, stale(store), context.now_ms()))

    @routes.get("/stations/<station_id>/readings")
    @routes.input(ReadingsQuery, location="query", arg_name="query", unknown=STRICT)
    @routes.doc(
        summary="What a station measured, oldest first",
        description="`raw`: each reading that is kept. `minute`: least, mean, largest and the typical band of each "
        "sensor; the last minutes may be open (`closed`: false). A page may be short, even empty, and still have a "
        "`next_page_token`; the first page fixes the interval. Without an interval: the last hour.",
        responses={200: ok("One page.", ref("Readings"))},
    )
    def readings(station_id: str, query: dict[str, Any]) -> Response:
        store = context.store.get()
        row = known(store, station_id)
        asked = {**query, "station_id": station_id}
        page = _page_asked(context, store, reading_tokens, asked)
        interval = Interval(page.start_ms, page.end_ms)
        if query["resolution"] == "raw":
            found, place = readings_page(store, station_id, ReadingPlace(*page.place), page.end_ms, query["page_size"])
            shown, left = [reading_shown(reading, sensors) for reading in found], list(place) if place else None
        else:
            shown, left = _minutes(store, row, page, query["page_size"])
        document = {
            "station_id": station_id,
            **interval.shown(),
            "resolution": query["resolution"],
            "readings": shown,
        }
        if left is not None:
            document["next_page_token"] = reading_tokens.sign(store, page._replace(place=left), asked)
        return jsonify(document)

    return routes


def known(store: Store, station_id: str) -> StationRow:
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


def _page_asked(context: Context, store: Store, tokens: PageTokens, query: dict[str, Any]) -> Page:
    if "page_token" in query:
        return tokens.read(store, query["page_token"], query)
    interval = resolve(query, context.now_ms(), DEFAULT_RANGE)
    return Page([interval.start_ms], *interval)


def _minutes(store: Store, row: StationRow, page: Page, size: int) -> tuple[list[dict[str, Any]], list[int] | None]:
    """Minutes of a page as documents, and the start of the next one; None at the end."""
    found = list(islice(station_minutes(store, row, page.place[0], page.end_ms), size))
    shown = [minute_shown(minute, closed) for minute, closed in found]
    return shown, [found[-1][0].minute_ms + MINUTE_MS] if len(found) == size else None


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
