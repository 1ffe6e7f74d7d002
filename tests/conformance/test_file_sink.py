"""``FileSink`` keeps the contract, with one file and with many, as NDJSON and as CSV."""

from __future__ import annotations

import asyncio
import csv
import errno
import json
import os
import threading
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from eventpipe.sinks import FileSink, appending
from eventpipe.testing.sink_contract import SinkContract
from eventpipe.testing.sink_rig import Refusal, SinkRig


class DiskWire:
    """A folder whose disk is full, refuses, or keeps a write waiting when told to."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self._folder = folder
        self._write = appending._write
        self._error: OSError | None = None
        self._gate = threading.Event()
        self._gate.set()
        self._reached = asyncio.Event()
        self._loop = asyncio.get_running_loop()
        monkeypatch.setattr(appending, "_write", self._write_or_not)

    @property
    def received(self) -> Sequence[str]:
        return [uuid for path in sorted(self._folder.iterdir(), key=_number) for uuid in _read(path)]

    def accept(self) -> None:
        self._error = None
        self._gate.set()

    def refuse(self, kind: Refusal, retry_after: float | None = None) -> None:
        self._error = OSError({"transient": errno.ENOSPC, "permanent": errno.EROFS}[kind], "no")

    def hang(self) -> None:
        self._gate.clear()

    async def reached(self) -> None:
        await self._reached.wait()

    async def left(self) -> None:
        """A folder has no connections."""

    def _write_or_not(self, fd: int, data: bytes) -> None:
        if not self._gate.is_set():
            self._loop.call_soon_threadsafe(self._reached.set)
            assert self._gate.wait(5)
        if self._error is not None:
            os.write(fd, data[: len(data) // 2])  # a torn line, if nobody takes it back
            raise self._error
        self._write(fd, data)


def _number(path: Path) -> int:
    return int("0" + "".join(filter(str.isdigit, path.name)))


def _read(path: Path) -> list[str]:
    if ".csv" in path.name:
        with path.open(newline="", encoding="utf-8") as file:
            return [row["uuid"] for row in csv.DictReader(file, strict=True)]
    data = path.read_bytes()
    assert data == b"" or data.endswith(b"\n")
    return [json.loads(line)["uuid"] for line in data.split(b"\n")[:-1]]


OPTIONS: dict[str, dict[str, Any]] = {
    "one NDJSON file": {"path": "events.ndjson"},
    "one CSV file": {"path": "events.csv", "format": "csv"},
    "many NDJSON files": {"path": "{seq}.ndjson", "rotate_bytes": 2000, "rotate_age": 3600},
    "many CSV files": {"path": "{seq}.csv", "format": "csv", "rotate_bytes": 2000, "fsync": True},
}


class TestFileSink(SinkContract):
    @pytest_asyncio.fixture(params=OPTIONS)
    async def rig(
        self, request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> AsyncIterator[SinkRig]:
        options = dict(OPTIONS[request.param])
        wire = DiskWire(tmp_path, monkeypatch)
        sink = FileSink(tmp_path / options.pop("path"), **options)
        yield SinkRig(sink, wire, retry_after=False)
        wire.accept()
        await sink.aclose()
