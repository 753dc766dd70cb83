"""An application whose store is away, slow or broken."""

from __future__ import annotations

import threading
from typing import Any

from flask.testing import FlaskClient

from api.app import create_app
from core.errors import StationwatchError, StoreUnavailable
from core.settings import Settings
from storage.driver.session import Store
from tests.waiting import PATIENCE_SECONDS


class NoStore:
    """Cassandra is away."""

    def __init__(self) -> None:
        self.doubts = 0

    def get(self) -> Store:
        raise StoreUnavailable("secret host 10.1.2.3")

    def mark_suspect(self, error: StationwatchError) -> None:
        self.doubts += 1


class SlowStore(NoStore):
    """Answers, after a while, that it is away."""

    def __init__(self) -> None:
        super().__init__()
        self.entered = threading.Semaphore(0)
        self.leave = threading.Event()

    def get(self) -> Store:
        self.entered.release()
        assert self.leave.wait(PATIENCE_SECONDS)
        return super().get()


class BrokenStore(NoStore):
    """A defect of this program."""

    def get(self) -> Store:
        raise ZeroDivisionError("secret")


def client(store: Any = None, **changes: Any) -> FlaskClient:
    return create_app(Settings(_env_file=None, **changes), store or NoStore()).test_client()
