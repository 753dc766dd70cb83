"""Resolve and download Maven coordinates with the Ivy that pyspark ships, which knows the registry's address."""

from __future__ import annotations

import importlib.util
import subprocess
from collections import deque
from collections.abc import Callable, Iterable
from pathlib import Path
from xml.sax.saxutils import quoteattr

from local_stack.downloads.coordinates import Coordinate, Root
from local_stack.downloads.java import find_java
from local_stack.errors import StackError

# Exact coordinates need no descriptor: reading none makes the download of 100 jars take seconds, not minutes.
# Ivy's own checksums are off because every file is checked against the lock's sha256.
_EXACT_SETTINGS = """<ivysettings>
  <settings defaultResolver="jars"/>
  <resolvers>
    <ibiblio name="jars" m2compatible="true" usepoms="false" useMavenMetadata="false" checksums=""/>
  </resolvers>
</ivysettings>
"""
_RETRIEVED = "[organisation]/[artifact]/[revision]/classifier([classifier])/[artifact]-[revision](-[classifier]).[ext]"


def resolve(roots: Iterable[Root], folder: Path, on_jar: Callable[[], None]) -> dict[Coordinate, Path]:
    """Download `roots` with what they depend on at run time.

    Args:
        roots: coordinates of one class path; of two versions of a module the newer one stays.
        folder: an empty folder that Ivy may fill.
        on_jar: called after each downloaded jar.

    Returns:
        The jar of every coordinate of the class path.
    """
    lines = []
    for root in roots:
        wanted = Coordinate.parse(root.coordinate)
        lines.append(_dependency(wanted, root.with_dependencies, "default", ()))
    return _retrieve(folder, lines, [], on_jar)


def download(coordinates: Iterable[Coordinate], folder: Path, on_jar: Callable[[], None]) -> dict[Coordinate, Path]:
    """Download exactly `coordinates`, nothing they depend on.

    Args:
        coordinates: what to fetch.
        folder: an empty folder that Ivy may fill.
        on_jar: called after each downloaded jar.

    Returns:
        The jar of every coordinate, unverified.
    """
    modules: dict[tuple[str, str, str], list[Coordinate]] = {}
    for wanted in coordinates:
        modules.setdefault((wanted.group, wanted.artifact, wanted.version), []).append(wanted)
    lines = [_dependency(of_module[0], False, "*", of_module) for of_module in modules.values()]
    settings = folder / "ivysettings.xml"
    settings.write_text(_EXACT_SETTINGS, encoding="utf-8")
    return _retrieve(folder, lines, ["-settings", str(settings)], on_jar)


def _dependency(wanted: Coordinate, transitive: bool, conf: str, files: Iterable[Coordinate]) -> str:
    artifacts = "".join(
        f'<artifact name={quoteattr(file.artifact)} type="jar" ext="jar"'
        + (f" m:classifier={quoteattr(file.classifier)}/>" if file.classifier else "/>")
        for file in files
    )
    return (
        f"<dependency org={quoteattr(wanted.group)} name={quoteattr(wanted.artifact)} rev={quoteattr(wanted.version)} "
        f'transitive="{str(transitive).lower()}" conf="default->{conf}">{artifacts}</dependency>'
    )


def _retrieve(
    folder: Path, dependencies: list[str], options: list[str], on_jar: Callable[[], None]
) -> dict[Coordinate, Path]:
    asked, found = folder / "ivy.xml", folder / "found"
    asked.write_text(
        '<ivy-module version="2.0" xmlns:m="http://ant.apache.org/ivy/maven">'
        '<info organisation="stationwatch" module="jars"/><configurations><conf name="default"/></configurations>'
        f"<dependencies>{''.join(dependencies)}</dependencies></ivy-module>",
        encoding="utf-8",
    )
    # Some jars are of type "bundle"; without the classifier in the pattern the native ones overwrite the plain ones.
    command = [find_java(), "-jar", str(_ivy_jar()), *options, "-cache", str(folder / "ivy"), "-ivy", str(asked)]
    command += ["-confs", "default", "-types", "jar", "bundle", "-retrieve", f"{found}/{_RETRIEVED}"]
    _run(command, on_jar)
    return {_coordinate_of(jar.relative_to(found)): jar for jar in sorted(found.rglob("*.jar"))}


def _run(command: list[str], on_jar: Callable[[], None]) -> None:
    last: deque[str] = deque(maxlen=15)
    with subprocess.Popen(  # noqa: S603
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace"
    ) as ivy:
        try:
            for line in ivy.stdout or ():
                last.append(line.rstrip())
                if "[SUCCESSFUL ]" in line:
                    on_jar()
        except BaseException:
            ivy.kill()
            raise
    if ivy.returncode:
        said = "\n  ".join(last)
        raise StackError(
            f"Ivy could not fetch the jars (exit {ivy.returncode}). Is the Maven registry reachable? It said:\n  {said}"
        )


def _coordinate_of(jar: Path) -> Coordinate:
    group, artifact, version, classifier, _ = jar.parts
    return Coordinate(group, artifact, version, classifier.removeprefix("classifier"))


def _ivy_jar() -> Path:
    spec = importlib.util.find_spec("pyspark")
    folders = [Path(place) / "jars" for place in (spec.submodule_search_locations or ())] if spec else []
    jars = [jar for folder in folders for jar in folder.glob("ivy-*.jar")]
    if not jars:
        raise StackError("pyspark ships the Ivy that fetches the servers, and it is not installed: run `make setup`")
    return jars[0]
