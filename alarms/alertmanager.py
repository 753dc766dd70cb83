"""The way to Alertmanager: its API v2, in a thread of its own, so that a slow or absent one holds nothing up.

It does grouping, silences, repetition and receivers. Here is only told, again and again, what is on: an alert that is
not repeated ends by itself at its `endsAt`, so that nothing stays on for good when this process is gone.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Mapping
from typing import Any

import requests
from tenacity import RetryCallState, Retrying, retry_if_exception_type, stop_when_event_set, wait_exponential

from alarms.alerts import NAMES, Alert, Labels

log = logging.getLogger(__name__)

RESEND_SECONDS = 20.0
ENDS_SECONDS = 300.0
"""How long an alert lives without being repeated: longer than a restart of everything takes."""

TIMEOUT_SECONDS = 10.0
LONGEST_PAUSE_SECONDS = 5.0
ALERTS_A_REQUEST = 500


class Alertmanager:
    """One Alertmanager.

    Args:
        url: of it, such as http://127.0.0.1:9093.
    """

    def __init__(self, url: str) -> None:
        self._url = url.rstrip("/") + "/api/v2/alerts"
        self._session = requests.Session()
        # Proxies and .netrc of the machine are for other destinations.
        self._session.trust_env = False

    def post(self, alerts: list[dict[str, Any]]) -> None:
        """Tell it alerts.

        Raises:
            requests.RequestException: it is away, or refuses them.
        """
        for first in range(0, len(alerts), ALERTS_A_REQUEST):
            part = alerts[first : first + ALERTS_A_REQUEST]
            self._session.post(self._url, json=part, timeout=TIMEOUT_SECONDS).raise_for_status()

    def silenced(self) -> dict[Labels, str]:
        """Which of our alerts people silenced there: labels → ids of the silences, separated by blanks.

        Raises:
            requests.RequestException: it is away.
        """
        asked = {"silenced": "true", "active": "false", "inhibited": "false", "unprocessed": "false"}
        names = "|".join(NAMES.values())
        answer = self._session.get(
            self._url, params={**asked, "filter": f'alertname=~"{names}"'}, timeout=TIMEOUT_SECONDS
        )
        answer.raise_for_status()
        return {_labels(one["labels"]): " ".join(sorted(one["status"]["silencedBy"])) for one in answer.json()}

    def close(self) -> None:
        """Close its connections."""
        self._session.close()


class Poster:
    """Keeps an Alertmanager told of what `tell` was given last.

    Args:
        alertmanager: whom to tell.
        now_ms: ms since the epoch.
        on_failure: called at every attempt that failed.
        resend_seconds: pause between two tellings of the same.
    """

    def __init__(
        self,
        alertmanager: Alertmanager,
        now_ms: Callable[[], int],
        on_failure: Callable[[], None],
        resend_seconds: float = RESEND_SECONDS,
    ) -> None:
        self._alertmanager = alertmanager
        self._now_ms = now_ms
        self._on_failure = on_failure
        self._resend_seconds = resend_seconds
        self._wanted: dict[Labels, Alert] = {}
        self._told: dict[Labels, Alert] = {}
        self._known: dict[Labels, int] = {}
        self._silenced: dict[Labels, str] = {}
        self._lock = threading.Lock()
        self._wake = threading.Event()
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._run, name="alertmanager", daemon=True)

    def start(self) -> None:
        """Begin, in the background."""
        self._thread.start()

    def close(self) -> None:
        """Stop telling; what is on stays on at Alertmanager until its `endsAt`."""
        self._closing.set()
        self._wake.set()
        self._thread.join(TIMEOUT_SECONDS + 1.0)
        self._alertmanager.close()

    def tell(self, alerts: Mapping[Labels, Alert]) -> None:
        """Replace what is on. Returns at once; something else than before is told at once."""
        with self._lock:
            fresh = alerts.keys() != self._wanted.keys()
            self._wanted = dict(alerts)
        if fresh:
            self._wake.set()

    def over(self, alerts: Mapping[Labels, Alert]) -> None:
        """Alerts that a process before this one may have told and that are over: told so, unless they are on."""
        with self._lock:
            self._told = {**alerts, **self._told}

    @property
    def known(self) -> dict[Labels, int]:
        """What Alertmanager was told and took, and since when, ms since the epoch."""
        with self._lock:
            return dict(self._known)

    @property
    def silenced(self) -> dict[Labels, str]:
        """What people silenced there, as last read."""
        with self._lock:
            return dict(self._silenced)

    def _run(self) -> None:
        while not self._closing.is_set():
            self._wake.clear()
            retrying = Retrying(
                retry=retry_if_exception_type(requests.RequestException),
                wait=wait_exponential(multiplier=0.2, max=LONGEST_PAUSE_SECONDS),
                stop=stop_when_event_set(self._closing),
                before_sleep=self._failed,
                sleep=self._pause,
                retry_error_callback=lambda _: None,
            )
            try:
                retrying(self._turn)
            except Exception:  # The edge of a thread: if it died, nobody would be told anything any more.
                log.exception("alertmanager: unexpected")
                self._on_failure()
            self._wake.wait(self._resend_seconds)

    def _turn(self) -> None:
        """Tell what is on now, and what was told before and is no longer."""
        with self._lock:
            wanted, told = dict(self._wanted), dict(self._told)
        now_ms = self._now_ms()
        documents = [alert.document(now_ms + round(1000 * ENDS_SECONDS)) for alert in wanted.values()]
        documents += [alert.document(now_ms) for labels, alert in told.items() if labels not in wanted]
        if documents:
            self._alertmanager.post(documents)
        with self._lock:
            self._told = {**{labels: alert for labels, alert in self._told.items() if labels not in told}, **wanted}
            self._known = {labels: self._known.get(labels, now_ms) for labels in wanted}
        silenced = self._alertmanager.silenced()
        with self._lock:
            self._silenced = silenced

    def _pause(self, seconds: float) -> None:
        self._closing.wait(seconds)

    def _failed(self, state: RetryCallState) -> None:
        self._on_failure()
        trouble = state.outcome.exception() if state.outcome else None
        if state.attempt_number == 1:
            log.warning("Alertmanager: %s; trying again", trouble)


def _labels(document: Mapping[str, str]) -> Labels:
    return Labels(*(document.get(name, "") for name in Labels._fields))


def wall_clock_ms() -> int:
    """Milliseconds since the epoch."""
    return time.time_ns() // 1_000_000
