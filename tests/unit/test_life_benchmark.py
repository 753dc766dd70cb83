"""The figures of docs/drift.md come from the benchmark's results, and from nowhere else."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks.life.page import BEGIN, END, with_figures

PAGE = (Path(__file__).resolve().parents[2] / "docs" / "drift.md").read_text(encoding="utf-8")
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
