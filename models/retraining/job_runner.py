"""What the retrainer does for a job: retrain, promote, roll back.

Safe to do again from the start at any moment: moving an alias is what commits, and a version that was registered for a
job is found by its tag.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

from core.errors import ArtefactRefused, NotFound
from core.settings import Settings
from models.registry.registry import CHALLENGER, CHAMPION, PREVIOUS, Registry, Version
from models.registry.registry_mirror import card_of, mirror
from models.retraining.challenger_training import Fitting, metrics_of, params_of, pictures_of, retrained
from models.retraining.gates import Exam, GateReport, judge_challenger
from models.scoring import artefact
from models.scoring.artefact import LoadedArtefact
from models.scoring.station_prior import Prior
from models.training.feedback_exemptions import learn_exemptions
from models.training.feedback_labels import read_labels
from models.training.train_steps import metrics_of_training, params_of_training
from models.training.training_set import NothingToLearn, TrainingSet, read_training_set
from storage.driver.session import Store
from storage.tables import artefacts, model_events, stream_progress
from storage.tables.jobs import PROMOTE, REFUSED, RETRAIN, SUCCEEDED, JobRow
from storage.tables.model_events import ModelEvent, put_event

JOB_TAG, PASSED_TAG = "job", "gates_passed"
_HOUR_MS = 3_600_000


class Ended(NamedTuple):
    """How a job ended: its state, one sentence, and what it came to."""

    state: str
    reason: str
    result: dict[str, Any]


@dataclass(frozen=True)
class JobWork:
    """Does one job.

    Args:
        store: where.
        registry: where the versions are.
        settings: of this process.
        job: what is asked for.
        tell: says how far it is; raises when the job is no longer ours.
        now_ms: the clock, ms since the epoch.
    """

    store: Store
    registry: Registry
    settings: Settings
    job: JobRow
    tell: Callable[[str, float], None]
    now_ms: Callable[[], int]

    def do(self) -> Ended:
        """Do it.

        Raises:
            LeaseLost: another has the job.
            Retryable: Cassandra or MLflow is away; the job can be done again.
        """
        try:
            if self.job.kind == RETRAIN:
                return self._retrain()
            return self._move(json.loads(self.job.params))
        except (NothingToLearn, ArtefactRefused, NotFound) as error:
            self._event(model_events.REFUSED, None, str(error), {})
            return Ended(REFUSED, str(error), {})

    def _retrain(self) -> Ended:
        self.tell("fetches the champion", 0.05)
        champion = self.registry.champion()
        if champion is None:
            raise NotFound("a champion to compare with; train the first version: python -m models.train")
        before = artefact.load(self.registry.fetch(champion), champion.sha256)
        self.tell("reads what the stream has stored", 0.1)
        given = self._training_set()
        prior = self._prior(before)
        made = self.registry.tagged(JOB_TAG, self.job.job_id)
        if made is None:
            self.tell(f"fits on {len(given.samples)} samples", 0.3)
            training = retrained(given, self._fitting(prior))
            gates = self._gates(before, artefact.load(training.artefact, artefact.sha256_of(training.artefact)), given)
            self.tell("registers the version", 0.85)
            made = self.registry.register(
                training.artefact,
                params_of_training(training) | params_of(given),
                metrics_of_training(training) | metrics_of(given, gates),
                {JOB_TAG: self.job.job_id, PASSED_TAG: str(gates.passed), "requested_by": self.job.requested_by},
                pictures_of(given, training, before),
            )
        else:
            # Registered before this process or another one died; its gates were not stored.
            gates = self._gates(before, artefact.load(self.registry.fetch(made), made.sha256), given)
        return self._decided(champion, made, gates, given)

    def _decided(self, champion: Version, made: Version, gates: GateReport, given: TrainingSet) -> Ended:
        self.tell("stores the decision", 0.9)
        figures = {"samples": len(given.samples), "read": given.read, "excluded": given.excluded}
        trained = f"Version {made.number} was fitted on {len(given.samples)} of {given.read} samples."
        self._event(model_events.TRAINED, made.number, trained, figures)
        self._event(
            model_events.GATED, made.number, gates.reason, {"passed": gates.passed, "champion": champion.number}
        )
        details = self.registry.details(made.number)
        card = card_of(made, details, gates.to_json().decode(), gates.passed, self.job.job_id)
        model_events.put_card(self.store, self.registry.model_name, card)
        result = {"version": made.number, "champion": champion.number, "passed": gates.passed, "promoted": False}
        if not gates.passed:
            return Ended(REFUSED, f"Version {made.number} did not pass the gates. {gates.reason}", result)
        self.tell("lets it be the challenger", 0.95)
        self.registry.set_alias(CHALLENGER, made)
        if self.settings.promote_automatically:
            promoted = self._promoted(made)
            return promoted._replace(result=result | promoted.result)
        self._mirrored()
        return Ended(SUCCEEDED, f"Version {made.number} is the challenger. {gates.reason}", result)

    def _move(self, params: dict[str, Any]) -> Ended:
        self.tell("verifies the artefact", 0.2)
        number = self.registry.aliases().get(PREVIOUS) if params["version"] == PREVIOUS else int(params["version"])
        if number is None:
            raise NotFound("an earlier champion: no version was ever promoted over another")
        target = self.registry.version(number)
        # Opened here as the stream will open it: what it would refuse never becomes champion.
        artefact.load(self.registry.fetch(target), target.sha256)
        refusal = self._not_promotable(target) if self.job.kind == PROMOTE else self._never_champion(target)
        champion = self.registry.champion()
        # The alias that moved before this process or another one died needs no further permission.
        if refusal is not None and (champion is None or champion.number != target.number):
            self._event(model_events.REFUSED, target.number, refusal, {})
            return Ended(REFUSED, refusal, {"version": target.number})
        return self._promoted(target)

    def _promoted(self, target: Version) -> Ended:
        champion = self.registry.champion()
        back = self.job.kind not in (PROMOTE, RETRAIN)
        kind = model_events.ROLLED_BACK if back else model_events.PROMOTED
        before = champion.number if champion else None
        if champion is not None and champion.number != target.number:
            self.tell(f"moves champion from {champion.number} to {target.number}", 0.97)
            self.registry.set_alias(PREVIOUS, champion)
            self.registry.set_alias(CHAMPION, target)
        elif champion is not None:
            before = self.registry.aliases().get(PREVIOUS)
        if self.registry.aliases().get(CHALLENGER) == target.number:
            self.registry.drop_alias(CHALLENGER)
        verb = "is champion again" if back else "is champion"
        reason = f"Version {target.number} {verb}, in place of {before}; asked for by {self.job.requested_by}."
        self._event(kind, target.number, reason, {"from": before})
        self._mirrored()
        return Ended(SUCCEEDED, reason, {"version": target.number, "champion": before, "promoted": True})

    def _not_promotable(self, target: Version) -> str | None:
        card = model_events.card(self.store, self.registry.model_name, target.number)
        if card is not None and card.passed:
            return None
        why = "was never asked by" if card is None or card.passed is None else "did not pass"
        return f"Version {target.number} {why} the gates; only what passed them can be promoted."

    def _never_champion(self, target: Version) -> str | None:
        # The first version of a plant met no gates and judged from the beginning.
        events = model_events.events(self.store, self.registry.model_name)
        left = {json.loads(event.figures).get("from") for event in events if event.kind in _MOVES}
        came = {event.model_version for event in events if event.kind in _MOVES}
        if target.number in left | came:
            return None
        return f"Version {target.number} has never been champion; there is nothing to go back to. Promote it instead."

    def _training_set(self) -> TrainingSet:
        if self.settings.readings_share == 0.0:
            raise NothingToLearn(
                "READINGS_KEPT is none: thresholds and gates need contiguous series of whole stations; set it to all "
                "or to a share such as 0.1"
            )
        end_ms = self.job.filed_ms
        start_ms = end_ms - int(self.settings.retrain_window_hours * _HOUR_MS)
        return read_training_set(self.store, self.registry.model_name, self.settings.sensors, start_ms, end_ms)

    def _prior(self, champion: LoadedArtefact) -> Prior:
        """The stream's prior, on which its state was built; the champion's before any stream."""
        known = stream_progress.stream_identity(self.store, self.settings.readings_topic)
        if known is None:
            return champion.prior
        return Prior.from_bytes(artefacts.get_artefact(self.store, known.prior_sha256)[1])

    def _fitting(self, prior: Prior) -> Fitting:
        settings = self.settings
        labels = read_labels(self.store, tuple(sensor.name for sensor in settings.sensors), self.job.filed_ms)
        exemptions = learn_exemptions(labels)
        budget = settings.false_alarm_budget
        return Fitting(settings.sensors, prior, settings.forest_trees, budget, self._seed, exemptions)

    @property
    def _seed(self) -> int:
        """Of the job: done again, it draws the same."""
        return int(self.job.job_id[-8:], 16) % 2**31

    def _gates(self, champion: LoadedArtefact, challenger: LoadedArtefact, given: TrainingSet) -> GateReport:
        self.tell("meets the gates", 0.5)
        exam = Exam(given.series, self.settings.sensors, self._prior(champion), given.confirmed)
        return judge_challenger(champion.detector, challenger.detector, exam, seed=self._seed)

    def _event(self, kind: str, version: int | None, reason: str, figures: dict[str, Any]) -> None:
        place = model_events.EVENT_KINDS.index(kind)
        event = ModelEvent(
            f"{self.job.job_id}/{place}{kind}", self.now_ms(), kind, version, self.job.job_id, reason,
            json.dumps(figures), self.job.requested_by,
        )  # fmt: skip
        put_event(self.store, self.registry.model_name, event)

    def _mirrored(self) -> None:
        mirror(self.registry, self.store, self.now_ms())


_MOVES = (model_events.PROMOTED, model_events.ROLLED_BACK)
