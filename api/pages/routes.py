"""The addresses of the pages, and the data that their scripts fetch: the page's own, no contract."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from flask import Blueprint, Response, jsonify, make_response, render_template, request

from api.context import Context
from api.pages.conditions import CONDITIONS, MEANINGS
from api.pages.plant import BLANK_EPISODE, blank_tile, plant_view, store_away
from api.pages.strip import strip_view
from api.pages.watch import PlantWatch
from api.pages.words import catalogue, length
from api.problems import RETRY_AFTER_SECONDS
from api.store_handle import STORE_AWAY
from api.times import clock, rfc3339
from storage.session import Store

LONGEST_SEARCH = 64


def page_routes(context: Context) -> Blueprint:
    """The pages show what is known, and say plainly when nothing is."""
    pages = Blueprint(
        "pages", __name__, template_folder="../templates", static_folder="../static", static_url_path="/static"
    )
    watch = PlantWatch(context.settings.readings_topic)
    for words in (rfc3339, clock, length):
        pages.add_app_template_filter(words)
    pages.add_app_template_filter(lambda condition: condition.replace("-", " "), "words")

    @pages.get("/")
    def plant() -> Response:
        query, chosen = _filters()

        def view(store: Store, now_ms: int) -> dict[str, Any]:
            shown = watch.show(store, now_ms, lambda look: plant_view(look, context))
            for tile in shown["tiles"]:
                tile["hidden"] = not (
                    query.lower() in tile["id"].lower() and (not chosen or tile["condition"] in chosen)
                )
            return {**shown, "strip": strip_view({}, now_ms)}

        return framed(
            context, "plant.html", view, q=query, chosen=chosen, meanings=MEANINGS,
            blank=blank_tile(context.settings.sensors), blank_episode=BLANK_EPISODE,
        )  # fmt: skip

    @pages.get("/pages/plant")
    def plant_json() -> Response:
        return jsonify(watch.show(context.store.get(), context.now_ms(), lambda look: plant_view(look, context)))

    @pages.get("/pages/strip")
    def plant_strip() -> Response:
        context.store.get()
        return make_response(render_template("_strip.html", strip=strip_view({}, context.now_ms())))

    return pages


def framed(
    context: Context, template: str, view: Callable[[Store, int], dict[str, Any]], status: int = 200, **given: Any
) -> Response:
    """Render a page: what `view` finds, or the frame alone with the sentence that the store is away."""
    now_ms = context.now_ms()
    try:
        shown = view(context.store.get(), now_ms)
    except STORE_AWAY as error:
        context.store.doubt(error)
        shown, status = {"state": store_away(), "title": "● no store · stationwatch"}, 503
    frame = {"now_ms": now_ms, "wall": "wall" in request.args, "sensors": catalogue(context.settings.sensors)}
    response = make_response(render_template(template, **frame, **given, **shown), status)
    if status == 503:
        response.headers["Retry-After"] = str(RETRY_AFTER_SECONDS)
    return response


def _filters() -> tuple[str, list[str]]:
    """Search text and conditions of the address. A condition that does not exist is left out: links outlive words."""
    chosen = [word for word in request.args.get("condition", "").split(",") if word in CONDITIONS]
    return request.args.get("q", "")[:LONGEST_SEARCH], chosen
