"""The checks of ``eventpipe doctor`` on this machine: versions, configuration, limits. None of them waits."""

from __future__ import annotations

import platform
import re
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from importlib import metadata

from eventpipe import __version__
from eventpipe.cli.doctor_report import Finding, Status
from eventpipe.cli.settings import Origin, Settings, unread
from eventpipe.cli.text import count
from eventpipe.options import ClientOptions

# What the package needs, and from which version on; pyproject.toml says the same.
LIBRARIES: Mapping[str, str] = {
    "aiohttp": "3.14.1",
    "anyio": "4.9",
    "orjson": "3.11",
    "pydantic": "2.11",
    "uuid-utils": "1.0",
    "yarl": "1.17",
}


@dataclass(frozen=True, slots=True)
class Extra:
    """Something that is installed when asked for.

    Attributes:
        library: By whose presence it shows.
        version: From which on.
        brings: What there is with it.
    """

    library: str
    version: str
    brings: str


EXTRAS: Mapping[str, Extra] = {
    "brotli": Extra("brotli", "1.2", "compression='br'"),
    "cli": Extra("cyclopts", "4.0", "this command line"),
    "otel": Extra("opentelemetry-api", "1.30", "OpenTelemetry metrics and spans"),
    "otlp": Extra("opentelemetry-proto", "1.30", "OtlpLogs in protobuf"),
    "prometheus": Extra("prometheus-client", "0.22", "a registry's metrics"),
    "speed": Extra("isal", "1.7", "gzip at a quarter of the cost, and uvloop"),
    "zstd": Extra("backports.zstd", "1.0", "compression='zstd'"),
}
IN_PYTHON: Mapping[str, tuple[int, int]] = {"zstd": (3, 14)}  # extras that a Python has by itself, from this one on

PROXY_VARIABLES = ("http_proxy", "https_proxy", "all_proxy")
SPARE_FILES = 64  # descriptors beside those of the workers: a program's own files, sockets and loop

Version = Callable[[str], str | None]
"""The installed version of a library; ``None``: it is not installed."""


def installed(library: str) -> str | None:
    """The version of ``library`` in this environment."""
    try:
        return metadata.version(library)
    except metadata.PackageNotFoundError:
        return None


def check_python() -> Finding:
    """Which Python runs, on what."""
    python = f"{platform.python_implementation()} {platform.python_version()}"
    return Finding("python", Status.OK, f"{python} on {platform.system()} ({platform.machine()})")


def check_libraries(version: Version) -> Iterator[Finding]:
    """What the package needs, and what it can have beside."""
    yield from _needed(version)
    there, missing = [], []
    for name, extra in EXTRAS.items():
        found = version(extra.library)
        if name in IN_PYTHON and sys.version_info >= IN_PYTHON[name]:
            there.append(f"{name} (of Python itself)")
        elif found is None:
            missing.append(f"{name} ({extra.brings})")
        elif _is_older(found, extra.version):
            yield Finding(
                "extras",
                Status.WARNING,
                f"{name}: {extra.library} {found} is older than {extra.version}",
                f"pip install 'eventpipe[{name}]'",
            )
        else:
            there.append(f"{name} ({extra.library} {found})")
    if there:
        yield Finding("extras", Status.OK, f"installed: {', '.join(there)}")
    if missing:
        yield Finding(
            "extras",
            Status.OK,
            f"not installed, and what each would bring: {', '.join(missing)}",
            "pip install 'eventpipe[NAME]' for what you want of these",
        )


def _needed(version: Version) -> Iterator[Finding]:
    found = {library: version(library) for library in LIBRARIES}
    wrong = [
        f"{library} is not installed" if has is None else f"{library} {has} is older than {LIBRARIES[library]}"
        for library, has in found.items()
        if has is None or _is_older(has, LIBRARIES[library])
    ]
    if wrong:
        yield Finding("libraries", Status.FAILED, ", ".join(wrong), "pip install --upgrade eventpipe")
    else:
        libraries = ", ".join(f"{library} {has}" for library, has in found.items())
        yield Finding("libraries", Status.OK, f"eventpipe {__version__} with {libraries}")


