"""Find the Java that the servers run on."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path

from local_stack.errors import StackError

_VERSION = re.compile(r'version "(?:1\.)?(\d+)')
_ADVICE = "install a Java 17 (Debian: apt-get install openjdk-17-jre-headless) or point JAVA_HOME at one"


def find_java() -> str:
    """Return the path of a Java 17: that of JAVA_HOME, else the first on PATH.

    Exactly 17: Cassandra 5.0 runs on 11 and 17 only, Kafka 4 and Spark 4 need 17 or newer.

    Raises:
        StackError: no Java, or another version.
    """
    home = os.environ.get("JAVA_HOME")
    java = str(Path(home) / "bin" / "java") if home else shutil.which("java")
    if java is None or shutil.which(java) is None:
        raise StackError(f"Java 17 is needed, found none at {java or 'PATH'}: {_ADVICE}")
    version = _major_version(java)
    if version != 17:
        raise StackError(f"Java 17 is needed, found {version or 'an unknown version'} at {java}: {_ADVICE}")
    return java


def _major_version(java: str) -> int | None:
    shown = subprocess.run([java, "-version"], capture_output=True, text=True, check=False)  # noqa: S603
    found = _VERSION.search(shown.stderr + shown.stdout)
    return int(found.group(1)) if found else None
