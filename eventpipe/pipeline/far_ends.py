"""The far ends of consumers, as a file names them."""

from __future__ import annotations

import contextlib
import logging
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final

from eventpipe.checked import shown, suggestion
from eventpipe.codecs import (
    CloudEvents,
    JsonCodec,
    NdjsonCodec,
    OtlpLogs,
    PostHogV0,
    PostHogV1,
    Segment,
)
from eventpipe.contracts import Codec, Sink
from eventpipe.delivery import Deliveries
from eventpipe.pipeline.tables import (
    CODEC,
    FLAG,
    MAPPING,
    NONE,
    NUMBER,
    TEXT,
    TEXT_OR_TEXTS,
    TEXT_OR_WHOLE,
    TEXTS,
    WHOLE,
    Kind,
    Table,
    has_variables,
)
from eventpipe.sinks import DeliverySink, FileSink, HttpSink, LoggingSink, WebhookSink

# Headers that let somebody in: their values come from the environment.
_KEYS: Final = frozenset({"authorization", "cookie", "proxy-authorization", "x-api-key"})

_HTTP: Final[Mapping[str, Kind]] = {
    "timeout": NUMBER,
    "connect_timeout": NUMBER,
    "allow_insecure": FLAG,
    "proxy": TEXT,
    "name": TEXT,
}
_FILE: Final[Mapping[str, Kind]] = {
    "format": TEXT,
    "rotate_bytes": WHOLE,
    "rotate_age": NUMBER,
    "fsync": FLAG,
    "columns": TEXTS,
    "mode": WHOLE,
    "name": TEXT,
}


Make = Callable[[Table], Sink | None]


def make_sink(table: Table, deliveries: Make | None = None) -> Sink | None:
    """The sink that a table describes; ``None``, and faults, where there is something wrong with it.

    Args:
        table: The table.
        deliveries: What makes a sink of kind ``"deliveries"``. ``None``: none can be here.
    """
    sinks = _SINKS if deliveries is None else {**_SINKS, "deliveries": deliveries}
    kind = table.need("kind", TEXT, '"http"')
    if kind is None:
        return None
    if kind not in sinks:
        table.fault(
            f"{table.key_called('kind')} must be one of {', '.join(map(repr, sinks))}, not {shown(kind)}"
            f"{suggestion(kind, list(sinks))}"
        )
        return None
    sink = sinks[kind](table)
    table.end({key: f"kind {other!r}" for other, keys in _OWN_KEYS.items() if other != kind for key in keys})
    return sink


def delivery_sink(table: Table, deliveries: Deliveries | None) -> Sink | None:
    """The sink that publishes deliveries, to the endpoints that a table names or to those of the rules."""
    endpoints, options = table.take("endpoints", TEXTS), _taken(table, {"name": TEXT})
    if deliveries is None:
        table.fault(f"{table.called} publishes deliveries, and there are none: add [deliveries]")
        return None
    return table.make(DeliverySink, deliveries, endpoints, **options)


def taken_headers(table: Table, key: str) -> dict[str, str] | None:
    """Headers, of which those that let somebody in come from the environment; ``None``: there are none."""
    written = table.take_raw(key, MAPPING)
    for name in () if written is None else written:
        if name.lower() in _KEYS and not has_variables(written[name]):
            table.fault(f'{table.key_called(key)}: {name} must come from the environment, as in "${{VARIABLE}}"')
    return None if written is None else table.take(key, MAPPING)


def local_path(table: Table, path: str) -> str:
    """A path of the file as the process takes it; ``~`` is the home of this process's user."""
    if path.startswith("~"):
        with contextlib.suppress(RuntimeError):  # nobody's home: the name is taken as it is
            return str(Path(path).expanduser())
    return path if Path(path).is_absolute() else f"{table.source.folder}{os.sep}{path}"


def _taken(table: Table, kinds: Mapping[str, Kind]) -> dict[str, Any]:  # Any: what TOML carries
    taken = {key: table.take(key, kind) for key, kind in kinds.items()}
    return {key: value for key, value in taken.items() if value is not None}


def _http(table: Table) -> Sink | None:
    url, options = table.need("url", TEXT, '"https://collector.example/batch"'), _http_options(table)
    codec = _codec(table)
    compression = table.take("compression", TEXT)
    if compression is not None:
        options["compression"] = None if compression == NONE else compression
    return None if url is None else table.make(HttpSink, url, codec, **options)


