"""`docs/detection.md`: the tables of the last full run of each part, with date and commit."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from benchmarks.detection import tables
from benchmarks.detection.aims import aims_table
from core.episodes import AGAIN, GAP
from models.evaluation.evaluation import GRACE, MARGIN

OURS, REFERENCE = "stationwatch", "reference forest"
_SHORT, _GRACE = " or a ".join(GRACE), max(GRACE.values())
_HEAD = f"""# How good the detector is

This page is written by `make bench-detection` (`python -m benchmarks.detection`); every figure below comes from it.

- A **false alarm** is an episode on clean readings: flagged readings of one station at most {GAP} readings apart,
  counted again every {AGAIN} readings while it stays on. Clean is what lies neither in a fault nor in the {MARGIN}
  readings behind one; alarms in those {MARGIN} are the **aftermath**, reported beside it.
- A fault is **found** when a reading of its span is flagged. Only a {_SHORT} of one to three readings may be
  confirmed up to {_GRACE} readings later.
- **Net of chance** takes off what alarms of the same frequency hit by luck: the share of fault-free stretches of the
  same length that hold one; (recall − chance) / (1 − chance). Aftermath counts as luck here: an alarm that is always
  late earns nothing.
- **Score alone** is the recall of a threshold on the score, set so that clean readings give one false alarm per station
  and day.
- **Delays** are in readings, medians over the faults found. **AUC** is of single readings, faulty against clean.

Beside stationwatch stand the reference (scikit-learn's Isolation Forest, 1000 trees, contamination 0.00125, on scaled
raw values; it knows no missing values and takes the mean for them), EWMA 3 sigma (weight 0.05), and flags at random,
as many as the budget promises false alarms. The plants of this page are not those the detector was tuned on."""
_SIMULATED = """
20 stations for 10 days at a reading a minute, 3 days of training, then faults of 8 kinds (lengths as in the live
simulator, one sensor each), 4 to 8 hours of healthy readings between two of a station. {seeds} plants, {faults}
faults."""
_HARD = """
As above, with t-distributed noise (4 degrees of freedom), levels that move from day to day, and doors that open."""
_NAB = """
{series} series of the Numenta Anomaly Benchmark, each a station of its own that learns from its first 15 % (at most 750
rows), which are not judged. The score is NAB's standard profile by its formulas: 0 for silence, 100 for flagging the
first row of each window and nothing else. *One threshold* is the best one on the score over all series, *own flags*
takes the detector's. There is no onset accent in the score: NAB pays for the first flagged row of a window and charges
each flagged row outside, so a score that stays high while something lasts earns little there."""
_CALIBRATION = """
Plants of 20 stations without any fault. Realised false alarms over what the budget promises, in brackets how many they
are. The budget is one episode per station and day at a reading a minute; below that it shrinks with the rate, above it
grows with the rate's root. What limits this: 200 readings at 1 s are three minutes, in which a plant with doors
(hard) and one without (plain) look alike, yet the one then raises several times as many alarms as the other. Limits
wide enough for doors make the plain plant quieter than promised; docs/decisions/witnesses.md has the trade-off."""
_ABLATION = """
The detector without one of its parts ({seeds} plant of each flavour, 100 trees; NAB at one threshold). Recall / false
alarms per station and day / recall of the score alone."""


def page(parts: dict[str, Any]) -> str:
    """Return the page of what was measured so far."""
    return "\n\n".join([_HEAD, *(section for make in _SECTIONS for section in make(parts))]) + "\n"


def _aims(parts: dict[str, Any]) -> Iterator[str]:
    yield "## Aims"
    yield aims_table(parts, OURS)


def _plants(name: str, title: str, text: str) -> Callable[[dict[str, Any]], Iterator[str]]:
    def sections(parts: dict[str, Any]) -> Iterator[str]:
        if name not in parts:
            return
        part = parts[name]
        ours = part["tables"][OURS]
        yield f"## {title}"
        yield (text.format(seeds=part["seeds"], faults=ours["whole"]["faults"]).strip() + f" {_made(part)}")
        yield tables.whole_table(part["tables"])
        yield "Recall per kind, own flags / score alone:"
        yield tables.kind_table(part["tables"])
        yield "stationwatch, recall per kind and size:"
        yield tables.cell_table(ours)
        yield "stationwatch, the trade-off: recall of the score alone at so many false alarms per station and day:"
        yield tables.curve_table(part["curve"])

    return sections


def _nab(parts: dict[str, Any]) -> Iterator[str]:
    if "nab" in parts:
        part = parts["nab"]
        yield "## Labelled public series"
        yield _NAB.format(series=part["tables"][OURS]["series"]).strip() + f" {_made(part)}"
        yield tables.nab_table(part["tables"])


def _calibration(parts: dict[str, Any]) -> Iterator[str]:
    if "calibration" in parts:
        yield "## False alarms over budget"
        yield _CALIBRATION.strip() + f" {_made(parts['calibration'])}"
        yield tables.calibration_table(parts["calibration"]["tables"])


def _ablation(parts: dict[str, Any]) -> Iterator[str]:
    if "ablation" in parts:
        part = parts["ablation"]
        yield "## What each part is worth"
        yield _ABLATION.format(seeds=part["seeds"]).strip() + f" {_made(part)}"
        yield tables.ablation_table(part["tables"])


def _made(part: dict[str, Any]) -> str:
    return f"({part['date']}, commit {part['commit']}.)"


_SECTIONS = (
    _aims,
    _plants("simulator", "Simulated faults, plain plant", _SIMULATED),
    _plants("hard", "Simulated faults, hard plant", _HARD),
    _nab,
    _calibration,
    _ablation,
)
