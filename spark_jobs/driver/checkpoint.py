"""The checkpoint folder: whose it is, what shape it was begun with, whether its log is whole, and how to mend it.

`check` says whether the log is whole. `repair` makes a backup and drops the broken end of the log; no reading is lost,
because Kafka still has them.
"""

from __future__ import annotations

import argparse
import fcntl
import json
import os
import shutil
import sys
import time
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import IO, Protocol
from urllib.parse import unquote, urlparse

from core.errors import StateRefused, StationwatchError
from core.process import DONE, FAILED, UNUSABLE, Command, run_command
from core.settings import load_settings
from models.scoring.shard_state import LAYOUT

_SHAPE_FILE = "stationwatch.json"
_LOGS = ("offsets", "commits")


class CheckpointTorn(StationwatchError):
    """The last file of a checkpoint log is empty or cut short, which stops the query for ever."""


class AlreadyRunning(StationwatchError):
    """Another driver holds this checkpoint or this keyspace's lease."""


@dataclass(frozen=True)
class Shape:
    """What a checkpoint is begun with and keeps. Partitions may grow; sensors follow the state's header."""

    topic: str
    shards: int
    shuffle_partitions: int
    state_layout: int = LAYOUT


class Folder(Protocol):
    """The files of a checkpoint, wherever it lies."""

    def read(self, name: str) -> bytes | None:
        """Return a file's bytes, None when it is not there."""

    def write(self, name: str, data: bytes) -> None:
        """Write a small file whole."""

    def names(self, folder: str) -> list[str]:
        """Return the names in a subfolder, none when it is not there."""


class LocalFolder:
    """A checkpoint on this machine's disk."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def read(self, name: str) -> bytes | None:
        """Return a file's bytes, None when it is not there."""
        file = self.path / name
        return file.read_bytes() if file.is_file() else None

    def write(self, name: str, data: bytes) -> None:
        """Write a file whole: a crash leaves the old one or the new one."""
        self.path.mkdir(parents=True, exist_ok=True)
        draft = self.path / f".{name}.draft"
        with draft.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        draft.replace(self.path / name)

    def names(self, folder: str) -> list[str]:
        """Return the names in a subfolder, none when it is not there."""
        place = self.path / folder
        return sorted(entry.name for entry in place.iterdir()) if place.is_dir() else []


def local_path(uri: str) -> Path | None:
    """Return the folder that a checkpoint URI names on this machine, None for one elsewhere."""
    parsed = urlparse(uri)
    if parsed.scheme == "file" and parsed.netloc in ("", "localhost"):
        return Path(unquote(parsed.path))
    return Path(uri).resolve() if not parsed.scheme else None


