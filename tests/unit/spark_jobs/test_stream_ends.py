"""What ends the stream for good, and what it lives through."""

from __future__ import annotations

from py4j.protocol import Py4JJavaError, Py4JNetworkError

from spark_jobs.detect_anomalies import _explained, _jvm_is_gone


class _Reported(Py4JJavaError):
    """An error that a living JVM reports; the real one needs a JVM to be made."""

    def __init__(self) -> None:
        Exception.__init__(self)

    def __str__(self) -> str:
        return "a task failed four times"


class _Unanswered(_Reported):
    """An error of a JVM that died before it was asked for the text."""

    def __str__(self) -> str:
        raise ConnectionRefusedError(111, "Connection refused")


def test_a_jvm_that_dies_while_it_reports_is_gone() -> None:
    """Breaks when the stream ends with a second error instead of saying that its JVM, out of memory, is gone."""
    assert _jvm_is_gone(_Unanswered())
    assert "Spark's JVM is gone (_Unanswered)" in str(_explained(_Unanswered(), RuntimeError()))


def test_a_failed_batch_starts_the_query_again_and_a_dead_jvm_ends_the_job() -> None:
    """Breaks when a task that gave up, as in a long outage, is taken for a JVM that died."""
    assert not _jvm_is_gone(_Reported())
    assert _jvm_is_gone(Py4JNetworkError("Answer from Java side is empty"))
    assert _jvm_is_gone(ConnectionRefusedError())
    assert not _jvm_is_gone(ValueError())
