"""What can go wrong with the local servers."""

from __future__ import annotations

from core.errors import StationwatchError


class StackError(StationwatchError):
    """The local servers cannot be fetched, started or stopped; the message says what to do."""


class JarsRefused(StackError):
    """A jar is not the one that the lock names. It was not used."""
