"""gunicorn around the application: one worker process, many threads."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gunicorn.app.base import BaseApplication
from gunicorn.arbiter import Arbiter

from core.settings import Settings

if TYPE_CHECKING:
    from apiflask import APIFlask

    from api.services.live_feed import LiveFeed

THREADS = 700
"""One for each connection that is being served: 600 live listeners, and 100 for all others, of which
`api.http.limits` lets few work at once. A waiting thread costs some 50 KiB; 16 of them would be occupied by 16 clients
that send nothing."""

GRACEFUL_SECONDS = 10
SWITCH_SECONDS = 0.001
"""How long a thread may hold the interpreter while others wait: a short answer has some ten turns to wait for."""


class Server(BaseApplication):  # type: ignore[misc]
    """Serves until SIGTERM. The application is imported by the worker alone, which keeps the parent process small.

    Args:
        settings: address, port (0: any free one) and home folder.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._feed: LiveFeed | None = None
        super().__init__()

    def load_config(self) -> None:
        """Tell gunicorn what it needs; its own files and environment variables are not read."""
        for name, value in self._options().items():
            self.cfg.set(name, value)

    def load(self) -> APIFlask:
        """Make the application, in the worker."""
        from api.app import COUNT_KEEPER, LIVE_FEED, create_app, store_handle

        sys.setswitchinterval(SWITCH_SECONDS)
        handle = store_handle(self._settings)
        handle.start()
        app = create_app(self._settings, handle)
        self._feed = app.extensions[LIVE_FEED]
        app.extensions[COUNT_KEEPER].start()
        return app

    def end_live(self) -> None:
        """Let the live listeners of this process go."""
        if self._feed is not None:
            self._feed.close()

    def _options(self) -> dict[str, Any]:
        host = self._settings.api_host
        return {
            "bind": f"[{host}]:{self._settings.api_port}" if ":" in host else f"{host}:{self._settings.api_port}",
            # One: the metrics, and later the one reader behind all live listeners, live in the process.
            "workers": 1,
            "worker_class": "api.server.gunicorn_worker.ProblemWorker",
            "threads": THREADS,
            "worker_connections": 2000,
            "backlog": 512,
            "timeout": 30,
            "graceful_timeout": GRACEFUL_SECONDS,
            "keepalive": 5,
            "limit_request_line": 8190,
            "limit_request_fields": 100,
            "limit_request_field_size": 8190,
            "control_socket_disable": True,
            "logger_class": "api.server.gunicorn_worker.PlainLogger",
            "proc_name": "stationwatch-api",
            "when_ready": self._announce,
            "on_exit": lambda server: self._place().unlink(missing_ok=True),
        }

    def _place(self) -> Path:
        return self._settings.home / "api.json"

    def _announce(self, server: Arbiter) -> None:
        """Say where the API is, once the socket takes connections."""
        url = url_of(server.LISTENERS[0].sock.getsockname())
        place = self._place()
        place.parent.mkdir(parents=True, exist_ok=True)
        partial = place.with_suffix(".part")
        partial.write_text(json.dumps({"url": url}), encoding="utf-8")
        partial.replace(place)
        print(f"api: {url}", flush=True)


def url_of(address: tuple[Any, ...]) -> str:
    """The URL of a bound socket address; a wildcard is shown as this machine's loopback."""
    host, port = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(address[0], address[0]), address[1]  # noqa: S104
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
