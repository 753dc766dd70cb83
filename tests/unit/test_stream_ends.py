"""What ends the stream for good, and what it lives through."""

from __future__ import annotations

from py4j.protocol import Py4JJavaError, Py4JNetworkError

from spark_jobs.detect_anomalies import _jvm_is_gone


class _Reported(Py4JJavaError):
    """An error that a living JVM reports; the real one needs a JVM to be made."""

    def __init__(self) -> None:
        Exception.__init__(self, "a task failed four times")


def test_a_failed_batch_starts_the_query_again_and_a_dead_jvm_ends_the_job() -> None:
    """Breaks when a task that gave up, as in a long outage, is taken for a JVM that died."""
    assert not _jvm_is_gone(_Reported())
    assert _jvm_is_gone(Py4JNetworkError("Answer from Java side is empty"))
    assert _jvm_is_gone(ConnectionRefusedError())
    assert not _jvm_is_gone(ValueError())
