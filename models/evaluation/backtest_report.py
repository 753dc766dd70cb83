"""The report of a backtest: one page that holds all it shows, and can be mailed."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jinja2 import Environment, PackageLoader, StrictUndefined

from models.evaluation.backtest import DUPLICATE, TRAINING, Backtest
from models.evaluation.backtest_plots import SENSORS_SHOWN, Series, picture
from models.evaluation.backtest_tables import Tables
from models.evaluation.evaluation import Labels
from models.evaluation.recorded_history import Recorded

STATIONS_DRAWN = 12
STATIONS_LISTED = 200


@dataclass(frozen=True)
class Subject:
    """What a report is about.

    Args:
        recorded: the history.
        columns: of its sensors, as people call them.
        result: what was said of it.
        labels: known faults, or None.
        tables: the figures.
        facts: name → text, shown at the head: file, seed and so on.
    """

    recorded: Recorded
    columns: tuple[str, ...]
    result: Backtest
    labels: Labels | None
    tables: Tables
    facts: dict[str, str]


def write_report(path: Path, subject: Subject) -> None:
    """Write the page. It appears whole or not at all."""
    # Ids and names of columns are somebody's: they are escaped everywhere.
    environment = Environment(
        loader=PackageLoader("models.evaluation"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["number"] = _number
    environment.filters["share"] = _share
    stations = subject.tables.stations
    page = environment.get_template("backtest.html").render(
        subject=subject,
        tables=subject.tables,
        outcome=subject.tables.outcome,
        flagged=int(subject.result.flagged.sum()),
        rows=len(subject.result.score),
        judged=sum(station.readings for station in stations),
        listed=stations[:STATIONS_LISTED],
        drawn=[(station, picture(series)) for station, series in _series(subject)],
        hidden_sensors=max(0, len(subject.columns) - SENSORS_SHOWN),
        shown_sensors=SENSORS_SHOWN,
    )
    unfinished = path.with_name(f".{path.name}.part")
    try:
        unfinished.write_text(page, encoding="utf-8")
        unfinished.replace(path)
    finally:
        unfinished.unlink(missing_ok=True)


def _series(subject: Subject) -> list[tuple[str, Series]]:
    history, result, labels = subject.recorded.history, subject.result, subject.labels
    codes = history.codes()
    found = []
    for station in subject.tables.stations[:STATIONS_DRAWN]:
        rows = np.flatnonzero((codes == station.place) & (result.state != DUPLICATE))
        rows = rows[np.argsort(history.event_ms[rows], kind="stable")]
        trained = history.event_ms[rows[result.state[rows] == TRAINING]]
        faults = [] if labels is None else np.flatnonzero(labels.station == station.place).tolist()
        series = Series(
            time_ms=history.event_ms[rows],
            values={name: history.values[rows, place] for place, name in enumerate(subject.columns)},
            score=result.score[rows],
            flagged=result.flagged[rows],
            trained_to=int(trained.max()) if len(trained) else None,
            faults=[] if labels is None else [(int(labels.start_ms[f]), int(labels.end_ms[f])) for f in faults],
        )
        found.append((station.station_id, series))
    return found


def _number(value: float | int | None) -> str:
    """Format for people: three digits, a dash for what is not known."""
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return "–"
    if isinstance(value, int):
        return f"{value:,}".replace(",", "\u202f")
    return f"{value:.3g}" if abs(value) < 1000 else f"{value:,.0f}".replace(",", "\u202f")


def _share(value: float) -> str:
    return "–" if math.isnan(value) else f"{100.0 * value:.3g} %"
