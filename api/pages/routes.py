"""The addresses of the pages, and the data that their scripts fetch: the page's own, no contract."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec
from flask import Blueprint, Response, g, jsonify, make_response, render_template, request

from api.http.constants import FORM_POLICY
from api.http.problems import RETRY_AFTER_SECONDS, refuse_parameter
from api.http.single_flight_cache import SingleFlightCache
from api.http.store_connection import STORE_AWAY
from api.http.times import clock, rfc3339
from api.pages.alarms import BLANK_ALARM, alarms_of, headline, open_alarms
from api.pages.anomaly import anomaly_view
from api.pages.conditions import CONDITIONS, MEANINGS
from api.pages.model import model_view
from api.pages.plant import BLANK_EPISODE, blank_tile, plant_view, state_of, store_away
from api.pages.station import LONGEST_MS, StationHistory, station_view
from api.pages.strip import strip_of
from api.pages.watch import PlantWatch
from api.pages.words import catalogue
from api.services.context import Context
from core.errors import NotFound
from storage.driver.session import Store
from storage.tables.stream_progress import progress

LONGEST_SEARCH = 64
PLANT_FRESH_SECONDS = 1.0
STRIP_FRESH_SECONDS = 15.0
_FURTHEST_MS = 253_402_300_800_000


def page_routes(context: Context) -> Blueprint:
    """The pages show what is known, and say plainly when nothing is."""
    pages = Blueprint(
        "pages", __name__, template_folder="../templates", static_folder="../static", static_url_path="/static"
    )
    for words in (rfc3339, clock):
        pages.add_app_template_filter(words)
    pages.add_app_template_filter(lambda condition: condition.replace("-", " "), "words")
    watch = PlantWatch(context.settings.readings_topic)
    plants: SingleFlightCache[dict[str, Any]] = SingleFlightCache(PLANT_FRESH_SECONDS)
    plants_written: SingleFlightCache[bytes] = SingleFlightCache(PLANT_FRESH_SECONDS, most=2)
    alarms_shown: SingleFlightCache[dict[str, Any]] = SingleFlightCache(PLANT_FRESH_SECONDS)
    strips: SingleFlightCache[dict[str, Any]] = SingleFlightCache(STRIP_FRESH_SECONDS)
    history = StationHistory(context.settings.sensors)

    def alarms_now(store: Store, now_ms: int) -> dict[str, Any]:
        return alarms_shown.get("alarms", lambda: open_alarms(store, now_ms))

    def plant_now(store: Store, now_ms: int) -> dict[str, Any]:
        return plants.get(
            "plant",
            lambda: {
                **plant_view(watch.look(store, now_ms), context),
                "alarms_said": headline(alarms_now(store, now_ms)),
            },
        )

    def strip_now(now_ms: int) -> dict[str, Any]:
        return strips.get("strip", lambda: strip_of(context.counter, now_ms))

    def alarms_look(store: Store, now_ms: int) -> dict[str, Any]:
        sign_ms = progress(store, context.settings.readings_topic).heartbeat_ms
        state = state_of(sign_ms, now_ms, context.settings.api_stale_seconds)
        found = alarms_now(store, now_ms)
        return {**found, "state": state, "headline": headline(found)}

    @pages.get("/")
    def plant() -> Response:
        query, chosen = _filters()

        def view(store: Store, now_ms: int) -> dict[str, Any]:
            shown = plant_now(store, now_ms)
            hidden = {tile["id"] for tile in shown["tiles"] if not _fits(tile, query.lower(), chosen)}
            return {**shown, "hidden": hidden, "strip": strip_now(now_ms)}

        given = {"q": query, "chosen": chosen, "meanings": MEANINGS, "blank_episode": BLANK_EPISODE}
        return framed(context, "plant.html", view, blank=blank_tile(context.settings.sensors), **given)

    @pages.get("/stations/<station_id>")
    def station(station_id: str) -> Response:
        def view(store: Store, now_ms: int) -> dict[str, Any]:
            shown = station_view(store, station_id, plant_now(store, now_ms), context)
            return {**shown, "alarms": alarms_of(store, station_id, now_ms)}

        blanks = {"blank_episode": BLANK_EPISODE, "blank_alarm": BLANK_ALARM}
        return framed(context, "station.html", view, station_id=station_id, **blanks)

    @pages.get("/alarms")
    def alarms() -> Response:
        return framed(context, "alarms.html", alarms_look, blank_alarm=BLANK_ALARM)

    @pages.get("/pages/alarms")
    def alarms_json() -> Response:
        return jsonify(alarms_look(context.store.get(), context.now_ms()))

    @pages.get("/pages/stations/<station_id>/alarms")
    def station_alarms_json(station_id: str) -> Response:
        return jsonify({"alarms": alarms_of(context.store.get(), station_id[:LONGEST_SEARCH], context.now_ms())})

    @pages.get("/anomalies/<anomaly_id>")
    def anomaly(anomaly_id: str) -> Response:
        def view(store: Store, now_ms: int) -> dict[str, Any]:
            sign_ms = progress(store, context.settings.readings_topic).heartbeat_ms
            state = state_of(sign_ms, now_ms, context.settings.api_stale_seconds)
            return {"state": state, **anomaly_view(store, anomaly_id, context)}

        return framed(context, "anomaly.html", view)

    @pages.get("/model")
    def model() -> Response:
        def view(store: Store, now_ms: int) -> dict[str, Any]:
            sign_ms = progress(store, context.settings.readings_topic).heartbeat_ms
            state = state_of(sign_ms, now_ms, context.settings.api_stale_seconds)
            return {"state": state, **model_view(store, context, now_ms)}

        return framed(context, "model.html", view)

    @pages.get("/pages/plant")
    def plant_json() -> Response:
        shown = plant_now(context.store.get(), context.now_ms())
        written = plants_written.get(shown["at_ms"], lambda: msgspec.json.encode(shown))
        return Response(written, mimetype="application/json")

    @pages.get("/pages/strip")
    def plant_strip() -> Response:
        return make_response(render_template("_strip.html", strip=strip_now(context.now_ms())))

    @pages.get("/pages/stations/<station_id>")
    def station_json(station_id: str) -> Response:
        store, now_ms = context.store.get(), context.now_ms()
        plant = plant_now(store, now_ms)
        tile = next((tile for tile in plant["tiles"] if tile["id"] == station_id), None)
        start_ms, end_ms, step_ms = (_whole(name) for name in ("start", "end", "step"))
        if not start_ms < end_ms <= start_ms + LONGEST_MS:
            raise refuse_parameter("end", "out_of_range", "expected start < end, at most 31 days apart, ms since 1970")
        shown = history.show(store, station_id, start_ms, end_ms, step_ms, now_ms)
        return jsonify({**shown, "now_ms": now_ms, "state": plant["state"], "tile": tile})

    return pages


def framed(context: Context, template: str, view: Callable[[Store, int], dict[str, Any]], **given: Any) -> Response:
    """Render a page: what `view` finds, or the frame with the sentence that nothing is there or the store is away."""
    response = _rendered(context, template, view, given)
    if g.get("session"):
        # The way out is a form.
        response.headers["Content-Security-Policy"] = FORM_POLICY
    return response


def _rendered(
    context: Context, template: str, view: Callable[[Store, int], dict[str, Any]], given: dict[str, Any]
) -> Response:
    now_ms = context.now_ms()
    frame = {"now_ms": now_ms, "wall": "wall" in request.args, "sensors": catalogue(context.settings.sensors), **given}
    frame["logged_in"] = g.get("session", False)
    try:
        return make_response(render_template(template, **frame, **view(context.store.get(), now_ms)))
    except NotFound:
        return make_response(render_template("missing.html", **frame, state={"kind": "none"}), 404)
    except STORE_AWAY as error:
        context.store.mark_suspect(error)
        response = make_response(render_template("away.html", **frame, state=store_away()), 503)
        response.headers["Retry-After"] = str(RETRY_AFTER_SECONDS)
        return response


def _filters() -> tuple[str, list[str]]:
    """Search text and conditions of the address. A condition that does not exist is left out: links outlive words."""
    chosen = [word for word in request.args.get("condition", "").split(",") if word in CONDITIONS]
    return request.args.get("q", "")[:LONGEST_SEARCH], chosen


def _fits(tile: dict[str, Any], query: str, chosen: list[str]) -> bool:
    return query in tile["id"].lower() and (not chosen or tile["condition"] in chosen)


def _whole(name: str) -> int:
    """A parameter that the scripts send: milliseconds; absent is 0.

    Raises:
        HTTPError: 422.
    """
    text = request.args.get(name, "0")
    if not (text.isascii() and text.isdigit() and len(text) <= 15 and int(text) < _FURTHEST_MS):
        raise refuse_parameter(name, "not_an_integer", f"{name}: expected milliseconds since 1970")
    return int(text)
