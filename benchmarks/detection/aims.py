"""What the detector aims at, and where it stands: from the tables of a full run."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from benchmarks.detection.tables import markdown, number, percent

_FLAVOURS = {"simulator": ("plain", 0.88), "hard": ("hard", 0.72)}
_SURE, _SURE_RECALL = ("stuck", "dropout", "noise_burst"), 0.98
_DECORRELATION, _DECORRELATION_SIZES = 0.75, ("4", "6", "10")
_ALARMS_A_DAY, _CLEAN_FLAGGED, _FACTOR = 1.0, 0.002, 2.0
_AUC, _WINDOWS, _ALARMS_A_MONTH = 0.67, 91, 5.0

Aim = tuple[str, str, str, bool]


def aims_table(parts: dict[str, Any], name: str) -> str:
    """One line per aim whose part was measured: what it is, what was reached, whether that is enough."""
    rows = [(what, aim, reached, "yes" if good else "**no**") for what, aim, reached, good in _aims(parts, name)]
    return markdown(("", "aim", "reached", "met"), rows)


def _aims(parts: dict[str, Any], name: str) -> Iterator[Aim]:
    for part, (flavour, least) in _FLAVOURS.items():
        if part in parts:
            yield from _plant_aims(parts[part]["tables"][name], flavour, least)
    if "calibration" in parts:
        ratios = [cell["over_budget"] for cell in parts["calibration"]["tables"][name]]
        reached = f"{min(ratios):.2f} to {max(ratios):.2f}"
        good = min(ratios) >= 1.0 / _FACTOR and max(ratios) <= _FACTOR
        yield "false alarms over budget, all cadences and lengths of training", "within a factor 2", reached, good
    if "nab" in parts:
        table = parts["nab"]["tables"][name]
        found, alarms = table["windows_found"], table["false_alarms_per_30_days"]
        yield "NAB: point AUC", f"≥ {_AUC}", number(table["auc"]), table["auc"] >= _AUC
        yield (
            "NAB: windows found by its own flags",
            f"≥ {_WINDOWS} of 110 at ≤ {_ALARMS_A_MONTH:g} false alarms in 30 days",
            f"{found} at {alarms:.1f}",
            found >= _WINDOWS and alarms <= _ALARMS_A_MONTH,
        )


def _plant_aims(table: dict[str, Any], flavour: str, least: float) -> Iterator[Aim]:
    recall, alarms = table["whole"]["recall"], table["false_alarms"]
    a_day, flagged = alarms["per_station_day"], alarms["clean_flagged"]
    yield f"{flavour}: recall over all kinds and sizes", f"≥ {least}", number(recall), recall >= least
    yield (
        f"{flavour}: false alarm episodes per station and day",
        f"≤ {_ALARMS_A_DAY:g}",
        number(a_day, 2),
        a_day <= _ALARMS_A_DAY,
    )
    yield (
        f"{flavour}: clean readings flagged",
        f"≤ {percent(_CLEAN_FLAGGED)}",
        percent(flagged),
        (flagged <= _CLEAN_FLAGGED),
    )
    sure = [table["kinds"][kind]["recall"] for kind in _SURE]
    reached = ", ".join(number(recall) for recall in sure)
    yield f"{flavour}: stuck, dropout, noise burst", f"≥ {_SURE_RECALL}", reached, min(sure) >= _SURE_RECALL
    cells = [table["cells"]["decorrelation"][size] for size in _DECORRELATION_SIZES]
    found = sum(cell["recall"] * cell["faults"] for cell in cells) / sum(cell["faults"] for cell in cells)
    yield f"{flavour}: decorrelation of 4 σ and more", f"≥ {_DECORRELATION}", number(found), found >= _DECORRELATION
