"""What ``eventpipe doctor`` says of what it found, and its checks of this machine: each judged by itself."""

from __future__ import annotations

import asyncio
import io
import os
import shutil
import socket
import sys
import threading
import time
import tomllib
from pathlib import Path
from typing import NamedTuple

import pytest
from rich.console import Console

from eventpipe import ClientOptions
from eventpipe.cli import doctor as command
from eventpipe.cli import doctor_process as process
from eventpipe.cli.doctor import DoctorOptions, doctor
from eventpipe.cli.doctor_disk import check_file
from eventpipe.cli.doctor_judgement import judge_address, judge_clock, judge_tls
from eventpipe.cli.doctor_probe import Answer, Place, Secured
from eventpipe.cli.doctor_report import Finding, Report, Status, as_lines, as_picture, tell
from eventpipe.cli.doctor_spool import check_spool
from eventpipe.cli.settings import read_settings
from eventpipe.spool import folder

ROOT = Path(__file__).parents[2]
OK, WARNING, FAILED, UNKNOWN = Status.OK, Status.WARNING, Status.FAILED, Status.UNKNOWN
FULL = Finding("key", FAILED, "it answers 401: the key is refused", "check the key, and that it is of this region", 0.1)


class Usage(NamedTuple):
    total: int
    used: int
    free: int


def test_plain_lines_are_in_columns() -> None:
    """What to do is on a line of its own."""
    assert list(as_lines(FULL)) == [
        "failed       key            it answers 401: the key is refused",
        "                            -> check the key, and that it is of this region",
    ]
    assert list(as_lines(Finding("name", UNKNOWN, "nothing"))) == ["not checked  name           nothing"]


@pytest.mark.parametrize("width", [20, 40, 59, 60, 80, 200])
def test_picture_fits_any_terminal(width: int) -> None:
    """Long words are folded, and all of them are there."""
    console = Console(file=io.StringIO(), width=width, record=True)
    long = Finding("configuration", WARNING, "x" * 90, "y" * 90)

    console.print(as_picture(long, width))

    text = console.export_text()
    assert all(len(line) <= width for line in text.splitlines())
    assert (text.count("x"), text.count("y"), "configuration" in text) == (90, 90, True)


def test_terminal_gets_colours_and_nothing_else_does() -> None:
    """And markup in what was found is only text."""
    finding = Finding("name", OK, "[red]a[/red]")
    plain, coloured = io.StringIO(), io.StringIO()

    tell(finding, Console(file=plain))
    tell(finding, Console(file=coloured, force_terminal=True, width=80))

    assert plain.getvalue() == "ok           name           [red]a[/red]\n"
    assert "\x1b[32mok" in coloured.getvalue()
    assert "[red]a[/red]" in coloured.getvalue()


def test_secrets_are_taken_out_whoever_repeats_them() -> None:
    """The longest first; what is too short to be one stays."""
    finding = Finding("key", FAILED, "phc_abcd-long and phc_abcd\x1b[2J\nab", "use phc_abcd")

    told = finding.without(["phc_abcd", "phc_abcd-long", "ab"])

    assert told.found == "(not shown) and (not shown)?[2J ab"
    assert told.advice == "use (not shown)"


@pytest.mark.parametrize(
    ("found", "code", "summary"),
    [
        ((), 0, "0 failed, 0 warnings, 0 ok, 0 not checked; each check had at most 2.5 s"),
        ((OK, UNKNOWN, WARNING), 0, "0 failed, 1 warning, 1 ok, 1 not checked; each check had at most 2.5 s"),
        ((OK, FAILED, FAILED), 1, "2 failed, 0 warnings, 1 ok, 0 not checked; each check had at most 2.5 s"),
    ],
    ids=["nothing", "warning", "failed"],
)
def test_exit_code_says_whether_something_failed(found: tuple[Status, ...], code: int, summary: str) -> None:
    """A warning alone is no failure."""
    report = Report([Finding("x", status, "") for status in found], 2.5)

    assert (report.exit_code, report.summary(), report.as_json()["exit_code"]) == (code, summary, code)


