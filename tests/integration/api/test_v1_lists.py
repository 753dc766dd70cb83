"""Lists of `/api/v1` on a real Cassandra: nothing is lost, doubled or scanned for, however rows arrive meanwhile."""

from __future__ import annotations

import json
import random
import string

import pytest
from flask.testing import FlaskClient

from api.http.opaque_ids import anomaly_id
from api.http.times import rfc3339
from storage.driver.session import Store
from storage.tables.anomalies import AnomalyRow, write_anomalies
from tests.integration.api_plant import (
    DAY_MS,
    HOUR_MS,
    NOW_MS,
    SENSORS,
    anomaly_row,
    walked,
)

pytestmark = pytest.mark.timeout(300)


@pytest.fixture(scope="module")
def stored(store: Store) -> list[AnomalyRow]:
    """10,000 anomalies over 12 days: bursts, many in one millisecond, one station worse than all others."""
    rng = random.Random(6)  # noqa: S311
    times = [NOW_MS - rng.randrange(12 * DAY_MS) for _ in range(6000)]
    times += [NOW_MS - 3 * HOUR_MS + rng.randrange(60_000) for _ in range(2000)]
    times += [NOW_MS - 5 * HOUR_MS] * 1000 + [NOW_MS + rng.randrange(300_000) for _ in range(100)]
    rows = [spread(rng, at, number) for number, at in enumerate(times)]
    rows += [anomaly_row("station-0013", NOW_MS - 7 * HOUR_MS, number) for number in range(900)]
    write_anomalies(store, rows)
    return rows


def spread(rng: random.Random, event_ms: int, seq: int) -> AnomalyRow:
    station = f"station-{rng.randrange(40):04d}"
    return anomaly_row(station, event_ms, seq, float(rng.randrange(1, 100)), leading=rng.choice(SENSORS))


def ids(rows: list[AnomalyRow]) -> list[str]:
    """Ids in the order of the list."""
    rows = sorted(rows, key=lambda row: (-row.event_ms, row.station_id, -row.seq))
    return [anomaly_id(*row[:3]) for row in rows]


@pytest.mark.parametrize("size", [1000, 333])
def test_a_walk_of_ten_thousand_meets_each_once_while_more_arrive(
    api: FlaskClient, store: Store, stored: list[AnomalyRow], size: int
) -> None:
    """Breaks when a page's edge, a burst in one millisecond, or an arrival hides an anomaly or shows it twice."""
    rng = random.Random(size)  # noqa: S311
    arrived: list[AnomalyRow] = []

    def more(pages: int) -> None:
        late = [spread(rng, NOW_MS - rng.randrange(12 * DAY_MS), 10**6 * size + pages * 100 + at) for at in range(20)]
        write_anomalies(store, late)
        arrived.extend(late)

    before = list(stored)
    found = [row["id"] for row in walked(api, f"/api/v1/anomalies?time_range=13d&page_size={size}", "anomalies", more)]
    stored += arrived
    assert len(before) >= 10_000
    assert len(found) == len(set(found)), "an anomaly was shown twice"
    assert set(ids(before)) <= set(found), "an anomaly was missed"
    assert set(found) <= set(ids(stored))
    assert found == [one for one in ids(stored) if one in set(found)], "not newest first"


@pytest.mark.parametrize(
    ("query", "keep"),
    [
        ("station_id=station-0013", lambda row: row.station_id == "station-0013"),
        (
            "station_id=station-0013&min_severity=50",
            lambda row: row.station_id == "station-0013" and row.severity >= 50,
        ),
        ("sensor=humidity", lambda row: '"name": "humidity"' in row.verdict and leads(row, "humidity")),
        ("min_severity=97.5&sensor=noise", lambda row: row.severity >= 97.5 and leads(row, "noise")),
        ("station_id=nobody", lambda row: False),
    ],
)
def test_filters_give_exactly_what_they_say(
    api: FlaskClient, stored: list[AnomalyRow], query: str, keep: object
) -> None:
    """Breaks when a filter drops at a page's edge, or lets another row through."""
    found = [row["id"] for row in walked(api, f"/api/v1/anomalies?time_range=13d&page_size=200&{query}", "anomalies")]
    assert found == ids([row for row in stored if keep(row)])  # type: ignore[operator]


def leads(row: AnomalyRow, sensor: str) -> bool:
    shares = json.loads(row.verdict)["sensors"]
    return max(shares, key=lambda share: share["contribution"])["name"] == sensor


