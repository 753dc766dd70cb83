"""The shapes of `/api/v1/jobs` and `/api/v1/models`."""

from __future__ import annotations

from api.representations.common import (
    BOOLEAN,
    COUNT,
    NULLABLE_TEXT,
    NUMBER,
    TEXT,
    TIME,
    Schema,
    listed,
    nullable,
    record,
    ref,
)
from storage.tables.jobs import KINDS, STATES
from storage.tables.model_events import EVENT_KINDS

VALUES: Schema = {"type": "object", "additionalProperties": {"type": ["number", "string", "boolean", "object", "null"]}}
JOB = record(
    {
        "id": TEXT,
        "kind": {"enum": list(KINDS)},
        "state": {"enum": list(STATES)},
        "progress": record({"step": TEXT, "fraction": {"type": "number", "minimum": 0, "maximum": 1}}),
        "params": VALUES,
        "requested_by": TEXT,
        "filed_time": TIME,
        "started_time": nullable(TIME),
        "ended_time": nullable(TIME),
        "attempts": {**COUNT, "description": "above 1 when a retrainer died over it"},
        "reason": NULLABLE_TEXT,
        "result": nullable(VALUES),
    }
)
JOBS = record({"jobs": listed(ref("Job"), maxItems=50)})
JOB_FILED: Schema = record({"kind": {"const": "retrain"}})
GATE = record(
    {
        "name": TEXT,
        "passed": BOOLEAN,
        "reason": TEXT,
        "figures": {"type": "object", "additionalProperties": NUMBER},
    }
)
MODEL_VERSION = record(
    {
        "version": TEXT,
        "created_time": TIME,
        "run_id": TEXT,
        "sha256": TEXT,
        "aliases": listed(TEXT),
        "judges": {**BOOLEAN, "description": "whether the stream's newest readings are judged by it"},
        "passed": {"type": ["boolean", "null"], "description": "null: it never met the gates"},
        "gates": listed(ref("Gate")),
        "job_id": NULLABLE_TEXT,
        "params": VALUES,
        "metrics": VALUES,
    }
)
MODEL_EVENT = record(
    {
        "time": TIME,
        "kind": {"enum": list(EVENT_KINDS)},
        "version": NULLABLE_TEXT,
        "job_id": NULLABLE_TEXT,
        "reason": TEXT,
        "figures": VALUES,
        "requested_by": NULLABLE_TEXT,
    }
)
SHADOW = record(
    {
        "challenger": TEXT,
        "champion": TEXT,
        "compared": {**COUNT, "description": "sampled readings that both judged"},
        "to_flagged": {**COUNT, "description": "flagged by the challenger alone"},
        "to_normal": {**COUNT, "description": "flagged by the champion alone"},
        "start": TIME,
        "end": TIME,
    }
)
MODELS = record(
    {
        "model": TEXT,
        "champion": NULLABLE_TEXT,
        "challenger": NULLABLE_TEXT,
        "previous": NULLABLE_TEXT,
        "judges": {**listed(TEXT), "description": "versions of the newest readings; two while a swap goes on"},
        "shadow": nullable(ref("Shadow")),
        "versions": listed(ref("ModelVersion"), maxItems=100),
        "events": listed(ref("ModelEvent"), maxItems=100),
    }
)
LIFE_COMPONENTS: dict[str, Schema] = {
    "Job": JOB,
    "Jobs": JOBS,
    "Gate": GATE,
    "ModelVersion": MODEL_VERSION,
    "ModelEvent": MODEL_EVENT,
    "Models": MODELS,
    "Shadow": SHADOW,
}
