"""`python -m storage maintenance list|add|remove`: when people worked on a station, so that no training learns it."""

from __future__ import annotations

import argparse
from datetime import UTC, datetime, timedelta

from core.errors import NotFound, StationwatchError
from core.reading import STATION_ID
from storage.driver.session import Store
from storage.tables.model_events import Maintenance, delete_maintenance, maintenance, put_maintenance

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def add_maintenance_arguments(parser: argparse.ArgumentParser) -> None:
    """Add what can be done."""
    parser.set_defaults(wait=20.0)
    actions = parser.add_subparsers(dest="action", required=True)
    actions.add_parser("list", help="print every entry")
    adding = actions.add_parser("add", help="leave a station's readings of a time out of later trainings")
    removing = actions.add_parser("remove", help="take an entry back")
    for one in (adding, removing):
        one.add_argument("station_id", metavar="STATION", type=_station)
        one.add_argument("start_ms", metavar="START", type=_moment, help="event time, such as 2026-11-21T10:15:00Z")
    adding.add_argument("end_ms", metavar="END", type=_moment, help="the first moment that is good again")
    adding.add_argument("--reason", default="", help="for those who read the list")


def keep_maintenance(store: Store, name: str, options: argparse.Namespace) -> list[str]:
    """Do what was asked for; what is to be printed, a line each.

    Args:
        store: where the list is.
        name: of the registered model, whose trainings heed it.
        options: arguments of the command.

    Raises:
        NotFound: an entry to be removed is not there.
        StationwatchError: a time that does not end after it began.
    """
    known = {(entry.station_id, entry.start_ms): entry for entry in maintenance(store, name)}
    if options.action == "list":
        return [_line(entry) for entry in known.values()] or [f"no station of {name} is left out of trainings"]
    if options.action == "remove":
        entry = known.get((options.station_id, options.start_ms))
        if entry is None:
            begun = f"{options.station_id} has no entry that begins at {_shown(options.start_ms)}"
            raise NotFound(f"{begun}; `python -m storage maintenance list` prints what there is")
        delete_maintenance(store, name, entry.station_id, entry.start_ms)
        return [f"removed: {_line(entry)}"]
    if options.start_ms >= options.end_ms:
        raise StationwatchError(f"START {_shown(options.start_ms)} is not before END {_shown(options.end_ms)}")
    entry = Maintenance(options.station_id, options.start_ms, options.end_ms, options.reason)
    put_maintenance(store, name, entry)
    done = "replaced" if (entry.station_id, entry.start_ms) in known else "added"
    return [f"{done}: {_line(entry)}"]


def _line(entry: Maintenance) -> str:
    return f"{entry.station_id} {_shown(entry.start_ms)} {_shown(entry.end_ms)} {entry.reason}".rstrip()


def _station(text: str) -> str:
    if not STATION_ID.fullmatch(text):
        raise argparse.ArgumentTypeError(f"{text!r}: expected a station id of 1 to 64 letters, digits, _ or -")
    return text


def _moment(text: str) -> int:
    """Milliseconds since the epoch of an RFC 3339 time; a time without offset means another moment everywhere."""
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        moment = datetime.min
    if moment.tzinfo is None:
        raise argparse.ArgumentTypeError(f"{text!r}: expected a time with its offset, such as 2026-11-21T10:15:00Z")
    return (moment - _EPOCH) // timedelta(milliseconds=1)


def _shown(time_ms: int) -> str:
    return (_EPOCH + timedelta(milliseconds=time_ms)).isoformat(timespec="milliseconds").replace("+00:00", "Z")
