"""`python -m local_stack.downloads.image_packages`: what each image installs, as names of requirements.lock.

Found by following imports from the process's entry, late ones included, so an image holds nothing that is not used and
lacks nothing that is.
"""

from __future__ import annotations

import argparse
import ast
import re
import sys
from collections.abc import Iterable, Iterator
from functools import partial
from importlib import metadata
from pathlib import Path

from packaging.requirements import Requirement

from core.process import DONE, Command, run_command

ROOT = Path(__file__).resolve().parents[2]
FOLDER = ROOT / "docker" / "packages"
# Image → the modules it starts with.
ENTRIES = {
    "api": ("api.__main__", "api.security.token_command"),
    "alarms": ("alarms.__main__",),
    "levels": ("spark_jobs.plant_levels.__main__",),
    "simulator": ("iot_simulator.__main__",),
    "stream": ("spark_jobs.detect_anomalies", "spark_jobs.driver.checkpoint", "local_stack.downloads.jars_command"),
    "retrainer": ("models.train", "models.retraining.retrainer", "iot_simulator.__main__"),
    "setup": ("local_stack.servers.topics_command", "storage.__main__"),
}
# Used by name or by a library that finds them itself.
ALSO = {"stream": ("pandas", "pyarrow"), "retrainer": ("pandas", "pyarrow", "mlflow"), "mlflow": ("mlflow",)}
_NAME = re.compile(r"[-_.]+")


def packages() -> dict[str, list[str]]:
    """Return image → canonical names of what it installs, sorted."""
    lock = (ROOT / "requirements.lock").read_text(encoding="utf-8")
    locked = {_canonical(name) for name in re.findall(r"(?m)^([A-Za-z0-9][^=\[ ]*)(?:\[[^]]*\])?==", lock)}
    found = {}
    for image in sorted({*ENTRIES, *ALSO}):
        roots = {*_third_party(ENTRIES.get(image, ())), *ALSO.get(image, ())}
        found[image] = sorted(_closure(roots) & locked)
    return found


def own_modules(entries: Iterable[str]) -> set[str]:
    """Return the modules of this project that these reach."""
    found: set[str] = set()
    waiting = [name for name in entries if _path(name)]
    while waiting:
        name = waiting.pop()
        if name not in found:
            found.add(name)
            waiting += [one for one in _imports(name) if _path(one)]
    return found


def _third_party(entries: Iterable[str]) -> set[str]:
    known = metadata.packages_distributions()
    roots = {name.partition(".")[0] for module in own_modules(entries) for name in _imports(module)}
    found = {_distribution(root, known[root]) for root in roots if root in known and not (ROOT / root).is_dir()}
    # The folder of .cql files has the driver's name.
    return found | ({"cassandra-driver"} if "cassandra" in roots else set())


def _distribution(root: str, candidates: list[str]) -> str:
    # MLflow's code comes in several distributions; the one of the same name brings the others.
    names = [_canonical(name) for name in candidates]
    return root if root in names else names[0]


def _imports(module: str) -> Iterator[str]:
    path = _path(module)
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8") if path else "")):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def _path(module: str) -> Path | None:
    base = ROOT.joinpath(*module.split("."))
    return next((path for path in (base.with_suffix(".py"), base / "__init__.py") if path.is_file()), None)


def _closure(roots: Iterable[str]) -> set[str]:
    found: set[str] = set()
    waiting = [_canonical(root) for root in roots]
    while waiting:
        name = waiting.pop()
        if name not in found:
            found.add(name)
            waiting += _needs(name)
    return found


def _needs(name: str) -> list[str]:
    try:
        wanted = [Requirement(text) for text in metadata.requires(name) or []]
    except metadata.PackageNotFoundError:
        return []
    return [_canonical(one.name) for one in wanted if one.marker is None or one.marker.evaluate({"extra": ""})]


def _canonical(name: str) -> str:
    return _NAME.sub("-", name).lower()


def write_packages(options: argparse.Namespace) -> int:
    """Write the list of each image."""
    FOLDER.mkdir(parents=True, exist_ok=True)
    for image, names in packages().items():
        (FOLDER / f"{image}.txt").write_text("\n".join([*names, ""]), encoding="utf-8")
        print(f"{image}: {len(names)} packages")
    return DONE


COMMAND = Command("image-packages", "write what each image installs", write_packages, description=__doc__)
main = partial(run_command, COMMAND, "python -m local_stack.downloads.image_packages", __doc__)


if __name__ == "__main__":
    sys.exit(main())
