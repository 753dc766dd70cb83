"""The figures of docs/drift.md and docs/models.md come from the benchmark's results, and from nowhere else."""

from __future__ import annotations

import pytest

from benchmarks.life.page import BEGIN, END, with_figures, with_swap
from benchmarks.life.swap import Batch, batches_of, swap_of
from tests.paths import ROOT

MODELS = (ROOT / "docs" / "models.md").read_text(encoding="utf-8")
PAGE = (ROOT / "docs" / "drift.md").read_text(encoding="utf-8")
FEEDBACK = {
    "feedback_labels_a_plant": 200, "mode_flags_before": 100, "mode_flags_after": 10, "mode_flags_fewer": 0.9,
    "faults": 740, "recall_before": 0.8, "recall_after": 0.79, "recall_points_lost": 1.0,
}  # fmt: skip


def test_the_page_shows_what_was_measured_and_nothing_old() -> None:
    """Breaks when a figure of an earlier run stays, or the text around the figures is lost."""
    once = with_figures(PAGE, {"feedback": FEEDBACK})
    assert "| flags on a benign mode after 200 labels a plant | 100 → 10 (90% fewer) |" in once
    assert "0.800 → 0.790 (1.0 points lower)" in once
    again = with_figures(once, {"feedback": FEEDBACK | {"mode_flags_after": 20, "mode_flags_fewer": 0.8}})
    assert "100 → 20" in again and "100 → 10" not in again
    assert "Nothing was measured yet." in with_figures(again, {})
    for page in (once, again):
        assert page[: page.index(BEGIN)] == PAGE[: PAGE.index(BEGIN)]
        assert page[page.index(END) :] == PAGE[PAGE.index(END) :]
    with pytest.raises(ValueError, match="substring"):
        with_figures("a page without markers", {})


LOG = """\
2026-11-27 19:30:26,500 INFO spark_jobs.driver.foreach_batch: batch 8: 900 records, 900 readings, 0 dead letters, 2 flags, version 1, 0.61 s (ms: )
2026-11-27 19:30:27,250 INFO spark_jobs.driver.model_switch: model version 2 judges from here on (was 1)
2026-11-27 19:30:28,000 INFO spark_jobs.driver.foreach_batch: batch 9: 900 records, 900 readings, 0 dead letters, 2 flags, version 2, 0.61 s (ms: )
"""  # noqa: E501


def test_a_swap_is_read_from_the_streams_log() -> None:
    """Breaks when the stream's line changes its form, or a delay or a pause is counted from the wrong batch."""
    first, second = batches_of(LOG)
    assert (first.version, second.version, second.time - first.time) == (1, 2, 1.5)
    at = [100.0, 101.0, 102.2, 105.0, 106.0, 112.0]
    batches = [Batch(time, 2 if time > 104 else 1) for time in at]
    swap = swap_of(batches, 101.5, 2)
    assert (swap.seconds, swap.between) == (3.5, 1)
    assert swap.pause == pytest.approx(6.0)
    with pytest.raises(ValueError, match="did not judge"):
        swap_of(batches, 101.5, 3)
    figures = {
        "swap_rate": 1000, "swaps": 8, "swap_seconds": 1.24, "swap_longest_seconds": 2.0,
        "swap_most_batches_between": 2, "swap_longest_pause_seconds": 1.5, "calm_longest_pause_seconds": 1.1,
        "swap_readings_sent": 86000, "swap_readings_stored": 86000,
    }  # fmt: skip
    assert "| 1.2 (longest 2.0) |" in with_swap(MODELS, {"swap": figures})