def test_what_is_needed_is_what_the_package_declares() -> None:
    """Libraries, their versions and the extras are those of ``pyproject.toml``."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    needed = {f"{library}>={version}" for library, version in process.LIBRARIES.items()}
    extras = {
        name: {requirement.partition(";")[0].strip() for requirement in requirements}
        for name, requirements in project["optional-dependencies"].items()
    }

    assert needed == set(project["dependencies"])
    assert process.EXTRAS.keys() == extras.keys()
    assert all(f"{extra.library}>={extra.version}" in extras[name] for name, extra in process.EXTRAS.items())


def test_library_that_is_old_or_missing_is_told() -> None:
    """A needed one is a failure, one of an extra a warning, and an extra that is not installed neither."""
    versions = {**process.LIBRARIES, "aiohttp": "3.14", "isal": "1.6.9", "brotli": "1.10.0rc1"}
    del versions["orjson"]

    found = list(process.check_libraries(versions.get))

    assert [(one.check, one.status) for one in found[:2]] == [("libraries", FAILED), ("extras", WARNING)]
    assert found[0].found == "aiohttp 3.14 is older than 3.14.1, orjson is not installed"
    assert found[1].found == "speed: isal 1.6.9 is older than 1.7"
    assert "brotli (brotli 1.10.0rc1)" in found[2].found
    assert "otlp (OtlpLogs in protobuf)" in found[3].found
    assert {one.status for one in found[2:]} == {OK}


def test_installed_libraries_are_found() -> None:
    """The real ones, of the environment that the tests run in."""
    [libraries, *_] = process.check_libraries(process.installed)

    assert libraries.status is OK
    assert process.installed("no-such-library-of-anybody") is None


def test_configuration_says_where_from(tmp_path: Path) -> None:
    """Counted by place; a client that is switched off is a warning."""
    path = tmp_path / "events.toml"
    path.write_text("workers = 3\nenabled = false\n")
    environ = {"EVENTPIPE_CONFIG": str(path), "EVENTPIPE_STRICT": "1"}

    off, told = process.check_configuration(read_settings(environ))
    [default] = process.check_configuration(read_settings({}))

    assert (off.status, off.found) == (
        WARNING,
        f"enabled in {path} is off: clients take nothing in and send nothing",
    )
    assert told.found == f"1 option from the environment, 2 options from {path}, the rest are defaults"
    assert (default.status, default.found) == (OK, "all options are defaults")


def test_proxies_are_not_read_and_that_is_said() -> None:
    """Whatever the case of the variable; its value may have a password in it."""
    [_, found] = process.check_variables({"https_proxy": "http://u:pw@p", "ALL_PROXY": "x", "HTTP_PROXY": " "})

    assert (found.status, found.found) == (
        WARNING,
        "ALL_PROXY, https_proxy set, and not read: requests go straight to the far end",
    )


@pytest.mark.parametrize(
    ("limit", "workers", "status"),
    [(None, 16, UNKNOWN), (1024, 16, OK), (80, 16, OK), (79, 16, WARNING), (16, 16, FAILED), (256, 1000, FAILED)],
    ids=str,
)
def test_limit_of_open_files_holds_the_workers(limit: int | None, workers: int, status: Status) -> None:
    """A connection for each, and some to spare."""
    assert process.check_open_files(limit, ClientOptions(workers=workers)).status is status


def test_limit_of_this_process_is_read() -> None:
    """It is a number above zero where the system has one."""
    limit = process.open_files_limit()

    assert limit is None or limit > 0


def test_event_loops_are_named() -> None:
    """Neither is a fault."""
    assert process.check_event_loop(lambda _: None).found.startswith("asyncio's own")
    assert process.check_event_loop(lambda _: "0.22").found.startswith("uvloop 0.22 is installed")


@pytest.mark.parametrize(
    ("date", "asked", "answered", "status"),
    [
        (1_700_000_000, 1_700_000_000.9, 1_700_000_001.5, OK),
        (1_700_000_000, 1_700_000_006.0, 1_700_000_006.1, OK),
        (1_700_000_000, 1_700_000_006.1, 1_700_000_006.2, WARNING),
        (1_700_000_000, 1_699_999_990.0, 1_699_999_995.0, OK),
        (1_700_000_000, 1_699_999_990.0, 1_699_999_994.9, WARNING),
        (1_700_000_000, 1_700_000_301.0, 1_700_000_302.0, WARNING),
        (1_700_000_000, 1_700_000_301.1, 1_700_000_302.0, FAILED),
    ],
    ids=["same second", "5 s ahead", "more", "5 s behind", "more behind", "300 s", "more than 300 s"],
)
def test_clock_is_compared_as_far_as_dates_tell(date: int, asked: float, answered: float, status: Status) -> None:
    """Dates have whole seconds, and an answer takes time: neither counts as skew."""
    stamp = time.strftime("%a, %d %b %Y %H:%M:%S GMT", time.gmtime(date))

    assert judge_clock(Answer(200, {"date": stamp}, asked, answered)).status is status


@pytest.mark.parametrize("headers", [{}, {"date": "today"}], ids=["none", "no date"])
def test_clock_without_a_date_is_not_checked(headers: dict[str, str]) -> None:
    """Nothing is guessed."""
    assert judge_clock(Answer(200, headers, 0.0, 1.0)).status is UNKNOWN


@pytest.mark.parametrize(("days", "status"), [(400, OK), (14, OK), (13.9, WARNING), (0.5, WARNING)])
def test_certificate_is_judged_by_its_days(days: float, status: Status) -> None:
    """Two weeks are time enough."""
    assert judge_tls(Secured("TLSv1.3", 1000.0 + days * 86_400), 1000.0).status is status


@pytest.mark.parametrize(
    ("url", "allowed", "refused"),
    [
        ("https://collector.example", OK, OK),
        ("http://127.0.0.1:8000", OK, OK),
        ("http://localhost:8000/x", OK, OK),
        ("http://[::1]:8000", OK, OK),
        ("http://collector.example", WARNING, FAILED),
        ("http://10.1.2.3", WARNING, FAILED),
    ],
)
def test_plain_http_stays_on_this_machine(url: str, allowed: Status, refused: Status) -> None:
    """Unless it was allowed to leave, which is a warning."""
    place = Place.of(url)

    assert judge_address(place, allow_insecure=True).status is allowed
    assert judge_address(place, allow_insecure=False).status is refused


@pytest.fixture
def much_space(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda _: Usage(10**12, 0, 10**12))


@pytest.mark.usefixtures("much_space")
@pytest.mark.parametrize("name", ["events.ndjson", "events-{seq}.ndjson", "events-{time:%Y}-{uuid}.ndjson"])
def test_file_that_a_sink_will_make(name: str, tmp_path: Path) -> None:
    """The folder takes files, and nothing stays there."""
    found = check_file(tmp_path / name)

    assert [one.status for one in found] == [OK, OK]
    assert found[0].found == f"{tmp_path} is there, and takes new files"
    assert found[1].found == f"931.3 GiB free in {tmp_path}"
    assert list(tmp_path.iterdir()) == []


@pytest.mark.usefixtures("much_space")
@pytest.mark.parametrize(("mode", "status"), [(0o600, OK), (0o640, WARNING), (0o604, WARNING)], ids=str)
def test_file_that_is_there(mode: int, status: Status, tmp_path: Path) -> None:
    """It can be added to, its owner is named, its content stays as it is, and others should not read it."""
    path = tmp_path / "events.ndjson"
    path.write_text("{}\n")
    path.chmod(mode)

    found = check_file(path)

    assert found[0].status is status
    assert "can be added to; its owner is " in found[0].found
    assert path.read_text() == "{}\n"


@pytest.mark.usefixtures("much_space")
def test_what_is_no_file_or_folder(tmp_path: Path) -> None:
    """A folder that is missing, a folder in place of a file, a socket, a template that is none."""
    (tmp_path / "folder").mkdir()
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(tmp_path / "socket"))
        found = [check_file(tmp_path / name) for name in ("no/events", "folder", "socket", "a-{pid}", "{x}")]

    assert [one[0].status for one in found] == [FAILED] * 5
    assert found[0][0].found == f"{tmp_path}/no is no folder"
    assert found[1][0].found == f"{tmp_path}/folder is no file"
    assert found[2][0].found == f"{tmp_path}/socket is no file"
    assert found[3][0].found.startswith("path must have {seq} or {uuid} where it has fields")


@pytest.mark.usefixtures("much_space")
def test_spool_that_a_client_can_use_or_make(tmp_path: Path) -> None:
    """It is not made, and nothing stays there."""
    (tmp_path / "there").mkdir(mode=0o700)

    found = [check_spool(tmp_path / name) for name in ("there", "new", "new/below")]

    assert [[one.status for one in each] for each in found] == [[OK, OK]] * 3
    assert [each[0].found for each in found] == [
        f"{tmp_path}/there is private, and takes new files",
        f"{tmp_path}/new is not there yet; a client makes it",
        f"{tmp_path}/new/below is not there yet; a client makes it",
    ]
    assert found[0][1].found == f"931.3 GiB free in {tmp_path}/there"
    assert [*tmp_path.rglob("*")] == [tmp_path / "there"]


@pytest.mark.usefixtures("much_space")
def test_spool_that_a_client_would_refuse(tmp_path: Path) -> None:
    """In the client's words: others may read it, a link, a file, what is below a file."""
    (tmp_path / "open").mkdir()
    (tmp_path / "open").chmod(0o755)
    (tmp_path / "link").symlink_to(tmp_path / "open")
    (tmp_path / "file").touch()

    found = [check_spool(tmp_path / name) for name in ("open", "link", "file", "file/below")]

    assert [[one.status for one in each] for each in found] == [[FAILED]] * 4
    assert "can be read or written by others (mode 755); make it private: chmod 700" in found[0][0].found
    assert "is a symbolic link, which is not followed" in found[1][0].found
    assert "is no folder" in found[2][0].found
    assert f"cannot be made in {tmp_path}/file" in found[3][0].found


