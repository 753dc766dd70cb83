"""The gates: what a challenger must show before it may judge. Pure, on the plant's own recent readings.

State knows no model, so the readings run through one state, and champion and challenger judge the same blocks. Each
gate gives its figures and one sentence, whether it is passed or not; a gate that cannot be asked is not passed.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

import msgspec
import numpy as np

from core.sensors import Sensor
from core.verdict import Verdicts
from models.evaluation.evaluation import MARGIN, Outcome, evaluate
from models.evaluation.fault_injection import Injected, inject
from models.evaluation.fault_models import KINDS
from models.evaluation.scored_rows import Rows, Scored
from models.kernels.alarm_budget import episodes_per_day
from models.scoring.detector import Detector
from models.scoring.feature_block import Blocks
from models.scoring.history import History
from models.scoring.shard_state import ShardState
from models.scoring.station_prior import Prior

_CHUNK = 50_000
_COST_ROWS, _COST_TURNS = 20_000, 5


class Limits(msgspec.Struct, frozen=True):
    """What the gates ask.

    Args:
        budget_factor: false alarms on normal readings may be so many times what the budget promises.
        recall_margin: share of a kind's faults that the challenger may miss and the champion finds.
        cost_ratio: judging a reading may take so many times the champion's processor time.
        normal_flagged: share of normal readings that may be flagged.
        gross_found: share of the faults of ten sigma that must be found, unless the champion finds no more.
        seeds: how often faults are drawn.
        least_faults: of a kind, below which its recall says nothing.
        least_readings: below which no gate is asked.
    """

    budget_factor: float = 2.0
    recall_margin: float = 0.05
    cost_ratio: float = 1.5
    normal_flagged: float = 0.02
    gross_found: float = 0.7
    seeds: int = 3
    least_faults: int = 8
    least_readings: int = 2000


class Gate(msgspec.Struct, frozen=True):
    """One gate: its name, whether it is passed, why, and on which figures."""

    name: str
    passed: bool
    reason: str
    figures: dict[str, float] = {}


class GateReport(msgspec.Struct, frozen=True):
    """All gates of one examination.

    Args:
        gates: in the order they were asked.
        limits: what they asked.
        readings, stations: what they were asked on.
    """

    gates: tuple[Gate, ...]
    limits: Limits
    readings: int
    stations: int

    @property
    def passed(self) -> bool:
        """Whether the challenger may judge."""
        return bool(self.gates) and all(gate.passed for gate in self.gates)

    @property
    def reason(self) -> str:
        """One sentence: why not, or that all is well."""
        failed = [gate for gate in self.gates if not gate.passed]
        if not failed:
            return f"all {len(self.gates)} gates are passed on {self.readings} readings of {self.stations} stations"
        return "; ".join(f"{gate.name}: {gate.reason}" for gate in failed)

    def to_json(self) -> bytes:
        """Return the report as JSON, `passed` and `reason` included."""
        document = msgspec.to_builtins(self) | {"passed": self.passed, "reason": self.reason}
        return msgspec.json.encode(document, order="sorted")


@dataclass(frozen=True)
class Exam:
    """What the gates are asked on.

    Args:
        history: recent readings in arrival order, whole stretches of stations, without duplicates.
        sensors: the catalogue.
        prior: the stream's.
        confirmed: (n,) bool, readings that people called anomalies; they count nowhere as normal. None is none.
    """

    history: History
    sensors: tuple[Sensor, ...]
    prior: Prior
    confirmed: np.ndarray | None = None


def judge_challenger(
    champion: Detector,
    challenger: Detector,
    exam: Exam,
    *,
    seed: int,
    limits: Limits | None = None,
    clock: Callable[[], float] = time.process_time,
) -> GateReport:
    """Ask all gates.

    Args:
        champion: who judges today.
        challenger: who wants to.
        exam: what they are compared on.
        seed: of the injected faults.
        limits: what the gates ask.
        clock: processor time, s.
    """
    limits = limits or Limits()
    history, stations = exam.history, len(set(exam.history.station_ids))

    def report(*gates: Gate) -> GateReport:
        return GateReport(gates, limits, len(history), stations)

    same = _same_sensors(champion, challenger)
    if not same.passed:
        return report(same)
    if len(history) < limits.least_readings:
        return report(same, _too_little(len(history), limits))
    blocks = _blocks(history, exam)
    both = champion.judge(blocks, history.station_ids), challenger.judge(blocks, history.station_ids)
    normal = _normal(both[0], exam)
    if normal.sum() < limits.least_readings:
        return report(same, _too_little(int(normal.sum()), limits))
    injected = [inject(history, np.random.default_rng([seed, number])) for number in range(limits.seeds)]
    outcomes = [_outcomes(one, champion, challenger, exam) for one in injected]
    return report(
        same,
        _sane(both[1], normal, outcomes, limits),
        _false_alarms(both, normal, exam, challenger.spec.budget, limits),
        _recall(outcomes, limits),
        _cost(champion, challenger, blocks, limits, clock),
    )


def _too_little(readings: int, limits: Limits) -> Gate:
    said = f"{readings} recent normal readings are too few to compare two versions; {limits.least_readings} are needed"
    return Gate("history", False, said, {"readings": float(readings)})


def _same_sensors(champion: Detector, challenger: Detector) -> Gate:
    old, new = champion.spec.sensors, challenger.spec.sensors
    same = set(old) <= set(new)
    missing = ", ".join(name for name in old if name not in new)
    said = f"knows {', '.join(new)}" if same else f"does not know {missing}, which the champion judges"
    return Gate("features", same, said, {"sensors": float(len(new)), "champion_sensors": float(len(old))})


def _blocks(history: History, exam: Exam) -> Blocks:
    state = ShardState(exam.sensors, exam.prior)
    parts = [state.take(part).blocks for part in history.parts(_CHUNK)]
    return Blocks(parts[0].sensors, np.concatenate([part.rows for part in parts]))


def _normal(champion: Verdicts, exam: Exam) -> np.ndarray:
    """Return rows that pass for normal, (n,) bool.

    The champion flags nothing near them and nobody called them abnormal. Where the champion flags half of what it sees
    it is no witness: everything that people did not confirm passes for normal then.
    """
    confirmed = exam.confirmed if exam.confirmed is not None else np.zeros(len(exam.history), bool)
    near = np.zeros(len(confirmed), bool)
    for rows in exam.history.by_station():
        flagged = (champion.is_anomaly | confirmed)[rows]
        reach = np.convolve(flagged, np.ones(2 * MARGIN + 1))[MARGIN : MARGIN + len(rows)]
        near[rows] = reach > 0.5
    return ~near if (~near).mean() >= 0.5 else ~confirmed


def _sane(verdicts: Verdicts, normal: np.ndarray, outcomes: list[tuple[Outcome, Outcome]], limits: Limits) -> Gate:
    """Scores are finite and differ, normal readings stay normal, gross faults do not."""
    score = verdicts.score
    finite = bool(np.isfinite(score).all() and np.isfinite(verdicts.forest).all())
    flagged = float(verdicts.is_anomaly[normal].mean())
    spread = float(np.subtract(*np.quantile(score[normal], [0.9, 0.1]))) if finite else 0.0
    before, found = _gross_found(outcomes)
    problems = [
        *([] if finite else ["some scores are not finite"]),
        *([] if spread > 1e-6 else ["all scores are alike"]),
        *([] if flagged <= limits.normal_flagged else [f"{flagged:.2%} of the normal readings are flagged"]),
        # No gross fault drawn: the recall gate says that there are too few faults. What the champion misses as well is
        # the draw's doing, such as a slow drift in a short stretch.
        *(
            []
            if not found < min(limits.gross_found, before - limits.recall_margin)
            else [f"only {found:.0%} of the faults of ten sigma are found"]
        ),
    ]
    figures = {
        "normal_flagged": flagged, "score_spread": spread, "gross_found": found, "champion_gross_found": before,
    }  # fmt: skip
    said = "; ".join(problems) or f"{flagged:.3%} of the normal readings are flagged, {found:.0%} of the gross faults"
    return Gate("sanity", not problems, said, _finite(figures))


def _gross_found(outcomes: list[tuple[Outcome, Outcome]]) -> tuple[float, float]:
    """Return the shares of the faults of ten sigma that champion and challenger find; NaN when none was drawn."""
    shares = []
    for who in (0, 1):
        gross = np.concatenate([pair[who].found[pair[who].labels.magnitude >= 10.0] for pair in outcomes])
        shares.append(float(gross.mean()) if len(gross) else float("nan"))
    return shares[0], shares[1]


def _false_alarms(
    both: tuple[Verdicts, Verdicts], normal: np.ndarray, exam: Exam, budget: float, limits: Limits
) -> Gate:
    history = exam.history
    counts, days = [], 0.0
    for verdicts in both:
        scored = Scored(history.codes(), history.event_ms, verdicts.score, verdicts.is_anomaly & normal, normal)
        rows = Rows.of(scored, None)
        counts.append(rows.count(rows.flagged))
        days = rows.days(rows.judged)
    promised = episodes_per_day(budget, exam.prior.cadence) * days
    # Two more than twice what is promised: of a short stretch nobody can say better.
    allowed = max(limits.budget_factor * promised + 2.0, float(counts[0]))
    passed = counts[1] <= allowed
    said = (
        f"{counts[1]} false alarm episodes in {days:.2f} station-days, the champion {counts[0]}; "
        f"the budget promises {promised:.1f}, up to {allowed:.1f} are let pass"
    )
    figures = {
        "episodes": float(counts[1]), "champion_episodes": float(counts[0]), "station_days": days, "promised": promised,
        "allowed": allowed,
    }  # fmt: skip
    return Gate("false_alarms", passed, said, figures)


def _outcomes(injected: Injected, champion: Detector, challenger: Detector, exam: Exam) -> tuple[Outcome, Outcome]:
    blocks = _blocks(injected.history, exam)
    codes, times = injected.history.codes(), injected.history.event_ms

    def outcome(detector: Detector) -> Outcome:
        verdicts = detector.judge(blocks, injected.history.station_ids)
        return evaluate(Scored(codes, times, verdicts.score, verdicts.is_anomaly, injected.judged), injected.labels)

    return outcome(champion), outcome(challenger)


def _recall(outcomes: list[tuple[Outcome, Outcome]], limits: Limits) -> Gate:
    figures: dict[str, float] = {}
    worse, few = [], []
    for kind in KINDS:
        found = [np.concatenate([pair[who].found[pair[who].chosen(kind)] for pair in outcomes]) for who in (0, 1)]
        if len(found[0]) < limits.least_faults:
            few.append(f"{len(found[0])} {kind}")
            continue
        old, new = (float(one.mean()) for one in found)
        figures |= {f"{kind}": new, f"champion_{kind}": old}
        if new < old - limits.recall_margin:
            worse.append(f"{kind} {new:.2f} (champion {old:.2f})")
    if few:
        said = f"too few faults fit into these readings ({', '.join(few)}); longer stretches are needed"
        return Gate("recall", False, said, figures)
    said = f"finds fewer: {', '.join(worse)}" if worse else "finds no kind of injected fault less often"
    return Gate("recall", not worse, said, figures)


def _cost(champion: Detector, challenger: Detector, blocks: Blocks, limits: Limits, clock: Callable[[], float]) -> Gate:
    some = blocks.take(np.arange(min(len(blocks.rows), _COST_ROWS)))

    def seconds(detector: Detector) -> float:
        began = clock()
        detector.judge(some)
        return clock() - began

    # In turn, and the best of each: what else the machine does hits both.
    pairs = [(seconds(champion), seconds(challenger)) for _ in range(_COST_TURNS)]
    old, new = (1e6 * min(column) / len(some.rows) for column in zip(*pairs, strict=True))
    ratio = new / old if old > 0.0 else 1.0
    figures = {"microseconds": new, "champion_microseconds": old, "ratio": ratio}
    said = f"{new:.1f} us a reading, the champion {old:.1f} us"
    return Gate("cost", ratio <= limits.cost_ratio, said, figures)


def _finite(figures: dict[str, float]) -> dict[str, float]:
    """JSON knows no NaN."""
    return {name: value for name, value in figures.items() if np.isfinite(value)}
