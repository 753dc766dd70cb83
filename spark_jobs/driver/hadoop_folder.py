"""A checkpoint on a shared file system or object store, read through Spark's own Hadoop client."""

from __future__ import annotations

from typing import Any

from pyspark.sql import SparkSession


class HadoopFolder:
    """The files of a checkpoint behind a URI such as `hdfs://…` or `s3a://…`."""

    def __init__(self, spark: SparkSession, uri: str) -> None:
        jvm: Any = spark.sparkContext._jvm
        self._root = jvm.org.apache.hadoop.fs.Path(uri)
        self._path = jvm.org.apache.hadoop.fs.Path
        self._read_all = jvm.org.apache.commons.io.IOUtils.toByteArray
        self._files = self._root.getFileSystem(spark.sparkContext._jsc.hadoopConfiguration())  # type: ignore[attr-defined]

    def read(self, name: str) -> bytes | None:
        """Return a file's bytes, None when it is not there."""
        path = self._path(self._root, name)
        if not self._files.exists(path):
            return None
        stream = self._files.open(path)
        try:
            return bytes(self._read_all(stream))
        finally:
            stream.close()

    def write(self, name: str, data: bytes) -> None:
        """Write a small file whole."""
        stream = self._files.create(self._path(self._root, name), True)
        try:
            stream.write(data)
        finally:
            stream.close()

    def names(self, folder: str) -> list[str]:
        """Return the names in a subfolder, none when it is not there."""
        path = self._path(self._root, folder)
        if not self._files.exists(path):
            return []
        return sorted(str(status.getPath().getName()) for status in self._files.listStatus(path))
