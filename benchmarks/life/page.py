"""The tables of docs/drift.md and docs/models.md, between their markers."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

BEGIN, END = "<!-- figures: make bench-life -->", "<!-- end of figures -->"


def with_figures(page: str, found: dict[str, Any]) -> str:
    """Return docs/drift.md with these figures instead of the ones it has.

    Raises:
        ValueError: the page has no markers.
    """
    rows = [*_drift(found.get("drift")), *_feedback(found.get("feedback")), *_poisoned(found.get("poisoned"))]
    return _with_table(page, [*rows, *_retraining(found.get("retraining"))])


def with_swap(page: str, found: dict[str, Any]) -> str:
    """Return docs/models.md with the figures of the swap instead of the ones it has.

    Raises:
        ValueError: the page has no markers.
    """
    return _with_table(page, [*_swap(found.get("swap"))])


def _with_table(page: str, rows: list[tuple[str, str]]) -> str:
    start, end = page.index(BEGIN) + len(BEGIN), page.index(END)
    if not rows:
        return f"{page[:start]}\nNothing was measured yet.\n{page[end:]}"
    table = "\n".join(["| What | Figure |", "|---|---|", *(f"| {what} | {figure} |" for what, figure in rows)])
    return f"{page[:start]}\n{table}\n{page[end:]}"


def _swap(found: dict[str, Any] | None) -> Iterator[tuple[str, str]]:
    if found is None:
        return
    yield (
        f"seconds from the alias to the first stored batch of the other version, {found['swaps']} swaps at "
        f"{found['swap_rate']:,} readings/s",
        f"{found['swap_seconds']:.1f} (longest {found['swap_longest_seconds']:.1f})",
    )
    yield "batches that were stored meanwhile", f"{found['swap_most_batches_between']} at most"
    yield (
        "longest time between two stored batches around a swap",
        f"{found['swap_longest_pause_seconds']:.1f} s (without a swap {found['calm_longest_pause_seconds']:.1f} s)",
    )
    yield "readings sent, and stored", f"{found['swap_readings_sent']:,}, {found['swap_readings_stored']:,}"


def _drift(found: dict[str, Any] | None) -> Iterator[tuple[str, str]]:
    if found is None:
        return
    checks, fired = found["drift_free_checks"], found["drift_free_checks_that_fire"]
    windows, alone = found["drift_free_windows"], found["drift_free_windows_that_fire"]
    yield "checks without drift that say drift", f"{fired} of {checks} ({fired / checks:.2%})"
    yield "single windows of them in which a feature fires", f"{alone} of {windows} ({alone / windows:.2%})"
    shifts, hits, named = found["half_sigma_shifts"], found["half_sigma_found"], found["half_sigma_named"]
    hours = found["persistence_window_hours"]
    yield f"0.5 σ on one sensor, found within {hours:g} hours", f"{hits} of {shifts}; the sensor is named in {named}"
    tiny = "drift" if found["tiny_shift_fires"] else "no drift"
    yield (
        f"{found['tiny_shift_sigma']:g} σ at {found['tiny_shift_rows']:,} readings in one window",
        f"{tiny}: effect {found['tiny_shift_effect']:.3f}, p = {found['tiny_shift_p_value']:.1g}",
    )
    yield f"seconds of a check of {found['check_samples']:,} samples", f"{found['check_seconds']:.1f}"


def _feedback(found: dict[str, Any] | None) -> Iterator[tuple[str, str]]:
    if found is None:
        return
    before, after = found["mode_flags_before"], found["mode_flags_after"]
    yield (
        f"flags on a benign mode after {found['feedback_labels_a_plant']} labels a plant",
        f"{before} → {after} ({found['mode_flags_fewer']:.0%} fewer)",
    )
    yield (
        f"recall on {found['faults']} faults meanwhile",
        f"{found['recall_before']:.3f} → {found['recall_after']:.3f} ({found['recall_points_lost']:.1f} points lower)",
    )


def _poisoned(found: dict[str, Any] | None) -> Iterator[tuple[str, str]]:
    for share, outcome in (found or {}).get("poisoned", {}).items():
        said = "passes the gates" if outcome["passed"] else "is refused"
        yield f"a training with {share} of its readings faulty", f"{said}: {outcome['reason']}"


def _retraining(found: dict[str, Any] | None) -> Iterator[tuple[str, str]]:
    if found is None:
        return
    phases = ", ".join(f"{name} {found[f'retraining_{name}_seconds']:.1f}" for name in ("fit", "gates", "plots"))
    yield (
        f"seconds of a retraining on {found['retraining_samples']:,} samples, without Cassandra and MLflow",
        f"{found['retraining_seconds']:.1f} ({phases})",
    )