def _webhook(table: Table) -> Sink | None:
    url, options = table.need("url", TEXT, '"https://example.com/hooks"'), _http_options(table)
    secret = table.need("secret", TEXT_OR_TEXTS, '"${WEBHOOK_SECRET}"', is_secret=True)
    options |= _taken(table, {"scheme": TEXT, "allow_private": FLAG})
    return None if url is None or secret is None else table.make(WebhookSink, url, secret, **options)


def _http_options(table: Table) -> dict[str, Any]:  # Any: what TOML carries
    options = _taken(table, _HTTP)
    for key in ("headers", "proxy_headers"):
        if (headers := taken_headers(table, key)) is not None:
            options[key] = headers
    if (socket_path := table.take("socket_path", TEXT)) is not None:
        options["socket_path"] = local_path(table, socket_path)
    return options


def _file(table: Table) -> Sink | None:
    path, options = table.need("path", TEXT, '"audit.ndjson"'), _taken(table, _FILE)
    return None if path is None else table.make(FileSink, local_path(table, path), **options)


def _logging(table: Table) -> Sink | None:
    options = _taken(table, {"name": TEXT})
    logger, level = table.take("logger", TEXT), table.take("level", TEXT_OR_WHOLE)
    if logger is not None:
        options["logger"] = logging.getLogger(logger)
    if isinstance(level, str):
        levels = logging.getLevelNamesMapping()
        if level.upper() not in levels:
            near = suggestion(level.upper(), list(levels))
            table.fault(
                f"{table.key_called('level')} must be a level of logging such as 'INFO', not {shown(level)}{near}"
            )
        level = levels.get(level.upper())
    if level is not None:
        options["level"] = level
    return table.make(LoggingSink, **options)


_SINKS: Final[Mapping[str, Make]] = {
    "http": _http,
    "file": _file,
    "webhook": _webhook,
    "logging": _logging,
}
# What only one kind has, so that a key that is right elsewhere is told where.
_OWN_KEYS: Final[Mapping[str, tuple[str, ...]]] = {
    "http": ("codec", "compression"),
    "file": ("path", "format", "rotate_bytes", "rotate_age", "fsync", "columns", "mode"),
    "webhook": ("secret", "scheme", "allow_private"),
    "logging": ("logger", "level"),
    "deliveries": ("endpoints",),
}


def _codec(table: Table) -> Codec | None:
    """The wire format, a word or a table with ``kind``; ``None``: the sink's own, or a fault was found."""
    written = table.take_raw("codec", CODEC)
    if written is None:
        return None
    below = table.below("codec") if isinstance(written, dict) else table.inline("codec", {"kind": written})
    assert below is not None  # noqa: S101  # it is there, and a table
    kind = below.need("kind", TEXT, '"json"')
    if kind is None:
        return None
    if kind not in _CODECS:
        below.fault(
            f"{table.key_called('codec')} must be one of {', '.join(map(repr, _CODECS))}, not {shown(kind)}"
            f"{suggestion(kind, list(_CODECS))}"
        )
        return None
    codec = _CODECS[kind](below)
    below.end()
    return codec


def _posthog(codec: Callable[..., Codec]) -> Callable[[Table], Codec | None]:
    def make(table: Table) -> Codec | None:
        key = table.need("api_key", TEXT, '"${POSTHOG_KEY}"', is_secret=True)
        options = _taken(table, {"historical": FLAG, "disable_geoip": FLAG})
        return None if key is None else table.make(codec, key, **options)

    return make


def _segment(table: Table) -> Codec | None:
    key = table.need("write_key", TEXT, '"${SEGMENT_WRITE_KEY}"', is_secret=True)
    return None if key is None else table.make(Segment, key)


def _cloudevents(table: Table) -> Codec | None:
    source, options = table.need("source", TEXT, '"/shop/checkout"'), _taken(table, {"mode": TEXT})
    return None if source is None else table.make(CloudEvents, source, **options)


def _otlp(table: Table) -> Codec | None:
    return table.make(OtlpLogs, **_taken(table, {"encoding": TEXT, "scope_name": TEXT}))


_CODECS: Final[Mapping[str, Callable[[Table], Codec | None]]] = {
    "json": lambda table: table.make(JsonCodec),
    "ndjson": lambda table: table.make(NdjsonCodec),
    "posthog": _posthog(PostHogV0),
    "posthog-v1": _posthog(PostHogV1),
    "segment": _segment,
    "cloudevents": _cloudevents,
    "otlp": _otlp,
}
