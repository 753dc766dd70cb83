"""`/api/v1/alarms`: the episodes that people handle, and what they do with them."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterable
from typing import Any

import msgspec
from apiflask import APIBlueprint
from apiflask.fields import Integer, String
from flask import Response, g, jsonify

from api.http.body import declare_body, json_object, quote, refuse_body, refuse_strays
from api.http.idempotency import HEADER, claim_key
from api.http.interval import Interval, IntervalQuery, resolve
from api.http.opaque_ids import alarm_key_of
from api.http.paging import Page, PageTokens
from api.http.problems import refuse
from api.http.query import STRICT, BoundedInteger, Choice, Moment, StationId, StrictQuery
from api.http.request_hooks import add_etag
from api.openapi import ok
from api.representations.alarms import (
    NAME_CHARACTERS,
    Alarm,
    AlarmActionGiven,
    Alarms,
    AlarmShelvingGiven,
    state_now,
)
from api.representations.anomalies import COMMENT_CHARACTERS
from api.services.context import Context
from core.alarm import OPEN_STATES, STATES, Action, Done, IllegalAction, check_legal
from core.errors import InvalidReading
from core.reading import event_ms_of
from storage.driver.session import Store
from storage.tables.alarm_actions import ActionRow, actions_of, add_action
from storage.tables.alarms import AlarmKey, AlarmRow, alarm, alarms_of_keys, alarms_page, open_keys

DEFAULT_RANGE = "24h"
PAGE_SIZE = 50
TRIES = 5
_LOOKED_AT = 500
"""Open alarms that one page looks at: filters that match rarely must not become a scan."""


class AlarmsQuery(IntervalQuery):
    """Parameters of `/alarms`."""

    state = Choice("open", "any", *STATES, metadata={"description": "open: active, acknowledged or shelved"})
    station_id = StationId()
    told = Choice(
        "yes",
        "any",
        load_default="yes",
        metadata={"description": "any: also those that are not yet, or were never, worth telling"},
    )
    page_size: Integer = BoundedInteger(1, 1000, load_default=PAGE_SIZE)
    page_token = String(metadata={"description": "next_page_token of the page before"})


def alarm_routes(context: Context) -> APIBlueprint:
    """The list, one alarm, and what can be done with it."""
    routes = APIBlueprint("alarms", __name__, url_prefix="/api/v1", tag="Alarms")
    routes.after_request(add_etag)
    tokens = PageTokens("alarms")

    @routes.get("/alarms")
    @routes.input(AlarmsQuery, location="query", arg_name="query", unknown=STRICT)
    @routes.doc(
        summary="Alarms, newest first",
        description="Without an interval: what is open now. With one, or for `state=cleared` or `any` (then the last "
        f"{DEFAULT_RANGE}): alarms that began in it. A page may be short, even empty, and still have a "
        "`next_page_token`.",
        responses={200: ok("One page.", Alarms)},
    )
    def listed(query: dict[str, Any]) -> Response:
        store, now_ms = context.store.get(), context.now_ms()
        page = _read_page(store, tokens, query, now_ms)
        rows, place = _rows(store, page, query)
        actions = actions_of(store, (row.key for row in rows))
        fits = _filter(query, now_ms)
        shown = ((row, actions.get(row.key, [])) for row in rows)
        document = Alarms([Alarm.from_row(row, done, now_ms) for row, done in shown if fits(row, done)])
        if page.end_ms:
            document.start, document.end = Interval(page.start_ms, page.end_ms).times()
        if place is not None:
            document.next_page_token = tokens.sign(store, page._replace(place=place), query)
        return jsonify(document)

    @routes.get("/alarms/<opaque:alarm_id>")
    @routes.input(StrictQuery, location="query", arg_name="query", unknown=STRICT)
    @routes.doc(summary="One alarm", responses={200: ok("The alarm.", Alarm)})
    def one(alarm_id: str, query: dict[str, Any]) -> Response:
        store = context.store.get()
        row = _find_alarm(store, alarm_id)
        return jsonify(Alarm.from_row(row, actions_of(store, [row.key]).get(row.key, []), context.now_ms()))

    def action(name: Action, said: str, body: type[AlarmActionGiven]) -> None:
        @declare_body(body)
        def view(alarm_id: str) -> Response:
            return _act(context, alarm_id, name)

        view.__name__ = name
        documented = routes.doc(
            summary=said,
            description=f"409 where the alarm's state does not allow it. With an `{HEADER}` a request that is sent "
            "again, because its answer was lost, changes nothing.",
            responses={200: ok("The alarm as it is now.", Alarm)},
        )(view)
        routes.add_url_rule(f"/alarms/<opaque:alarm_id>:{name}", name, documented, methods=["POST"])

    action("acknowledge", "Say that somebody looks after an alarm", AlarmActionGiven)
    action("shelve", "Put an alarm aside for a while, at most 24 hours; it returns by itself", AlarmShelvingGiven)
    action("clear", "Say that an alarm is dealt with", AlarmActionGiven)
    return routes


def _read_page(store: Store, tokens: PageTokens, query: dict[str, Any], now_ms: int) -> Page:
    """Where to begin; an interval of (0, 0) asks for what is open now."""
    if "page_token" in query:
        return tokens.read(store, query["page_token"], query)
    named = any(name in query for name in ("time_range", "start", "end"))
    if not named and query.get("state", "open") in ("open", *OPEN_STATES):
        return Page([])
    interval = resolve(query, now_ms, DEFAULT_RANGE)
    return Page([interval.end_ms], *interval)


def _rows(store: Store, page: Page, query: dict[str, Any]) -> tuple[list[AlarmRow], list[Any] | None]:
    """The alarms of a page before its filters, and the place to go on from."""
    size, station_id = query["page_size"], query.get("station_id")
    if page.end_ms:
        place = page.place[0] if len(page.place) == 1 else AlarmKey(*page.place)
        rows, left = alarms_page(store, page.start_ms, place, size, station_id)
        return rows, None if left is None else [left] if isinstance(left, int) else list(left)
    keys = [key for key in open_keys(store) if station_id in (None, key.station_id)]
    if page.place:
        last = AlarmKey(*page.place)
        keys = [key for key in keys if (-key.begun_ms, *key) > (-last.begun_ms, *last)]
    some = keys[: min(size, _LOOKED_AT)]
    return alarms_of_keys(store, some), list(some[-1]) if len(keys) > len(some) else None


def _filter(query: dict[str, Any], now_ms: int) -> Callable[[AlarmRow, Iterable[ActionRow]], bool]:
    """Whether an alarm is asked for."""
    interval = any(name in query for name in ("time_range", "start", "end"))
    wanted = query.get("state", "any" if interval else "open")
    states = {"open": OPEN_STATES, "any": STATES}.get(wanted, (wanted,))

    def fits(row: AlarmRow, actions: Iterable[ActionRow]) -> bool:
        told = row.notified_ms is not None or query["told"] == "any"
        return told and state_now(row, list(actions), now_ms) in states

    return fits


def _find_alarm(store: Store, alarm_id: str) -> AlarmRow:
    """The alarm of this id.

    Raises:
        HTTPError: 404; no id, or nothing stored under it.
    """
    key = alarm_key_of(alarm_id)
    row = None if key is None else alarm(store, key)
    if row is None:
        raise refuse(404, "not-found", "There is no alarm with this id.")
    return row


def _act(context: Context, alarm_id: str, name: Action) -> Response:
    """Do what a request asks, once."""
    document = json_object()
    wanted = _parse_action(document, name, context.now_ms())
    store = context.store.get()
    row = _find_alarm(store, alarm_id)
    request_key = claim_key(store, msgspec.json.encode(document, order="sorted"))
    # Two people may do the same in the same millisecond: what tells their rows apart must be one's own.
    request_id = request_key or uuid.uuid4().hex
    for _ in range(TRIES):
        actions = actions_of(store, [row.key]).get(row.key, [])
        if request_key and any(action.request == request_key for action in actions):
            break
        _refuse_illegal(row, actions, wanted)
        action = ActionRow(actions[-1].number + 1 if actions else 0, wanted, request_id)
        if add_action(store, row.key, action):
            actions = [*actions, action]
            break
    else:
        raise refuse(409, "conflict", "Others act on this alarm right now; look at it and try again.")
    return jsonify(Alarm.from_row(row, actions, context.now_ms()))


def _refuse_illegal(row: AlarmRow, actions: list[ActionRow], wanted: Done) -> None:
    """Refuse what the alarm's state does not allow.

    Raises:
        HTTPError: 409; 422 a shelving that ends in the past or too late.
    """
    try:
        check_legal(state_now(row, actions, wanted.at_ms), wanted)
    except IllegalAction as error:
        raise refuse(409, "illegal-transition", f"{str(error)[:1].upper()}{str(error)[1:]}.") from None
    except ValueError as error:
        raise refuse_body("until", "out_of_range", f"until: {error}") from None


def _parse_action(document: dict[str, Any], name: Action, now_ms: int) -> Done:
    """What a body asks for.

    Raises:
        HTTPError: 422; the member is named.
    """
    refuse_strays(document, ["comment", "by", *(["until"] if name == "shelve" else [])])
    comment = _text(document, "comment", COMMENT_CHARACTERS)
    by = _text(document, "by", NAME_CHARACTERS)
    role = g.get("role")
    until_ms = _until(document) if name == "shelve" else None
    return Done(name, now_ms, until_ms, by.strip() or (role.name.lower() if role else None), comment)


def _text(document: dict[str, Any], name: str, longest: int) -> str:
    text = document.get(name, "")
    if not isinstance(text, str) or len(text) > longest:
        raise refuse_body(name, "wrong_type", f"{name} is {quote(text)}; expected text of at most {longest} characters")
    return text


def _until(document: dict[str, Any]) -> int:
    given = document.get("until")
    try:
        if isinstance(given, str):
            return event_ms_of(given)
    except InvalidReading:
        pass
    said = "is missing" if given is None else f"is {quote(given)}"
    raise refuse_body("until", "bad_time", f"until {said}; expected {Moment.EXPECTED}")
