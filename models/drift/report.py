"""What a drift check found, and what follows from it; stored and shown as JSON."""

from __future__ import annotations

from collections import Counter
from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from core.errors import ArtefactRefused
from models.drift.measures import Bounds

Answer = Literal["drift", "no_drift", "insufficient_data"]
Moved = Literal[
    "nothing_moved", "inputs_moved_verdicts_did_not", "verdicts_moved_inputs_did_not", "inputs_and_verdicts_moved"
]
FLAG_RATE = "flag_rate"
Count = Annotated[int, Meta(ge=0)]


class WindowCounts(msgspec.Struct):
    """Where the readings of a window went. `without_value` are used for what they do have."""

    samples: Count
    late_or_warming_up: Count
    hours_not_in_training: Count
    flagged: Count
    used: Count
    stations: Count
    without_value: Count = 0


class FeatureDrift(msgspec.Struct):
    """One feature of a window against the training.

    Args:
        name: `value:SENSOR`, `level:SENSOR`, a feature of the forest, `score` or `correlation:SENSOR~SENSOR`.
        rows, training_rows: compared; with too few of them there is nothing else.
        effect: absent with too few rows.
        psi: absent for a correlation.
        p_value: of a Kolmogorov-Smirnov test on rows taken for independent; decides nothing.
        fired: see its description.
    """

    name: Annotated[str, Meta(examples=["level:temperature", "innovation", "correlation:temperature~humidity"])]
    rows: Count
    training_rows: Count
    effect: Annotated[
        Bounds | None,
        Meta(
            description="Wasserstein distance in standard deviations of the training, with its 95 % bounds; "
            "for a correlation how much it changed; null with too few rows"
        ),
    ] = None
    psi: Annotated[Bounds | None, Meta(description="population stability index")] = None
    p_value: Annotated[float | None, Meta(description="as if readings were independent, which they are not")] = None
    fired: Annotated[bool, Meta(description="the lower bound is beyond the stated effect")] = False


class Flips(msgspec.Struct):
    """Stored verdicts against those that the version would give to the same readings."""

    compared: Count
    to_flagged: Count
    to_normal: Count


class VerdictDrift(msgspec.Struct):
    """What became of the verdicts: shares of flagged readings, and whether they moved."""

    flag_rate: float
    training_flag_rate: float
    change: Bounds
    flips: Flips
    fired: bool


class WindowDrift(msgspec.Struct):
    """One window. `insufficient` says why it says nothing; then there are no features."""

    start_ms: int
    end_ms: int
    counts: WindowCounts
    features: list[FeatureDrift] = []
    verdicts: VerdictDrift | None = None
    insufficient: str | None = None

    @property
    def fired(self) -> list[str]:
        """Names of the features that fired."""
        names = [feature.name for feature in self.features if feature.fired]
        return names + ([FLAG_RATE] if self.verdicts is not None and self.verdicts.fired else [])


class ReferenceFacts(msgspec.Struct):
    """The training that was compared with: its readings, the sampled ones, stations, hours of the day (UTC)."""

    readings: Count
    rows: Count
    stations: Count
    hours: list[Count]


class DriftSummary(msgspec.Struct):
    """A check in a few lines: for lists, metrics and the policy.

    Args:
        answer: of the report.
        sentence: of the report.
        persistent: of the report.
        effects: feature → effect in the newest window that says anything; `flag_rate` is the share that is flagged.
    """

    answer: Answer
    sentence: str
    persistent: list[str]
    effects: dict[str, float]

    def to_json(self) -> str:
        """Return it as JSON."""
        return msgspec.json.encode(self).decode()

    @classmethod
    def from_json(cls, data: str) -> DriftSummary:
        """Read a summary back."""
        return msgspec.json.decode(data, type=cls)