@pytest.mark.usefixtures("much_space")
def test_spool_on_a_network_file_system_is_warned_of(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its locks may not reach other hosts."""
    (tmp_path / "there").mkdir(mode=0o700)
    monkeypatch.setattr(folder, "kind_of_disk", lambda _: "nfs4")
    assert [(one.status, one.advice) for one in check_spool(tmp_path / "there")] == [
        (WARNING, "use a local disk"),
        (OK, ""),
    ]


@pytest.mark.skipif(os.geteuid() == 0, reason="root may open everything: this needs another user")
def test_what_may_not_be_written(tmp_path: Path) -> None:
    """In the system's words, and with the owner."""
    path = tmp_path / "events.ndjson"
    path.touch(0o400)
    tmp_path.chmod(0o500)

    [existing, _], [folder] = check_file(path), check_file(tmp_path / "new.ndjson")

    assert (existing.status, folder.status) == (FAILED, FAILED)
    assert "cannot be written: permission denied; its owner is " in existing.found
    assert folder.found == f"{tmp_path}: permission denied"


def test_folder_that_takes_no_files_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file system that is read-only, a quota: whatever the system says."""

    def refuse(**_: object) -> object:
        raise OSError(30, "Read-only file system")

    monkeypatch.setattr("eventpipe.cli.doctor_disk.tempfile.TemporaryFile", refuse)

    [found] = check_file(tmp_path / "events.ndjson")

    assert (found.status, found.found) == (FAILED, f"{tmp_path}: read-only file system")


@pytest.mark.parametrize(
    ("free", "status"), [(2 * 1024**3, OK), (1024**3 - 1, WARNING), (16 * 1024**2 - 1, FAILED)], ids=str
)
def test_space_is_judged(free: int, status: Status, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Below a GiB is a warning, below some batches a failure."""
    monkeypatch.setattr(shutil, "disk_usage", lambda _: Usage(10**12, 0, free))

    assert check_file(tmp_path / "events.ndjson")[-1].status is status


@pytest.mark.wallclock
@pytest.mark.parametrize(
    ("function", "line"),
    [
        ("check_file", "failed       disk           the disk did not answer within 0.1 s"),
        ("read_settings", "failed       configuration  EVENTPIPE_CONFIG: the file could not be read within 0.1 s"),
    ],
)
def test_disk_that_hangs_costs_its_time_and_no_more(
    function: str, line: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A mount whose server is gone: the check is overdue, the others go on, and the process may end before it does."""
    holding_up: list[threading.Thread] = []
    released = threading.Event()

    def hang(_: object) -> list[Finding]:
        holding_up.extend([] if threading.current_thread().daemon else [threading.current_thread()])
        released.wait(20)
        return []

    monkeypatch.setattr(command, function, hang)
    out = io.StringIO()
    started = time.monotonic()

    code = doctor(None, DoctorOptions(file=tmp_path / "x", timeout="100ms"), {}, Console(file=out, width=200))
    released.set()

    assert code == 1
    assert line in out.getvalue().splitlines()
    assert 0.1 <= time.monotonic() - started < 5
    assert holding_up == []


@pytest.mark.wallclock
@pytest.mark.asyncio
async def test_error_in_a_thread_reaches_whoever_waits() -> None:
    """And nobody else."""
    from eventpipe.cli.doctor_probe import in_thread

    def fail() -> None:
        raise OSError("no")

    with pytest.raises(OSError, match="no"):
        await in_thread(fail)
    async with asyncio.timeout(5):
        assert await in_thread(lambda: sys.version_info) is sys.version_info