def test_an_interval_is_half_open_and_echoed(api: FlaskClient, stored: list[AnomalyRow]) -> None:
    """Breaks when an edge is taken twice or never, or the answer does not say what it is about."""
    start, end = NOW_MS - 7 * HOUR_MS, NOW_MS - 5 * HOUR_MS
    for low, high in ((start, end), (start + 1, end + 1)):
        path = f"/api/v1/anomalies?start={rfc3339(low)}&end={rfc3339(high)}&page_size=1000"
        assert [row["id"] for row in walked(api, path, "anomalies")] == ids(
            [row for row in stored if low <= row.event_ms < high]
        )
        answer = api.get(path).get_json()
        assert (answer["start"], answer["end"]) == (rfc3339(low), rfc3339(high))


def test_one_anomaly_has_the_contracts_shape(api: FlaskClient, stored: list[AnomalyRow]) -> None:
    """Breaks when an id does not lead to its anomaly, a field goes astray, or an unknown id is not 404."""
    row = stored[0]
    found = api.get(f"/api/v1/anomalies/{anomaly_id(*row[:3])}").get_json()
    assert (found["station_id"], found["event_time"], found["seq"]) == (row.station_id, rfc3339(row.event_ms), row.seq)
    assert (found["is_anomaly"], found["threshold"], found["state"]) == (True, 1.0, "stable")
    assert found["model"] == {"name": "station-detector", "version": "7"}
    assert found["feedback"] is None
    for other in (anomaly_id("nobody", row.event_ms, 1), "x", "%00", "A" * 900, anomaly_id(*row[:3]) + "="):
        assert api.get(f"/api/v1/anomalies/{other}").status_code == 404


@pytest.mark.parametrize("path", ["anomalies", "anomalies?station_id=station-0001&time_range=12d"])
def test_a_token_is_nobody_elses(api: FlaskClient, stored: list[AnomalyRow], path: str) -> None:
    """Breaks when a token that was changed, or made for other filters, is followed."""
    joint = "&" if "?" in path else "?"
    token = api.get(f"/api/v1/{path}{joint}page_size=1").get_json()["next_page_token"]
    assert api.get(f"/api/v1/{path}{joint}page_size=7&page_token={token}").status_code == 200
    # Some of the last characters spell the same signature: base64 leaves two bits of it open.
    respelled = [token[:-1] + last for last in string.ascii_letters + string.digits + "-_" if last != token[-1]]
    for bad in (*respelled, "x" + token, token.swapcase(), "x", "a.b", "", token + "&min_severity=5"):
        answer = api.get(f"/api/v1/{path}{joint}page_token={bad}")
        assert (answer.status_code, answer.mimetype) == (400, "application/problem+json"), bad


@pytest.mark.parametrize(
    ("query", "pointer"),
    [
        ("time_range=1h&start=2026-11-21T10:00:00Z", "/query/start"),
        ("time_range=1h&end=2026-11-21T10:00:00Z", "/query/end"),
        ("end=2026-11-21T10:00:00Z", "/query/start"),
        ("start=2026-11-21T10:00:00Z&end=2026-11-21T10:00:00Z", "/query/start"),
        ("start=2026-01-01T10:00:00Z&end=2026-11-21T10:00:00Z", "/query/start"),
        ("start=2026-11-21", "/query/start"),
        ("start=1900-01-01T00:00:00Z", "/query/start"),
        ("sensor=latency", "/query/sensor"),
        ("min_severity=101", "/query/min_severity"),
        ("min_severity=nan", "/query/min_severity"),
        ("station_id=a%20b", "/query/station_id"),
        ("page_size=1001", "/query/page_size"),
        ("limit=5", "/query/limit"),
    ],
)
def test_bad_parameters_are_named(api: FlaskClient, query: str, pointer: str) -> None:
    """Breaks when a parameter that means nothing is ignored or explained under another name."""
    answer = api.get(f"/api/v1/anomalies?{query}")
    assert answer.status_code == 422
    assert pointer in {error["pointer"] for error in answer.get_json()["errors"]}


def test_an_answer_that_is_held_already_is_not_sent_again(api: FlaskClient, stored: list[AnomalyRow]) -> None:
    """Breaks when a read has no ETag, or 304 is answered for other bytes."""
    path = f"/api/v1/anomalies/{anomaly_id(*stored[5][:3])}"
    first = api.get(path)
    again = api.get(path, headers={"If-None-Match": first.headers["ETag"]})
    assert (again.status_code, again.data) == (304, b"")
    assert api.get(path, headers={"If-None-Match": '"other"'}).status_code == 200