def check_configuration(settings: Settings | str) -> Iterator[Finding]:
    """Whether a client can be made.

    Args:
        settings: What is configured, or what is wrong with it, a line each.
    """
    if isinstance(settings, str):
        for line in settings.splitlines():
            yield Finding("configuration", Status.FAILED, line, "no client can be made before that is mended")
        return
    places = [setting.origin for setting in settings.settings]
    parts = [
        f"{count(places.count(origin), 'option')} from {name}"
        for origin, name in ((Origin.ENVIRONMENT, "the environment"), (Origin.FILE, str(settings.file)))
        if origin in places or (origin is Origin.FILE and settings.file is not None)
    ]
    found = f"{', '.join(parts)}, the rest are defaults" if parts else "all options are defaults"
    if not settings.options.enabled:
        where = next(setting.where for setting in settings.settings if setting.name == "enabled")
        yield Finding(
            "configuration", Status.WARNING, f"{where} is off: clients take nothing in and send nothing", "turn it on"
        )
    yield Finding("configuration", Status.OK, found, "eventpipe config show lists them" if parts else "")


def check_variables(environ: Mapping[str, str]) -> Iterator[Finding]:
    """Variables that look like ours, and proxies, which nothing of ours reads."""
    names = unread(environ)
    for name, meant in names.items():
        yield Finding("variables", Status.WARNING, f"{name} is read by nothing", meant or "unset it")
    if not names:
        yield Finding("variables", Status.OK, "no EVENTPIPE_ variable that is read by nothing")
    proxies = sorted(name for name, value in environ.items() if name.lower() in PROXY_VARIABLES and value.strip())
    if proxies:
        yield Finding(
            "proxies",
            Status.WARNING,
            f"{', '.join(proxies)} set, and not read: requests go straight to the far end",
            "pass HttpSink(proxy=…) where they have to go through it",
        )
    else:
        yield Finding("proxies", Status.OK, "none in the environment, where none would be read")


def check_event_loop(version: Version) -> Finding:
    """Which loops there are."""
    uvloop = version("uvloop")
    if uvloop is None:
        return Finding("event loop", Status.OK, "asyncio's own; uvloop is not installed, and not needed")
    return Finding("event loop", Status.OK, f"uvloop {uvloop} is installed, for servers and programs that choose it")


def check_open_files(limit: int | None, options: ClientOptions | None) -> Finding:
    """Whether each worker can have its connection.

    Args:
        limit: How many files and sockets this process may open; ``None``: nobody says.
        options: What clients are made with; ``None``: that is wrong, and the defaults count.
    """
    workers = (options or ClientOptions()).workers
    if limit is None:
        return Finding("open files", Status.UNKNOWN, "this system tells no limit")
    found = f"this shell's limit is {limit:,}, and {count(workers, 'worker')} may have a connection each, per sink"
    if limit < workers + SPARE_FILES:
        status = Status.FAILED if limit <= workers else Status.WARNING
        return Finding(
            "open files", status, found, f"raise it (ulimit -n {2 * (workers + SPARE_FILES)}), or lower workers"
        )
    return Finding("open files", Status.OK, found)


def open_files_limit() -> int | None:
    """How many files and sockets this process may open; ``None``: any number, or nobody says."""
    try:
        import resource
    except ModuleNotFoundError:  # Windows
        return None
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return None if soft == resource.RLIM_INFINITY else soft


def _is_older(version: str, than: str) -> bool:
    return _numbers(version) < _numbers(than)


def _numbers(version: str) -> tuple[int, ...]:
    # The release alone: what follows it, as in 3.14.1rc1 and 3.14.1.dev0, is near enough.
    release = re.match(r"\d+(\.\d+)*", version)
    numbers = [int(number) for number in release[0].split(".")] if release else []
    return tuple([*numbers, 0, 0, 0][:3])
