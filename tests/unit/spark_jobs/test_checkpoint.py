"""The checkpoint: one driver, one shape, a log that is whole or a sentence that says how to mend it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from core.errors import StateRefused
from spark_jobs.driver.checkpoint import (
    AlreadyRunning,
    CheckpointTorn,
    LocalFolder,
    Shape,
    check_shape,
    local_path,
    lock,
    refuse_torn,
    repair,
    torn_files,
)

OFFSETS = 'v1\n{"batchWatermarkMs":0}\n{"readings":{"0":12}}'
COMMIT = "v1\n{}"
SHAPE = Shape("readings", 32, 2)


def checkpoint(path: Path, batches: int, commits: int) -> Path:
    for log, count, text in (("offsets", batches, OFFSETS), ("commits", commits, COMMIT)):
        (path / log).mkdir(parents=True)
        for batch in range(count):
            (path / log / str(batch)).write_text(text)
    return path


def test_a_second_driver_is_refused_before_it_writes(tmp_path: Path) -> None:
    held = lock(tmp_path / "checkpoint")
    with pytest.raises(AlreadyRunning, match="in use by process"):
        lock(tmp_path / "checkpoint")
    held.close()
    lock(tmp_path / "checkpoint").close()


def test_a_checkpoint_keeps_the_shape_it_was_begun_with(tmp_path: Path) -> None:
    folder = LocalFolder(tmp_path)
    check_shape(folder, SHAPE, "here")
    check_shape(folder, SHAPE, "here")
    with pytest.raises(StateRefused, match="shards 32, set is 16"):
        check_shape(folder, Shape("readings", 16, 2), "here")


def test_another_programs_checkpoint_is_refused(tmp_path: Path) -> None:
    checkpoint(tmp_path, 1, 1)
    with pytest.raises(StateRefused, match="not one of stationwatch"):
        check_shape(LocalFolder(tmp_path), SHAPE, "here")


@pytest.mark.parametrize("rest", ["", "v1", 'v1\n{"batchWatermarkMs":0}\n{"readings":{"0":1', "v1\n{}\ngarbage"])
def test_a_torn_offsets_file_is_named_with_the_command(tmp_path: Path, rest: str) -> None:
    path = checkpoint(tmp_path / "c", 3, 2)
    (path / "offsets" / "2").write_text(rest)
    assert torn_files(LocalFolder(path)) == ["offsets/2"]
    with pytest.raises(CheckpointTorn, match=r"offsets/2.*spark_jobs\.driver\.checkpoint repair"):
        refuse_torn(LocalFolder(path), "here")


def test_a_whole_log_is_left_alone(tmp_path: Path) -> None:
    path = checkpoint(tmp_path / "c", 3, 3)
    refuse_torn(LocalFolder(path), "here")
    assert repair(path, 1.0) == []
    assert [entry.name for entry in tmp_path.iterdir()] == ["c"]


def test_repair_drops_the_torn_tail_and_keeps_a_backup(tmp_path: Path) -> None:
    path = checkpoint(tmp_path / "c", 3, 3)
    (path / "offsets" / "2").write_bytes(b"")
    assert repair(path, 1.0) == ["offsets/2", "commits/2"]
    assert sorted(file.name for file in (path / "offsets").iterdir()) == ["0", "1"]
    assert sorted(file.name for file in (path / "commits").iterdir()) == ["0", "1"]
    assert (tmp_path / "c.backup-1" / "commits" / "2").is_file()


def test_repair_of_a_torn_commit_lets_the_batch_run_again(tmp_path: Path) -> None:
    path = checkpoint(tmp_path / "c", 3, 3)
    (path / "commits" / "2").write_bytes(b"")
    assert repair(path, 1.0) == ["commits/2"]
    assert (path / "offsets" / "2").is_file()


def test_repair_refuses_a_hole_in_the_middle(tmp_path: Path) -> None:
    path = checkpoint(tmp_path / "c", 3, 3)
    (path / "offsets" / "1").write_bytes(b"")
    with pytest.raises(StateRefused, match="batch 2 follows"):
        repair(path, 1.0)
    assert json.loads((path / "offsets" / "2").read_text().splitlines()[-1])


@pytest.mark.parametrize(
    ("uri", "folder"),
    [
        ("/srv/checkpoint", "/srv/checkpoint"),
        ("/srv/a%20b", "/srv/a%20b"),
        ("/srv/../srv/checkpoint", "/srv/checkpoint"),
        ("file:///srv/a%20b", "/srv/a b"),
        ("file:/srv/checkpoint", "/srv/checkpoint"),
        ("file://localhost/srv/checkpoint", "/srv/checkpoint"),
    ],
)
def test_a_folder_of_this_machine_is_locked_and_checked_here(uri: str, folder: str) -> None:
    """Breaks when a second driver on this machine is not refused, since the lock is beside another folder."""
    assert local_path(uri) == Path(folder)


def test_a_relative_checkpoint_is_that_of_the_working_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Breaks when the driver and the repair command look into different folders."""
    monkeypatch.chdir(tmp_path)
    assert local_path("runs/checkpoint") == tmp_path.resolve() / "runs" / "checkpoint"


@pytest.mark.parametrize(
    "uri",
    ["hdfs://name/checkpoint", "hdfs:///checkpoint", "s3a://bucket/checkpoint", "abfss://c@account/checkpoint",
     "file://elsewhere/srv/checkpoint"],
)  # fmt: skip
def test_a_checkpoint_elsewhere_is_no_local_folder(uri: str) -> None:
    """Breaks when a lock and a shape are written to a folder here although Spark's files are on other machines."""
    assert local_path(uri) is None
