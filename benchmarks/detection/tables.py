"""The tables: as text for the terminal and as Markdown for the docs, from the same plain numbers."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Any

from benchmarks.detection.simulator import MAGNITUDES, SIZELESS
from models.evaluation.fault_models import KINDS

Cells = Sequence[str]


def markdown(head: Cells, rows: Iterable[Cells]) -> str:
    """Return a Markdown table whose columns line up, also when read as text."""
    body = [list(head), *(list(row) for row in rows)]
    width = [max(3, *(len(row[column]) for row in body)) for column in range(len(head))]
    lines = ["| " + " | ".join(cell.ljust(size) for cell, size in zip(row, width, strict=True)) + " |" for row in body]
    rule = "|" + "|".join("-" * (size + 2) for size in width) + "|"
    return "\n".join([lines[0], rule, *lines[1:]])


def whole_table(part: dict[str, dict[str, Any]]) -> str:
    """One line per detector: the simulator's figures over all kinds and magnitudes."""
    head = (
        "detector", "recall", "net of chance", "score alone", "false alarms / station-day", "clean flagged",
        "aftermath alarms / fault", "median delay", "AUC",
    )  # fmt: skip
    return markdown(head, [(name, *_whole(table)) for name, table in part.items()])


def _whole(table: dict[str, Any]) -> Cells:
    whole, alarms = table["whole"], table["false_alarms"]
    return (
        number(whole["recall"]),
        number(whole["net_recall"]),
        number(whole["score_recall"]),
        number(alarms["per_station_day"], 2),
        percent(alarms["clean_flagged"]),
        number(alarms["aftermath_alarms"], 2),
        number(whole["median_delay"], 0),
        number(whole["auc"]),
    )


def kind_table(part: dict[str, dict[str, Any]]) -> str:
    """One line per detector: recall per kind of fault, and by the score alone behind the stroke."""
    rows = []
    for name, table in part.items():
        kinds = (table["kinds"][kind] for kind in KINDS)
        rows.append((name, *(f"{number(kind['recall'], 2)} / {number(kind['score_recall'], 2)}" for kind in kinds)))
    return markdown(("detector", *(kind.replace("_", " ") for kind in KINDS)), rows)


def cell_table(table: dict[str, Any]) -> str:
    """One line per kind: recall per magnitude, net of chance, and the median delay in readings."""
    rows = []
    for kind in KINDS:
        whole = table["kinds"][kind]
        cells = [table["cells"][kind][f"{size:g}"] for size in MAGNITUDES] if kind not in SIZELESS else []
        recalls = [number(cell["recall"], 2) for cell in cells] or ["any size", *[""] * (len(MAGNITUDES) - 1)]
        rest = (whole["recall"], whole["net_recall"], whole["score_recall"])
        rows.append(
            (kind.replace("_", " "), *recalls, *(number(one, 2) for one in rest), number(whole["median_delay"], 0))
        )
    sizes = (f"{size:g} σ" for size in MAGNITUDES)
    return markdown(("kind", *sizes, "all", "net of chance", "score alone", "median delay"), rows)


def nab_table(part: dict[str, dict[str, Any]]) -> str:
    """One line per detector: NAB's score and what its own flags find."""
    head = (
        "detector", "NAB standard, one threshold", "NAB standard, own flags", "windows found", "false alarms / 30 days",
        "flagged outside", "point AUC", "AUC, mean of series",
    )  # fmt: skip
    rows = [
        (
            name,
            number(table["one_threshold"]["score"], 1),
            number(table["own_flags"]["score"], 1),
            f"{table['windows_found']} of {table['windows']}",
            number(table["false_alarms_per_30_days"], 1),
            percent(table["readings_flagged"]),
            number(table["auc"]),
            number(table["auc_of_series"]),
        )
        for name, table in part.items()
    ]
    return markdown(head, rows)


def calibration_table(part: dict[str, list[dict[str, Any]]]) -> str:
    """One line per detector and cadence: realised false alarms over budget per number of training rows."""
    rows = []
    lengths = sorted({cell["training_rows"] for cells in part.values() for cell in cells})
    for name, cells in part.items():
        for flavour, cadence in dict.fromkeys((cell["flavour"], cell["cadence"]) for cell in cells):
            here = [cell for cell in cells if (cell["flavour"], cell["cadence"]) == (flavour, cadence)]
            ratio = {cell["training_rows"]: f"{cell['over_budget']:.2f} ({cell['false_alarms']})" for cell in here}
            budget = number(here[0]["budget_per_day"], 2)
            rows.append((name, flavour, f"{cadence:g} s", budget, *(ratio.get(length, "") for length in lengths)))
    trained = (f"{length} training rows" for length in lengths)
    return markdown(("detector", "plant", "cadence", "budget / station-day", *trained), rows)


def number(value: float, digits: int = 3) -> str:
    """A figure with fixed digits; a dash where there is none."""
    return "-" if math.isnan(value) else f"{value:.{digits}f}"


def percent(share: float) -> str:
    """A share in percent."""
    return f"{100 * share:.2f} %"


def curve_table(curve: dict[str, float]) -> str:
    """Recall of the score alone per false alarms allowed."""
    return markdown(("false alarms", *curve), [("recall", *(number(recall) for recall in curve.values()))])


def ablation_table(part: dict[str, dict[str, Any]]) -> str:
    """One line per variant: both plants, the two slow kinds, and NAB."""
    head = ("", "hard", "plain", "drift, plain", "decorrelation, plain", "NAB", "NAB point AUC", "NAB windows")
    rows = []
    for name, tables in part.items():
        nab = tables.get("nab")
        rows.append(
            (
                name,
                _three(tables["hard"]),
                _three(tables["simulator"]),
                number(tables["simulator"]["kinds"]["drift"]["recall"], 2),
                number(tables["simulator"]["kinds"]["decorrelation"]["recall"], 2),
                number(nab["one_threshold"]["score"], 1) if nab else "",
                number(nab["auc"]) if nab else "",
                f"{nab['windows_found']} at {nab['false_alarms_per_30_days']:.1f} / 30 days" if nab else "",
            )
        )
    return markdown(head, rows)


def _three(table: dict[str, Any]) -> str:
    whole, alarms = table["whole"], table["false_alarms"]
    return f"{whole['recall']:.3f} / {alarms['per_station_day']:.2f} / {whole['score_recall']:.3f}"
