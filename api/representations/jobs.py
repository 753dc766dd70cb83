"""Jobs and model versions as the API shows them, from Cassandra alone."""

from __future__ import annotations

import json
import math
from typing import Annotated, Any, Self

from msgspec import Meta

from api.http.times import rfc3339
from api.representations import fields
from api.representations.common import Answer, ref
from core.times import HOUR_MS
from storage.driver.session import Store
from storage.tables import model_events, stream_progress
from storage.tables.jobs import KINDS, RETRAIN, STATES, JobRow
from storage.tables.model_events import EVENT_KINDS, ModelCard
from storage.tables.shadow_samples import shadowed

Values = Annotated[
    dict[str, Any], fields.schema(additionalProperties={"type": ["number", "string", "boolean", "object", "null"]})
]


class JobProgress(Answer):
    """How far a job is."""

    step: str
    fraction: Annotated[float, Meta(ge=0, le=1)]


class Job(Answer):
    """What the retrainer is asked to do."""

    id: str
    kind: Annotated[str, fields.one_of(*KINDS)]
    state: Annotated[str, fields.one_of(*STATES)]
    progress: JobProgress
    params: Values
    requested_by: str
    filed_time: fields.Time
    started_time: fields.Time | None
    ended_time: fields.Time | None
    attempts: Annotated[fields.Count, fields.about("above 1 when a retrainer died over it")]
    reason: str | None
    result: Values | None

    @classmethod
    def from_row(cls, row: JobRow) -> Self:
        """What is stored."""
        return cls.of(
            row,
            id=row.job_id,
            progress=JobProgress(row.step, row.fraction),
            params=json.loads(row.params),
            result=None if row.result is None else json.loads(row.result),
        )


class Jobs(Answer):
    """The last jobs."""

    jobs: Annotated[list[Job], Meta(max_length=50)]


class JobFiled(Answer):
    """What is asked for."""

    kind: Annotated[str, fields.schema(const=RETRAIN)]


class Gate(Answer):
    """What a gate said of a version."""

    name: str
    passed: bool
    reason: str
    figures: dict[str, float]


# As the retrainer stored them, whatever release it was.
Gates = Annotated[list[Any], fields.schema(items=ref(Gate))]


class ModelVersion(Answer):
    """A model version."""

    version: str
    created_time: fields.Time
    run_id: str
    sha256: str
    aliases: list[str]
    judges: Annotated[bool, fields.about("whether the stream's newest readings are judged by it")]
    passed: Annotated[bool | None, fields.about("null: it never met the gates")]
    gates: Gates
    job_id: str | None
    params: Values
    metrics: Values

    @classmethod
    def from_card(cls, card: ModelCard, aliases: dict[str, int], judges: list[int]) -> Self:
        """What is stored; `judges` are the versions of the newest readings."""
        return cls.of(
            card,
            version=str(card.version),
            aliases=sorted(alias for alias, version in aliases.items() if version == card.version),
            judges=card.version in judges,
            gates=json.loads(card.gates)["gates"] if card.gates else [],
            params=json.loads(card.params),
            metrics={key: _finite(value) for key, value in json.loads(card.metrics).items()},
        )


class ModelEvent(Answer):
    """What was decided about a version."""

    time: fields.Time
    kind: Annotated[str, fields.one_of(*EVENT_KINDS)]
    version: str | None
    job_id: str | None
    reason: str
    figures: Values
    requested_by: str | None

    @classmethod
    def from_event(cls, event: model_events.ModelEvent) -> Self:
        """What is stored."""
        version, figures = _version(event.model_version), json.loads(event.figures)
        return cls.of(event, time=rfc3339(event.event_ms), version=version, figures=figures)


class Shadow(Answer):
    """How the challenger's verdicts differ from those of the champion beside which it runs."""

    challenger: str
    champion: str
    compared: Annotated[fields.Count, fields.about("sampled readings that both judged")]
    to_flagged: Annotated[fields.Count, fields.about("flagged by the challenger alone")]
    to_normal: Annotated[fields.Count, fields.about("flagged by the champion alone")]
    start: fields.Time
    end: fields.Time

    @classmethod
    def read(cls, store: Store, challenger: int | None) -> Self | None:
        """What was compared; None without a challenger, or before its first comparison."""
        found = [] if challenger is None else shadowed(store, challenger)
        if not found:
            return None
        row = found[0]
        start, end = rfc3339(row.first_hour_ms), rfc3339(row.last_hour_ms + HOUR_MS)
        return cls.of(row, challenger=str(row.challenger), champion=str(row.champion), start=start, end=end)


class Models(Answer):
    """Model versions, and what decided about them."""

    model: str
    champion: str | None
    challenger: str | None
    previous: str | None
    judges: Annotated[list[str], fields.about("versions of the newest readings; two while a swap goes on")]
    shadow: Shadow | None
    versions: Annotated[list[ModelVersion], Meta(max_length=100)]
    events: Annotated[list[ModelEvent], Meta(max_length=100)]

    @classmethod
    def read(cls, store: Store, name: str, topic: str) -> Self:
        """What is stored of the model `name`, and which versions judge the readings of `topic`.

        Raises:
            StoreUnavailable: Cassandra is away.
        """
        aliases = model_events.aliases_of(store, name)
        judges = sorted({found[-1][1] for found in stream_progress.activations(store, topic).values()})
        return cls(
            model=name,
            champion=_version(aliases.get("champion")),
            challenger=_version(aliases.get("challenger")),
            previous=_version(aliases.get("previous")),
            judges=[str(version) for version in judges],
            shadow=Shadow.read(store, aliases.get("challenger")),
            versions=[ModelVersion.from_card(card, aliases, judges) for card in model_events.cards(store, name)],
            events=[ModelEvent.from_event(event) for event in model_events.events(store, name)],
        )


def _version(number: int | None) -> str | None:
    return None if number is None else str(number)


def _finite(value: Any) -> Any:
    return None if isinstance(value, float) and not math.isfinite(value) else value