class DriftReport(msgspec.Struct):
    """A drift check.

    Args:
        model_version: whose training was compared with.
        checked_ms: end of the newest window, ms since the epoch.
        answer: `drift` when a feature fired in enough windows, `insufficient_data` when too few windows say anything.
        sentence: the same in words.
        persistent: the features that fired in enough windows.
        needed: how many windows that is.
        moved: what drift did to the verdicts, in the newest window that says anything.
        reference: of the version.
        windows: oldest first.
    """

    model_version: int
    checked_ms: int
    answer: Answer
    sentence: str
    persistent: list[str]
    needed: int
    moved: Moved | None
    reference: ReferenceFacts | None
    windows: list[WindowDrift]

    @property
    def current(self) -> WindowDrift | None:
        """The newest window that says anything."""
        return next((window for window in reversed(self.windows) if window.insufficient is None), None)

    def summary(self) -> DriftSummary:
        """Return the report in short."""
        effects = {}
        if self.current is not None:
            effects = {one.name: one.effect.effect for one in self.current.features if one.effect is not None}
            if self.current.verdicts is not None:
                effects[FLAG_RATE] = self.current.verdicts.flag_rate
        return DriftSummary(self.answer, self.sentence, self.persistent, effects)

    def to_json(self) -> bytes:
        """Return the report as JSON."""
        return msgspec.json.encode(self)

    @classmethod
    def from_json(cls, data: bytes | str) -> DriftReport:
        """Read a report back.

        Raises:
            ArtefactRefused: not a report of this release.
        """
        try:
            return msgspec.json.decode(data, type=cls)
        except msgspec.MsgspecError as error:
            raise ArtefactRefused(f"the drift report cannot be read: {error}") from error


def conclusion(
    windows: list[WindowDrift], *, version: int, checked_ms: int, least: int, facts: ReferenceFacts | None
) -> DriftReport:
    """Say what follows from the windows, oldest first; `least` is in how many a feature has to fire."""
    saying = [window for window in windows if window.insufficient is None]
    fired = Counter(name for window in saying for name in window.fired)
    persistent = [name for name, times in fired.items() if times >= least]
    answer: Answer = "insufficient_data" if len(saying) < least else "drift" if persistent else "no_drift"
    return DriftReport(
        model_version=version,
        checked_ms=checked_ms,
        answer=answer,
        sentence=_sentence(answer, windows, saying, persistent, fired, least),
        persistent=persistent,
        needed=least,
        moved=_moved(saying[-1]) if saying else None,
        reference=facts,
        windows=windows,
    )


def _moved(window: WindowDrift) -> Moved:
    verdicts = FLAG_RATE in window.fired
    inputs = any(name not in (FLAG_RATE, "score") for name in window.fired)
    if inputs:
        return "inputs_and_verdicts_moved" if verdicts else "inputs_moved_verdicts_did_not"
    return "verdicts_moved_inputs_did_not" if verdicts else "nothing_moved"


def _sentence(
    answer: Answer,
    windows: list[WindowDrift],
    saying: list[WindowDrift],
    persistent: list[str],
    fired: Counter[str],
    least: int,
) -> str:
    if answer == "insufficient_data":
        reasons = "; ".join(dict.fromkeys(window.insufficient for window in windows if window.insufficient))
        return f"{len(saying)} of {len(windows)} windows can be compared, {least} are needed: {reasons}."
    if answer == "no_drift":
        passing = f" ({', '.join(fired)} in fewer)" if fired else ""
        return f"Nothing is away from the training in {least} of {len(windows)} windows{passing}."
    sizes = {feature.name: feature.effect.effect for feature in saying[-1].features if feature.effect is not None}
    named = [f"{name} ({sizes[name]:.2f})" if name in sizes else name for name in persistent]
    verdicts = saying[-1].verdicts
    told = (
        f" {verdicts.flag_rate:.2%} of readings are flagged, {verdicts.training_flag_rate:.2%} were in training."
        if verdicts
        else ""
    )
    return f"Away from the training in {least} or more of {len(windows)} windows: {', '.join(named)}.{told}"
