"""Which troubles of Cassandra pass by themselves, and how long and with which pauses one waits for that."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import ParamSpec, TypeVar

from cassandra import (
    AuthenticationFailed,
    CoordinationFailure,
    DriverException,
    InvalidRequest,
    OperationTimedOut,
    Timeout,
    Unavailable,
    UnresolvableContactPoints,
)
from cassandra.cluster import NoHostAvailable
from cassandra.connection import ConnectionBusy, ConnectionException
from cassandra.pool import NoConnectionsAvailable
from cassandra.protocol import IsBootstrappingErrorMessage, OverloadedErrorMessage, ServerError, TruncateError
from tenacity import RetryCallState, Retrying, retry_if_exception_type, stop_before_delay, wait_exponential, wait_random

from core.errors import Retryable, StationwatchError, StoreUnavailable

Given = ParamSpec("Given")
Result = TypeVar("Result")
OnWait = Callable[[Exception, float], None]
"""Called before each pause with the trouble and the seconds of the pause: for a log line, a metric, readiness."""

DEADLINE_SECONDS = 120.0
LONGEST_PAUSE_SECONDS = 4.0
JITTER_SECONDS = 0.5

# A timeout of a write means "unknown", not "failed": every statement here is idempotent and is simply sent again.
RETRYABLE: tuple[type[Exception], ...] = (
    NoHostAvailable,
    OperationTimedOut,
    Timeout,
    Unavailable,
    CoordinationFailure,
    OverloadedErrorMessage,
    IsBootstrappingErrorMessage,
    ServerError,
    TruncateError,
    ConnectionException,
    ConnectionBusy,
    NoConnectionsAvailable,
    UnresolvableContactPoints,
)
_NO_SCHEMA = re.compile(r"does not exist|unconfigured table|Undefined column name|No keyspace has been specified", re.I)


class SchemaMissing(StationwatchError):
    """The keyspace, or a table or column in it, is not there."""


def translated(error: Exception, place: str) -> Exception:
    """The error a caller of `storage` sees in place of the driver's own one.

    Args:
        error: what the driver raised.
        place: hosts and keyspace, for the message.

    Returns:
        StoreUnavailable for what may pass by itself, SchemaMissing for absent tables, otherwise `error`.
    """
    if isinstance(error, NoHostAvailable) and _refused_login(error):
        return StationwatchError(
            f"Cassandra {place} refuses STATIONWATCH_CASSANDRA_USER or what STATIONWATCH_CASSANDRA_PASSWORD_FILE "
            f"holds: {error}"
        )
    if isinstance(error, NoHostAvailable) and _distrusted(error):
        return StationwatchError(
            f"Cassandra {place} shows a certificate that STATIONWATCH_CASSANDRA_CA_FILE does not vouch for: {error}"
        )
    if isinstance(error, RETRYABLE):
        return StoreUnavailable(f"Cassandra {place} does not answer: {type(error).__name__}: {error}")
    if isinstance(error, InvalidRequest) and _NO_SCHEMA.search(str(error)):
        return SchemaMissing(f"Cassandra {place} lacks tables of stationwatch ({error}); run: python -m storage schema")
    return error


@contextmanager
def driver_errors(place: str) -> Iterator[None]:
    """Turn the driver's errors inside the block into those of stationwatch."""
    try:
        yield
    except (*RETRYABLE, DriverException) as error:
        better = translated(error, place)
        if better is error:
            raise
        raise better from error


class Patience:
    """A deadline and the pauses until it, shared by the steps of one call.

    Args:
        deadline_seconds: how long trouble is waited out, s, from now.
        on_wait: told about each pause.
    """

    def __init__(self, deadline_seconds: float = DEADLINE_SECONDS, on_wait: OnWait | None = None) -> None:
        self._until = time.monotonic() + deadline_seconds
        self._on_wait = on_wait

    def remaining(self) -> float:
        """Seconds left, never below 0."""
        return max(0.0, self._until - time.monotonic())

    def call(self, function: Callable[Given, Result], *args: Given.args, **kwargs: Given.kwargs) -> Result:
        """Call `function` with these arguments until it succeeds, with growing, jittered pauses.

        Raises:
            Retryable: the last one, when the next pause would pass the deadline.
        """
        retrying = Retrying(
            retry=retry_if_exception_type(Retryable),
            wait=wait_exponential(multiplier=0.1, max=LONGEST_PAUSE_SECONDS) + wait_random(0, JITTER_SECONDS),
            stop=stop_before_delay(self.remaining()),
            before_sleep=self._tell,
            reraise=True,
        )
        return retrying(function, *args, **kwargs)

    def _tell(self, state: RetryCallState) -> None:
        trouble = state.outcome.exception() if state.outcome else None
        if self._on_wait and state.next_action and isinstance(trouble, Exception):
            self._on_wait(trouble, state.next_action.sleep)


def _refused_login(error: NoHostAvailable) -> bool:
    return any(isinstance(cause, AuthenticationFailed) for cause in _causes(error))


def _distrusted(error: NoHostAvailable) -> bool:
    # By its text: the driver makes another error of it.
    return any("CERTIFICATE_VERIFY_FAILED" in str(cause) for cause in _causes(error))


def _causes(error: NoHostAvailable) -> Iterable[object]:
    return error.errors.values() if isinstance(error.errors, dict) else ()
