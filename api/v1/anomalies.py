"""`/api/v1/anomalies`: the list, newest first, and one."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

from apiflask import APIBlueprint
from apiflask.fields import Integer, String
from flask import Response, jsonify

from api.http.bulkhead import Bulkhead
from api.http.interval import Interval, IntervalQuery, resolve
from api.http.opaque_ids import identity_of
from api.http.paging import Page, PageTokens
from api.http.problems import refuse, refuse_parameter
from api.http.query import STRICT, BoundedInteger, BoundedNumber, Choice, StationId, StrictQuery
from api.http.request_hooks import add_etag
from api.openapi import ok
from api.representations import fields
from api.representations.anomalies import Anomalies, Anomaly
from api.representations.common import either, rounded
from api.representations.elastic_lookout import ElasticRecord, LookoutRecord, Records
from api.services.context import Context
from api.v1.export import ABOUT_FORMATS, CSV, EXPORTS, NDJSON, Format, choose_format, refuse_token, stream_lines
from storage.driver.session import Store
from storage.tables import anomalies
from storage.tables.anomalies import AnomalyRow, leading_sensor
from storage.tables.anomaly_scan import Place, Stretch, place_after, walk_plant, walk_station
from storage.tables.feedback import feedback_of

DEFAULT_RANGE = "24h"
PAGE_SIZE = 50
EXPORTED_AT_ONCE = 500
FORMATS = ("json", "ndjson", "csv", "elastic", "lookout")
_COLUMNS = ("id", "station_id", "event_time", "seq", "score", "severity", "severity_class", "state", "late",
            "leading_sensor")  # fmt: skip
_LAST_COLUMNS = ("rules", "explanation", "model_version", "feedback")
PAGE_PARTITIONS = 200
PAGE_LOOKED_AT = 2000
"""Rows that a page looks at before it ends, short: filters that match rarely must not become a scan."""


class AnomaliesQuery(IntervalQuery):
    """Parameters of `/anomalies`."""

    station_id = StationId()
    sensor = String(metadata={"description": "only anomalies in which this sensor stands out"})
    min_severity: Any = BoundedNumber(0, 100, metadata={"description": "least severity"})
    page_size: Integer = BoundedInteger(1, 1000, load_default=PAGE_SIZE)
    page_token = String(metadata={"description": "next_page_token of the page before"})
    format = Choice(*FORMATS, metadata={"description": ABOUT_FORMATS})


class OneQuery(StrictQuery):
    """Parameters of one anomaly."""

    explain = Choice(
        "shap",
        metadata={"description": "adds exact shares, and the smallest change that is normal"},
    )


class Filters(NamedTuple):
    """Which anomalies are asked for, beside the interval."""

    station_id: str | None = None
    sensor: str | None = None
    min_severity: float = 0.0

    def passes(self, row: AnomalyRow) -> bool:
        """Whether a row that the walk met is asked for."""
        return self.sensor is None or leading_sensor(row.verdict) == self.sensor

    def walk(self, store: Store, start_ms: int, place: Place, wanted: int) -> Iterator[Stretch[AnomalyRow]]:
        """Walk through the partitions that can hold what is asked for; only anomalies severe enough are met."""
        keep = self._severe if self.min_severity else None
        if self.station_id is None:
            return walk_plant(store, start_ms, place, wanted, keep)
        return walk_station(store, self.station_id, start_ms, place, wanted, keep)

    def _severe(self, severity: float) -> bool:
        # As it is shown: what is stored in 32 bits lies a little beside it.
        return rounded(severity) >= self.min_severity


def anomaly_routes(context: Context) -> APIBlueprint:
    """The list and one anomaly."""
    routes = APIBlueprint("anomalies", __name__, url_prefix="/api/v1", tag="Anomalies")
    routes.after_request(add_etag)
    tokens = PageTokens("anomalies")
    exports = Bulkhead(EXPORTS, "exports")
    names = [sensor.name for sensor in context.settings.sensors]
    header = [*_COLUMNS, *names, *_LAST_COLUMNS]

    @routes.get("/anomalies")
    @routes.input(AnomaliesQuery, location="query", arg_name="query", unknown=STRICT)
    @routes.doc(
        summary="Anomalies, newest first",
        description="By event time. A page reads a bounded number of partitions: it may be short, even empty, and "
        "still have a `next_page_token`. The first page fixes the interval; anomalies that arrive behind its "
        "place during the walk are met, others are not, none twice. Without an interval: the last 24 h. A range that "
        "ends now reaches 5 minutes ahead, as far as a station's clock may be.",
        responses={
            200: ok(
                "One page; or the whole range as lines.",
                either(Anomalies, Records),
                also={NDJSON: Anomaly, CSV: fields.TEXT},
            )
        },
    )
    def listed(query: dict[str, Any]) -> Response:
        asked = choose_format(query.get("format"))
        if asked in ("ndjson", "csv"):
            refuse_token(query)
            interval, filters = resolve(query, context.now_ms(), DEFAULT_RANGE), read_filters(context, query)
            documents = _documents(context, context.store.get(), filters, interval)
            return stream_lines(documents, asked, header, lambda one: _flat(one, names), exports)
        return context.answers.get(f"anomalies as {asked}", query, lambda: page_of(query, asked))

    def page_of(query: dict[str, Any], asked: Format) -> Response:
        store = context.store.get()
        page = read_page(context, store, tokens, query)
        interval = Interval(page.start_ms, page.end_ms)
        rows, place = _page(store, read_filters(context, query), interval, Place(*page.place), query["page_size"])
        document = _formatted(show_anomalies(context, store, rows), asked, interval)
        if place is not None:
            document.next_page_token = tokens.sign(store, page._replace(place=list(place)), query)
        return jsonify(document)

    @routes.get("/anomalies/<anomaly_id>")
    @routes.input(OneQuery, location="query", arg_name="query", unknown=STRICT)
    @routes.doc(
        summary="One anomaly",
        description="`explain=shap` computes from the stored block with the model version that judged; 409 where one "
        "of them is no longer kept.",
        responses={200: ok("The anomaly.", Anomaly)},
    )
    def one(anomaly_id: str, query: dict[str, Any]) -> Response:
        store = context.store.get()
        row = find_anomaly(store, anomaly_id)
        (document,) = show_anomalies(context, store, [row])
        if "explain" in query:
            document.shap, document.smallest_change = context.scoring.explain(store, row)
        return jsonify(document)

    return routes


def read_page(context: Context, store: Store, tokens: PageTokens, query: dict[str, Any]) -> Page:
    """The page that is asked for: where a token goes on, or the first one of the interval."""
    if "page_token" in query:
        return tokens.read(store, query["page_token"], query)
    interval = resolve(query, context.now_ms(), DEFAULT_RANGE)
    return Page([interval.end_ms], *interval)


def read_filters(context: Context, query: dict[str, Any]) -> Filters:
    """The filters of a request.

    Raises:
        HTTPError: 422; a sensor that is not configured.
    """
    names = [sensor.name for sensor in context.settings.sensors]
    if query.get("sensor", names[0]) not in names:
        said = f"sensor = '{query['sensor'][:60]}': expected one of {', '.join(names)}"
        raise refuse_parameter("sensor", "unknown_value", said)
    return Filters(query.get("station_id"), query.get("sensor"), query.get("min_severity", 0.0))


def find_anomaly(store: Store, anomaly_id: str) -> AnomalyRow:
    """The anomaly of this id, with its block.

    Raises:
        HTTPError: 404; no id, or nothing stored under it.
    """
    identity = identity_of(anomaly_id)
    row = None if identity is None else anomalies.anomaly(store, *identity)
    if row is None:
        raise refuse(404, "not-found", "There is no anomaly with this id.")
    return row


def show_anomalies(context: Context, store: Store, rows: list[AnomalyRow]) -> list[Anomaly]:
    """Anomalies as documents, with what people said of them."""
    feedback = feedback_of(store, (row[:3] for row in rows))
    name = context.settings.model_name
    return [Anomaly.from_row(row, name, feedback.get(row[:3])) for row in rows]


def _documents(context: Context, store: Store, filters: Filters, interval: Interval) -> Iterator[Anomaly]:
    """Every anomaly of an interval, a stretch of the walk at a time."""
    for stretch in filters.walk(store, interval.start_ms, Place(interval.end_ms), EXPORTED_AT_ONCE):
        yield from show_anomalies(context, store, [row for row in stretch.rows if filters.passes(row)])


def _formatted(anomalies: list[Anomaly], asked: Format, interval: Interval) -> Anomalies | Records:
    start, end = interval.times()
    if asked == "elastic":
        return Records(start, end, len(anomalies), [ElasticRecord.from_anomaly(anomaly) for anomaly in anomalies])
    if asked == "lookout":
        return Records(start, end, len(anomalies), [LookoutRecord.from_anomaly(anomaly) for anomaly in anomalies])
    return Anomalies(start, end, anomalies)


def _flat(anomaly: Anomaly, sensors: list[str]) -> list[Any]:
    """An anomaly as CSV columns."""
    actual = {sensor.name: sensor.actual for sensor in anomaly.sensors}
    return [
        *(getattr(anomaly, name) for name in _COLUMNS),
        *(actual.get(name) for name in sensors),
        " ".join(anomaly.rules),
        anomaly.explanation,
        anomaly.model.version,
        anomaly.feedback.verdict if anomaly.feedback else None,
    ]


def _page(
    store: Store, filters: Filters, interval: Interval, place: Place, size: int
) -> tuple[list[AnomalyRow], Place | None]:
    """At most `size` anomalies from `place` on, and where to go on; None at the end."""
    rows: list[AnomalyRow] = []
    partitions = looked_at = 0
    for stretch in filters.walk(store, interval.start_ms, place, size):
        for row in stretch.rows:
            if filters.passes(row):
                rows.append(row)
            if len(rows) == size:
                return rows, place_after(row)
        partitions += stretch.partitions
        looked_at += stretch.looked_at
        if partitions >= PAGE_PARTITIONS or looked_at >= max(PAGE_LOOKED_AT, size):
            return rows, stretch.place
    return rows, None
