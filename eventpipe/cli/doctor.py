"""``eventpipe doctor``: what is wrong here, or on the way to a far end, and what to do about it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import orjson
from rich.console import Console

from eventpipe.cli import doctor_process as process
from eventpipe.cli.display import say
from eventpipe.cli.doctor_disk import check_file
from eventpipe.cli.doctor_far_end import FarEnd
from eventpipe.cli.doctor_probe import Place, in_thread
from eventpipe.cli.doctor_report import Finding, Report, Status, tell
from eventpipe.cli.doctor_spool import check_spool
from eventpipe.cli.failures import UsageError
from eventpipe.cli.formats import CodecName, CompressionName, FormatOptions
from eventpipe.cli.parse import parse_duration
from eventpipe.cli.secrets import SECRET_VARIABLE, webhook_secrets
from eventpipe.cli.settings import Settings, read_settings
from eventpipe.codecs.posthog_base import posthog_host
from eventpipe.environment import CONFIG_VARIABLE
from eventpipe.sinks.urls import check_url

MIN_TIMEOUT, MAX_TIMEOUT = 0.1, 60.0  # seconds: of a machine nearby, and of a person who waits


@dataclass(frozen=True, slots=True)
class DoctorOptions:
    """What ``eventpipe doctor`` was asked for, as the command line spells it.

    Attributes:
        codec: The wire format that the far end reads, as for eventpipe send.
        api_key: As for eventpipe send; better put into EVENTPIPE_API_KEY, where no process list shows it.
        secret: What webhooks are signed with; better put into EVENTPIPE_WEBHOOK_SECRET. May be given more than once.
        source: Who sends, for CloudEvents.
        compression: How a test event is compressed.
        send_test_event: Send one event named eventpipe_doctor, which the far end keeps as it does any other.
        file: Check that a FileSink could write this file; a template is one too.
        spool: Check that a client could keep events in this folder.
        timeout: The longest that one check may take, from 100ms to 1m.
        allow_insecure: Plain http to other machines is only a warning.
        json: Print the report as JSON.
    """

    codec: CodecName = "json"
    api_key: str | None = field(default=None, repr=False)
    secret: tuple[str, ...] | None = field(default=None, repr=False)
    source: str | None = None
    compression: CompressionName = "gzip"
    send_test_event: bool = False
    file: Path | None = None
    spool: Path | None = None
    timeout: str = "5s"
    allow_insecure: bool = False
    json: bool = False

    @property
    def wire(self) -> FormatOptions:
        """The format, and what it needs."""
        return FormatOptions(self.codec, self.api_key, self.secret, self.source)

    def seconds(self) -> float:
        """How long a check may take.

        Raises:
            UsageError: It is no duration, or too short or too long.
        """
        seconds = parse_duration("--timeout", self.timeout)
        if not MIN_TIMEOUT <= seconds <= MAX_TIMEOUT:
            raise UsageError(f"--timeout: must be from {MIN_TIMEOUT:g} to {MAX_TIMEOUT:g} s, not {self.timeout}")
        return seconds

    def far_end(self, url: str | None) -> FarEnd | None:
        """What to look at beyond this machine.

        Raises:
            UsageError: The URL is none, or one is needed.
        """
        if url is None:
            if self.send_test_event:
                raise UsageError("--send-test-event needs the URL to send to")
            return None
        try:
            checked = check_url("URL", url, allow_insecure=True, credentials="as --api-key")
        except ValueError as error:
            raise UsageError(str(error)) from error
        if self.codec in ("posthog", "posthog-v1"):
            checked = posthog_host(checked)
        return FarEnd(
            Place.of(checked),
            self.wire,
            self.compression,
            allow_insecure=self.allow_insecure,
            send_test_event=self.send_test_event,
            timeout=self.seconds(),
        )


def doctor(url: str | None, options: DoctorOptions, environ: Mapping[str, str], out: Console) -> int:
    """Check what there is to check, telling each finding as it comes; return the exit code: 1 where something failed.

    Args:
        url: Of the far end; ``None``: this machine alone is looked at.
        options: The rest of the command line.
        environ: The environment.
        out: Gets the findings.

    Raises:
        UsageError: The command line asks for something that cannot be.
    """
    timeout, far_end = options.seconds(), options.far_end(url)
    secrets = _secrets(options, environ)
    findings: list[Finding] = []

    async def check() -> None:
        async for finding in _all(far_end, options, environ, timeout):
            findings.append(finding.without(secrets))
            if not options.json:
                tell(findings[-1], out)

    asyncio.run(check())
    report = Report(findings, timeout)
    say(out, orjson.dumps(report.as_json()).decode() if options.json else report.summary())
    return report.exit_code


async def _all(
    far_end: FarEnd | None, options: DoctorOptions, environ: Mapping[str, str], timeout: float
) -> AsyncIterator[Finding]:
    for finding in _here(environ, await _settings(environ, timeout)):
        yield finding
    for check, path in ((check_file, options.file), (check_spool, options.spool)):
        for finding in () if path is None else await _disk(partial(check, path), timeout):
            yield finding
    if far_end is None:
        yield Finding("far end", Status.UNKNOWN, "no URL was given", "eventpipe doctor URL, with --codec and a key")
        return
    async for finding in far_end.check():
        yield finding


async def _settings(environ: Mapping[str, str], timeout: float) -> Settings | str:
    """What is configured, or what is wrong with it, a line each."""
    try:
        async with asyncio.timeout(timeout):
            return await in_thread(lambda: read_settings(environ))
    except TimeoutError:
        return f"{CONFIG_VARIABLE}: the file could not be read within {timeout:g} s"
    except ValueError as error:
        return str(error)


def _here(environ: Mapping[str, str], settings: Settings | str) -> Iterator[Finding]:
    options = settings.options if isinstance(settings, Settings) else None
    yield process.check_python()
    yield from process.check_libraries(process.installed)
    yield from process.check_configuration(settings)
    yield from process.check_variables(environ)
    yield process.check_event_loop(process.installed)
    yield process.check_open_files(process.open_files_limit(), options)


async def _disk(check: Callable[[], Sequence[Finding]], timeout: float) -> Sequence[Finding]:
    try:
        async with asyncio.timeout(timeout):
            return await in_thread(check)
    except TimeoutError:
        problem = f"the disk did not answer within {timeout:g} s"
        return [Finding("disk", Status.FAILED, problem, "check what is mounted there")]


def _secrets(options: DoctorOptions, environ: Mapping[str, str]) -> Sequence[str]:
    """All that may not be seen, whoever repeats it."""
    secrets = [*webhook_secrets(options.secret), *environ.get(SECRET_VARIABLE, "").split()]
    return [secret for secret in (options.wire.key, *secrets) if secret]
