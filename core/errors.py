"""The errors of stationwatch. A message says what, where, which value, and what to do next."""

from __future__ import annotations


class StationwatchError(Exception):
    """Base of every error that stationwatch raises on purpose."""


class SettingsError(StationwatchError):
    """The environment cannot be used; the message lists every problem."""


class InvalidReading(StationwatchError):
    """A Kafka record that is no reading: it belongs in the dead letters, for `reason`."""

    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(f"{reason}: {detail}")
        self.reason = reason
        self.detail = detail


class FeatureMismatch(StationwatchError):
    """A model was given other columns than it was fitted on."""


class ArtefactRefused(StationwatchError):
    """A model artefact is corrupt, tampered with, or of an unknown format. It was not loaded."""


class StateRefused(StationwatchError):
    """A checkpoint's state or shape does not fit this program."""


class StreamIdentityMismatch(StationwatchError):
    """A keyspace or checkpoint belongs to a stream with other sensors, shards or prior."""


class NotFound(StationwatchError):
    """What was asked for does not exist."""


class Retryable(StationwatchError):
    """A dependency is away; the same call may succeed later."""


class StoreUnavailable(Retryable):
    """Cassandra does not answer."""


class BrokerUnavailable(Retryable):
    """Kafka does not answer."""


class BrokerRefused(StationwatchError):
    """Kafka answers, and does not take our login, or we not its certificate. Waiting does not help."""


class RegistryUnavailable(Retryable):
    """The MLflow registry does not answer."""
