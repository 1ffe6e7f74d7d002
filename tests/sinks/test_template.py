"""Paths of files: what fields write, and which templates are refused when they are given."""

from __future__ import annotations

import os
import uuid
from pathlib import Path
from typing import Any

import pytest

from eventpipe.sinks.template import PathTemplate

STAMP = 1_767_323_045.0  # 2026-01-02T03:04:05Z


@pytest.mark.parametrize(
    ("path", "rendered"),
    [
        pytest.param("plain.ndjson", "plain.ndjson", id="no field"),
        pytest.param("a/b/plain.ndjson", "a/b/plain.ndjson", id="folders"),
        pytest.param("{seq}.csv", "7.csv", id="seq"),
        pytest.param("{seq:04d}.csv", "0007.csv", id="seq with zeros"),
        pytest.param("{seq:04}.csv", "0007.csv", id="seq with a bare width"),
        pytest.param("e-{time}-{seq}", "e-20260102T030405-7", id="time as it comes"),
        pytest.param("e-{time:%Y-%m-%d %H.%M}-{seq}", "e-2026-01-02 03.04-7", id="time with a format"),
        pytest.param("e-{time:%Y%%}-{seq}", "e-2026%-7", id="a literal percent"),
        pytest.param("{pid}-{seq}", f"{os.getpid()}-7", id="pid"),
        pytest.param("{{{seq}}}", "{7}", id="braces"),
        pytest.param("{{x}}", "{x}", id="braces and no field"),
        pytest.param("{seq}-{seq:03}", "7-007", id="a field twice"),
    ],
)
def test_renders_fields(path: Any, rendered: str) -> None:
    """Each field writes what the documentation says, the time in UTC."""
    assert PathTemplate(path).render(STAMP, 7) == Path(rendered)


def test_each_uuid_is_new() -> None:
    """``{uuid}`` writes another UUID at each call."""
    template = PathTemplate("{uuid}.ndjson")

    names = [template.render(STAMP, 1).stem for _ in range(50)]

    assert len({uuid.UUID(name) for name in names}) == 50


@pytest.mark.parametrize(
    ("path", "fields"),
    [("plain", set()), ("{{x}}", set()), ("{time}{pid}{seq}{uuid}", {"time", "pid", "seq", "uuid"})],
)
def test_names_its_fields(path: Any, fields: set[str]) -> None:
    """A path without fields is one file, so braces that are written twice do not count."""
    assert PathTemplate(Path(path)).fields == fields


@pytest.mark.parametrize(
    ("path", "message"),
    [
        pytest.param("", "path must name a file, not ''", id="empty"),
        pytest.param("logs/", "path must name a file, not 'logs/'", id="a folder"),
        pytest.param("logs/..", "path must name a file, not 'logs/..'", id="dots"),
        pytest.param(7, "path must be a path without NUL characters, not 7", id="a number"),
        pytest.param(b"x", "path must be a path without NUL characters, not b'x'", id="bytes"),
        pytest.param("a\0b", "path must be a path without NUL characters, not 'a\\x00b'", id="NUL"),
        pytest.param("{pid}/{seq}", "path must have its fields, and braces, in the file name", id="field in a folder"),
        pytest.param("{time:%Y/%m}-{seq}", "path must have its fields, and braces, in the file name", id="slash"),
        pytest.param("{host}-{seq}", "path must have fields among {time}, {seq}, {pid}, {uuid}, not {host}", id="name"),
        pytest.param("{}-{seq}", "path must have fields among {time}, {seq}, {pid}, {uuid}, not {}", id="no name"),
        pytest.param("{0}", "path must have fields among {time}, {seq}, {pid}, {uuid}, not {0}", id="number"),
        pytest.param(
            "{seq.real}", "path must have fields among {time}, {seq}, {pid}, {uuid}, not {seq", id="attribute"
        ),
        pytest.param("{seq!r}", "path must have no conversion, not !r in '{seq!r}'", id="conversion"),
        pytest.param("{seq", "path must be a template with its braces in pairs, not '{seq'", id="open brace"),
        pytest.param("seq}", "path must be a template with its braces in pairs, not 'seq}'", id="close brace"),
        pytest.param("{seq:x}", "path must have a width such as 06d in {seq}, not 'x'", id="seq in hex"),
        pytest.param("{seq:c}", "path must have a width such as 06d in {seq}, not 'c'", id="seq as a character"),
        pytest.param("{seq:999d}", "path must have a width such as 06d in {seq}, not '999d'", id="seq too wide"),
        pytest.param("{time:}-{seq:{pid}}", "path must have a width such as 06d in {seq}", id="nested"),
        pytest.param("{time:%Q}-{seq}", "path must have a strftime format in {time}, not '%Q'", id="directive"),
        pytest.param("{time:%D}-{seq}", "path must have a strftime format in {time}, not '%D'", id="slashes"),
        pytest.param("{time:%Y%}-{seq}", "path must have a strftime format in {time}, not '%Y%'", id="percent"),
        pytest.param("{time:day}-{seq}", "path must have a strftime format in {time}, not 'day'", id="no directive"),
        pytest.param("{uuid:.0}", "path must have no format in {uuid}, not '.0'", id="uuid cut off"),
        pytest.param("{pid:d}-{seq}", "path must have no format in {pid}, not 'd'", id="pid with a format"),
        pytest.param("{time:%f}-{pid}.csv", "path must have {seq} or {uuid} where it has fields", id="nothing unique"),
    ],
)
def test_refuses_a_bad_path(path: Any, message: str) -> None:
    """A path that cannot work is a ``ValueError`` at once, which names the rule and what was given."""
    with pytest.raises(ValueError, match=r"^path must ") as caught:
        PathTemplate(path)

    assert str(caught.value).startswith(message)
    assert repr(path) in str(caught.value)
