"""The retrainer's own metrics."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Histogram, start_http_server


class RetrainerMetrics:
    """Numbers in a registry of their own."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self._jobs = Counter(
            "iot_jobs", "Jobs that ended. State failed rising: read the retrainer's log.", ["kind", "state"],
            registry=self.registry,
        )  # fmt: skip
        self._seconds = Histogram(
            "iot_job_duration_seconds", "Time of a job", ["kind"], buckets=(1, 5, 15, 30, 60, 120, 300, 900),
            registry=self.registry,
        )  # fmt: skip

    def serve(self, host: str, port: int) -> str:
        """Serve the metrics; return the address."""
        server, _ = start_http_server(port, addr=host, registry=self.registry)
        return f"http://{host}:{server.server_port}/metrics"

    def ended(self, kind: str, state: str, seconds: float) -> None:
        """Count a job."""
        self._jobs.labels(kind, state).inc()
        self._seconds.labels(kind).observe(seconds)
