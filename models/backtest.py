"""Judge a history as the stream would have: `python -m models.backtest --readings IN.csv --sensors a,b --train-rows N`.

The first readings of each station train one pooled model; every row is judged, each by what arrived before it.
"""

from __future__ import annotations

import argparse
import csv
import sys
from datetime import datetime
from functools import partial
from pathlib import Path

from tqdm import tqdm

from core.errors import StationwatchError
from core.process import UNUSABLE, Command, run_command
from core.settings import load_settings
from models.evaluation.backtest import TRAINING, Backtest, backtest, first_readings, readings_before, sensors_of
from models.evaluation.backtest_file import SUFFIXES, check_out, write_verdicts
from models.evaluation.evaluation import Labels
from models.evaluation.recorded_history import Recorded, read_recorded
from models.files.reading_table import milliseconds
from models.kernels.alarm_budget import episodes_per_day
from models.scoring.history import History


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of a backtest."""
    parser.add_argument(
        "--readings", type=Path, required=True, help="history in order of arrival: CSV (also gzipped) or Parquet"
    )
    parser.add_argument("--sensors", type=_names, required=True, help="columns that are sensors: a,b,c")
    parser.add_argument("--out", type=Path, required=True, help="verdicts, a row per row: .csv or .parquet")
    parser.add_argument("--train-rows", type=_count, metavar="N", help="train on the first N readings of each station")
    parser.add_argument(
        "--train-until", type=_moment, metavar="TIME", help="train on the readings before TIME; wins over --train-rows"
    )
    parser.add_argument(
        "--labels", type=Path, help="known faults: station, sensor, kind, start, end, magnitude; figures are printed"
    )
    parser.add_argument("--report", type=Path, help="a page to look at: REPORT.html")
    parser.add_argument(
        "--false-alarm-budget",
        type=_positive,
        metavar="B",
        help="false alarm episodes per station and day to aim at, at one reading a minute; default: the setting. "
        "Beyond one a minute it grows with the rate to the power 0.4, below it shrinks with the rate",
    )
    parser.add_argument("--catalogue", help="units and plausible ranges: JSON, or the path of a file that holds it")
    parser.add_argument("--trees", type=_count, help="of the Isolation Forest; default: the setting")
    parser.add_argument("--seed", type=_count, default=7, help="of everything that is drawn")


def run(options: argparse.Namespace) -> int:
    """Judge every row and write the verdicts."""
    if options.train_rows is None and options.train_until is None:
        raise StationwatchError("say which readings train: --train-rows N or --train-until TIME")
    try:
        return _run(options)
    except OSError as error:
        raise StationwatchError(str(error)) from error


def _run(options: argparse.Namespace) -> int:
    settings = load_settings(**({"sensors": options.catalogue} if options.catalogue else {}))
    check_out("--out", options.out, SUFFIXES, options.readings)
    if options.report is not None:
        check_out("--report", options.report, (".html",), options.readings)
    sensors = sensors_of(options.sensors, settings.sensors if options.catalogue else ())
    recorded = read_recorded(options.readings, options.sensors)
    history = recorded.history
    labels = _labels(options.labels, history)
    if options.train_until is None:
        training = first_readings(history, options.train_rows)
    else:
        training = readings_before(history, options.train_until)
    _say(f"{len(history)} readings of {len(set(history.station_ids))} stations; {int(training.sum())} train")
    with tqdm(total=len(history), unit=" readings", disable=None, desc="judged") as bar:
        result = backtest(
            history,
            training,
            sensors,
            budget=options.false_alarm_budget or settings.false_alarm_budget,
            trees=options.trees or settings.forest_trees,
            seed=options.seed,
            progress=bar.update,
        )
    for note in result.notes:
        _say(f"note: {note}")
    write_verdicts(options.out, recorded, result)
    _say(_summary(result))
    if labels is not None or options.report is not None:
        _tell(options, recorded, result, labels)
    return 0


def _labels(path: Path | None, history: History) -> Labels | None:
    if path is None:
        return None
    from models.evaluation.labels_file import read_labels

    found = read_labels(path, list(dict.fromkeys(history.station_ids)))
    if found.strangers:
        _say(f"note: {found.strangers} labels belong to stations without readings and do not count")
    return found.labels


def _tell(options: argparse.Namespace, recorded: Recorded, result: Backtest, labels: Labels | None) -> None:
    # Imported here: drawing takes a second to load, and most runs do not draw.
    from models.evaluation.backtest_report import Subject, write_report
    from models.evaluation.backtest_tables import as_text, tabulate

    tables = tabulate(recorded.history, result, labels)
    if labels is not None:
        print(as_text(tables))
    if options.report is not None:
        facts = {
            "readings": options.readings.name,
            "sensors": ", ".join(options.sensors),
            "stations": str(len(tables.stations)),
            "training readings": str(int((result.state == TRAINING).sum())),
            "seed": str(options.seed),
        }
        write_report(options.report, Subject(recorded, options.sensors, result, labels, tables, facts))


def _summary(result: Backtest) -> str:
    flagged = int(result.flagged.sum())
    cadence = result.model.prior.cadence
    daily = episodes_per_day(result.model.detector.spec.budget, cadence)
    return (
        f"{flagged} of {len(result.score)} rows are anomalies; limits aim at no more than {daily:.2g} false alarm "
        f"episodes per station and day, at a reading every {cadence:g} s"
    )


def _say(text: str) -> None:
    print(text, file=sys.stderr)


def _names(text: str) -> tuple[str, ...]:
    names = tuple(name.strip() for name in next(csv.reader([text]), []))
    if not names or "" in names:
        raise argparse.ArgumentTypeError(f"{text!r}: expected names of columns, separated by commas")
    return names


def _count(text: str) -> int:
    if not text.isascii() or not text.isdigit():
        raise argparse.ArgumentTypeError(f"{text!r}: expected a whole number, 0 or more")
    return int(text)


def _positive(text: str) -> float:
    try:
        number = float(text)
    except ValueError:
        number = 0.0
    if not 0 < number < float("inf"):
        raise argparse.ArgumentTypeError(f"{text!r}: expected a number above 0")
    return number


def _moment(text: str) -> int:
    moment = milliseconds(text)
    if moment is None:
        raise argparse.ArgumentTypeError(f"{text!r}: expected a time such as {datetime(2026, 11, 21).isoformat()}Z")
    return moment


COMMAND = Command("backtest", "judge a history as the stream would have", run, add_arguments, __doc__, UNUSABLE)
main = partial(run_command, COMMAND, "python -m models.backtest", __doc__)


if __name__ == "__main__":
    sys.exit(main())
