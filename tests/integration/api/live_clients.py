"""Clients of the stream of anomalies, and the stored rows that it tells of."""

from __future__ import annotations

import http.client
import json
import selectors
import socket
import time
from typing import Any, NamedTuple

from api.services.context import wall_clock_ms
from storage.driver.session import Store
from storage.tables.anomalies import AnomalyRow, write_anomalies
from storage.tables.stream_progress import mark_complete
from tests.waiting import PATIENCE_SECONDS

TOPIC = "readings"


class Told(NamedTuple):
    """One event of the stream."""

    kind: str
    id: str
    data: Any


class Listening:
    """A client of the stream that reads when it is asked to."""

    def __init__(self, port: int, query: str = "", last_id: str | None = None) -> None:
        self._connection = http.client.HTTPConnection("127.0.0.1", port, timeout=PATIENCE_SECONDS)
        headers = {"Last-Event-ID": last_id} if last_id is not None else {}
        self._connection.request("GET", f"/api/v1/anomalies/stream{query}", headers=headers)
        self.answer = self._connection.getresponse()
        self.last_id = last_id

    def until(self, *kinds: str, times: int = 1) -> list[Told]:
        """Read until so many events of these kinds have come, and return those."""
        found: list[Told] = []
        end = time.monotonic() + PATIENCE_SECONDS
        while len(found) < times:
            assert time.monotonic() < end, found
            told = self._next()
            if told.kind in kinds:
                found.append(told)
        return found

    def offsets(self, times: int) -> list[int]:
        """Read so many anomalies; their seq, which equals the offset here."""
        return [told.data["seq"] for told in self.until("anomaly", times=times)]

    def to_the_end(self) -> list[Told]:
        """Read until the server closes."""
        found = []
        while True:
            try:
                found.append(self._next())
            except EOFError:
                return found

    def close(self) -> None:
        self.answer.close()
        self._connection.close()

    def _next(self) -> Told:
        kind, data = "", ""
        while True:
            line = self.answer.readline().decode()
            if not line:
                raise EOFError
            name, _, value = line.rstrip("\n").partition(": ")
            if line == "\n" and kind:
                return Told(kind, self.last_id or "", json.loads(data))
            kind = value if name == "event" else kind
            data = value if name == "data" else data
            self.last_id = value if name == "id" else self.last_id


class Plant:
    """What a stream would store."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self.ends = {0: 0, 1: 0}

    def arrive(self, partition: int, times: int, record_ms: int | None = None, **changes: Any) -> list[int]:
        """Store so many anomalies of one batch, and say that it is complete. Returns their offsets."""
        rows = self.begin(partition, times, record_ms, **changes)
        self.complete(partition)
        return rows

    def begin(self, partition: int, times: int, record_ms: int | None = None, **changes: Any) -> list[int]:
        """Store anomalies, each third offset one, and leave the batch incomplete."""
        now = wall_clock_ms() if record_ms is None else record_ms
        first = self.ends[partition]
        offsets = [first + 3 * at for at in range(times)]
        self.ends[partition] = first + 3 * times
        verdict = json.dumps({"explanation": "much too hot", "sensors": [], "witnesses": []})
        rows = [
            AnomalyRow(
                f"station-{partition}", now, offset, {"temperature": 41.2}, 1.9, 82.4, 1, verdict, offset, b"b",
                3, partition, offset, now, now, now,
            )._replace(**changes)
            for offset in offsets
        ]  # fmt: skip
        write_anomalies(self._store, rows)
        return offsets

    def complete(self, partition: int) -> None:
        """Say that everything begun is stored."""
        mark_complete(self._store, TOPIC, {partition: self.ends[partition]}, 3)


class Heard:
    """Reads from many sockets at once and counts."""

    def __init__(self, sockets: list[socket.socket]) -> None:
        self._texts = {one: b"" for one in sockets}
        self._selector = selectors.DefaultSelector()
        for one in sockets:
            self._selector.register(one, selectors.EVENT_READ)

    def until(self, what: bytes, times: int) -> None:
        """Read until every socket has had so many of these."""
        end = time.monotonic() + PATIENCE_SECONDS
        waiting = {one for one, text in self._texts.items() if text.count(what) < times}
        while waiting:
            assert time.monotonic() < end, sorted(self._texts[one].count(what) for one in waiting)[:5]
            for key, _ in self._selector.select(0.5):
                one = key.fileobj
                assert isinstance(one, socket.socket)
                self._texts[one] += one.recv(1 << 20)
                if self._texts[one].count(what) >= times:
                    waiting.discard(one)

    def leave(self, number: int) -> None:
        """Close so many of the sockets."""
        for one in list(self._texts)[:number]:
            self._selector.unregister(one)
            del self._texts[one]
            one.close()


def listen_plainly(port: int, receive_bytes: int | None = None) -> socket.socket:
    """Ask for the stream, and read nothing yet."""
    one = socket.socket()
    if receive_bytes:
        one.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_bytes)
    one.settimeout(PATIENCE_SECONDS)
    one.connect(("127.0.0.1", port))
    one.sendall(b"GET /api/v1/anomalies/stream HTTP/1.1\r\nHost: localhost\r\n\r\n")
    return one