def lock(path: Path) -> IO[str]:
    """Hold the checkpoint against a second driver on this machine; the kernel frees it when this process dies.

    Raises:
        AlreadyRunning: another process holds it. Nothing was written.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    file = path.with_name(f"{path.name}.lock").open("a+")
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        file.seek(0)
        holder = file.read().strip() or "unknown"
        file.close()
        raise AlreadyRunning(
            f"checkpoint {path} is in use by process {holder}; stop that one first, or set STATIONWATCH_CHECKPOINT"
        ) from None
    file.seek(0)
    file.truncate()
    file.write(str(os.getpid()))
    file.flush()
    return file


def check_shape(folder: Folder, wanted: Shape, where: str) -> None:
    """Compare the checkpoint with what this job is set to; a fresh one is given its shape.

    Raises:
        StateRefused: it was begun with another shape. The message says which values to set.
    """
    stored = folder.read(_SHAPE_FILE)
    if stored is None:
        if folder.names("offsets"):
            raise StateRefused(f"checkpoint {where} holds a query without {_SHAPE_FILE}: it is not one of stationwatch")
        folder.write(_SHAPE_FILE, json.dumps(asdict(wanted), indent=1).encode())
        return
    found = Shape(**json.loads(stored))
    if found != wanted:
        pairs = zip(asdict(found).items(), asdict(wanted).values(), strict=True)
        differences = [f"{name} {was!r}, set is {now!r}" for (name, was), now in pairs if was != now]
        raise StateRefused(
            f"checkpoint {where} was begun with {'; '.join(differences)}. Set them back, or point "
            "STATIONWATCH_CHECKPOINT at a new folder: the stream then replays the topic from its beginning"
        )


def torn_files(folder: Folder) -> list[str]:
    """Return the log files that Spark cannot read, `offsets/12` or `commits/12`, of all that are there."""
    numbered = (f"{log}/{name}" for log in _LOGS for name in folder.names(log) if name.isdecimal())
    return [name for name in numbered if not _is_whole(folder.read(name) or b"")]


def refuse_torn(folder: Folder, where: str) -> None:
    """Stop before Spark stumbles over a torn log.

    Raises:
        CheckpointTorn: with the files, and the command that mends it.
    """
    torn = torn_files(folder)
    if torn:
        raise CheckpointTorn(
            f"checkpoint {where}: {', '.join(torn)} is empty or cut short (a full disk or a power cut while it was "
            "written). Nothing is lost: Kafka still has the readings. "
            "Run: python -m spark_jobs.driver.checkpoint repair"
        )


def repair(path: Path, now: float) -> list[str]:
    """Drop the torn tail of a local checkpoint, after a backup beside it; the batch runs again.

    Args:
        path: the checkpoint.
        now: s since the epoch, for the backup's name.

    Returns:
        The files that were dropped; none when the log is whole.

    Raises:
        StateRefused: a file before the tail is torn, so that dropping the tail would lose whole batches.
    """
    folder = LocalFolder(path)
    torn = torn_files(folder)
    if not torn:
        return []
    newest = max((int(name) for name in folder.names("offsets") if name.isdecimal()), default=-1)
    deep = [name for name in torn if int(name.split("/")[1]) < newest]
    if deep:
        raise StateRefused(
            f"checkpoint {path}: {', '.join(deep)} is torn, though batch {newest} follows. Move the folder away and "
            "start afresh: the stream replays the topic from its beginning and ends with the same rows"
        )
    shutil.copytree(path, path.with_name(f"{path.name}.backup-{int(now)}"))
    # A batch whose offsets are unknown cannot be committed either.
    dropped = torn + ([f"commits/{newest}"] if f"offsets/{newest}" in torn else [])
    for name in dict.fromkeys(dropped):
        log, batch = name.split("/")
        for file in (path / log / batch, path / log / f".{batch}.crc"):
            file.unlink(missing_ok=True)
    return list(dict.fromkeys(dropped))


def _is_whole(data: bytes) -> bool:
    """Whether a log file has its version line and lines of JSON (a source that had no offset yet is `-`)."""
    version, *lines = data.decode("utf-8", "replace").splitlines() or [""]
    if not version.startswith("v") or not lines:
        return False
    for line in lines:
        try:
            if line != "-":
                json.loads(line)
        except ValueError:
            return False
    return True


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add what is to be done, and where."""
    parser.add_argument("verb", choices=("check", "repair"))
    parser.add_argument("--checkpoint", help="folder; default: the one of the settings")


def look_after(options: argparse.Namespace) -> int:
    """Check or repair a checkpoint; UNUSABLE where there is none on this machine."""
    path = local_path(options.checkpoint or load_settings().checkpoint_uri)
    if path is None or not path.is_dir():
        print(f"no checkpoint at {options.checkpoint or path} on this machine", file=sys.stderr)
        return UNUSABLE
    with lock(path):
        torn = torn_files(LocalFolder(path))
        dropped = repair(path, time.time()) if options.verb == "repair" else []
    print(f"{path}: " + (f"torn: {', '.join(torn)}" if torn else "the log is whole"))
    if dropped:
        print(f"dropped {', '.join(dropped)}; a backup lies beside the checkpoint. Start the job again.")
    return FAILED if torn and options.verb == "check" else DONE


COMMAND = Command("checkpoint", "check or repair the stream's checkpoint", look_after, add_arguments, __doc__)
main = partial(run_command, COMMAND, "python -m spark_jobs.driver.checkpoint", __doc__)


if __name__ == "__main__":
    sys.exit(main())
