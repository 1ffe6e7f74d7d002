"""The tables of a file that are about deliveries."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final, NamedTuple, TypeVar

from eventpipe.checked import shown
from eventpipe.clock import Clock
from eventpipe.delivery import Deliveries, DeliveryPolicy, Endpoint, Reconciler, Rule
from eventpipe.delivery.matching import check_rule
from eventpipe.pipeline.far_ends import local_path, make_sink, taken_headers
from eventpipe.pipeline.functions import taken_function
from eventpipe.pipeline.tables import (
    FLAG,
    NONE,
    NUMBER,
    NUMBERS,
    TABLE,
    TABLES,
    TEXT,
    TEXT_OR_TEXTS,
    TEXTS,
    WHOLE,
    Kind,
    Table,
)
from eventpipe.stores.memory import MemoryStore
from eventpipe.stores.sqlite import SqliteStore

T = TypeVar("T", Endpoint, Rule)

POLICY: Final[Mapping[str, Kind]] = {
    "delays": NUMBERS,
    "jitter": NUMBER,
    "attempts": WHOLE,
    "pending": NUMBER,
    "sending": NUMBER,
    "max_retry_after": NUMBER,
}
ENDPOINT: Final[Mapping[str, Kind]] = {
    "scheme": TEXT,
    "rate_limit": NUMBER,
    "timeout": NUMBER,
    "allow_private": FLAG,
    "allow_insecure": FLAG,
}
RECONCILER: Final[Mapping[str, Kind]] = {
    "workers": WHOLE,
    "interval": NUMBER,
    "claim_ttl": NUMBER,
    "lock": TEXT,
    "timeout": NUMBER,
}
_WITH_NONE: Final = frozenset({"workers", "lock"})
_ENDPOINT_WITH_NONE: Final = frozenset({"rate_limit", "timeout"})
_TABLES: Final = ("deliveries", "endpoints", "rules", "reconciler")


class Described(NamedTuple):
    """What a file says of deliveries.

    Attributes:
        deliveries: ``None``: nothing.
        reconciler: ``None``: nothing is attempted in this process.
        endpoints: In the order of the file.
        rules: Likewise.
    """

    deliveries: Deliveries | None
    reconciler: Reconciler | None
    endpoints: list[Endpoint]
    rules: list[Rule]


def read_deliveries(top: Table, store: Mapping[str, Any] | None, clock: Clock | None) -> Described:  # Any: TOML's
    """Make what the tables describe, and keep what is wrong with them.

    Args:
        top: The whole file.
        store: What makes the SQLite store of the log. ``None``: it is in memory.
        clock: What tells the time.
    """
    if not any(key in top for key in _TABLES):
        top.expect(*_TABLES)
        return Described(None, None, [], [])
    table = top.below("deliveries") if "deliveries" in top else top.inline("deliveries", {})
    has_secrets = table is not None and "secrets" in table
    deliveries = None if table is None else _deliveries(table, store, clock)
    endpoints = _named(top, "endpoints", "endpoint", lambda table: _endpoint(table, has_secrets=has_secrets))
    rules = _named(top, "rules", "rule", _rule)
    return Described(deliveries, _reconciler(top, deliveries), endpoints, rules)


def _deliveries(table: Table, store: Mapping[str, Any] | None, clock: Clock | None) -> Deliveries | None:  # Any: same
    options: dict[str, Any] = {}  # Any: what TOML carries
    if table.is_word("retention", NONE):
        options["retention"] = None
    elif (retention := table.take("retention", NUMBER)) is not None:
        options["retention"] = retention
    if (secrets := taken_function(table, "secrets")) is not None:
        options["secrets"] = secrets
    if (below := table.below("policy")) is not None:
        options["policy"] = below.make(DeliveryPolicy, **_taken(below, POLICY))
        below.end()
    path = table.take("path", TEXT)
    table.end()
    kept: MemoryStore | SqliteStore | None = None
    if path is not None:
        # Shared, so that commands can look at it.
        more = {key: value for key, value in (store or {}).items() if key in ("durability", "poll")}
        kept = table.make(SqliteStore, local_path(table, path), shared=True, clock=clock, **more)
    elif store is None:
        kept = MemoryStore(clock=clock)
    elif not store.get("shared"):
        table.fault(
            f"deliveries in {table.source.called} open the file of the log once more, which needs shared = true in"
            f' [store]; or give them a file of their own, as in path = "deliveries.db"'
        )
    elif "path" in store:
        kept = table.make(SqliteStore, clock=clock, **store)
    # What else is wrong is told as well.
    return table.make(Deliveries, MemoryStore() if kept is None else kept, clock=clock, **options)


def _reconciler(top: Table, deliveries: Deliveries | None) -> Reconciler | None:
    table = top.below("reconciler")
    if table is None:
        return None
    options = _taken(table, RECONCILER, _WITH_NONE)
    table.end()
    return table.make(Reconciler, Deliveries(MemoryStore()) if deliveries is None else deliveries, **options)


def _named(top: Table, key: str, word: str, read: Callable[[Table], T | None]) -> list[T]:
    """What an array of tables describes, each with a name of its own."""
    found: dict[str, T] = {}
    for number, values in enumerate(top.take_raw(key, TABLES) or (), 1):
        name = values.get("name")
        owner = f" of {word} {shown(name)}" if isinstance(name, str) and name else f" of {word} number {number}"
        table = Table(top.source, values, "", owner)
        one = read(table)
        table.end()
        if one is not None and one.name in found:
            table.fault(f"{table.called}: there is another {word} of that name above")
        elif one is not None:
            found[one.name] = one
    return list(found.values())


def _endpoint(table: Table, *, has_secrets: bool) -> Endpoint | None:
    name = table.need("name", TEXT, '"acme"')
    options = _taken(table, ENDPOINT, _ENDPOINT_WITH_NONE)
    url, below = table.take("url", TEXT), table.below("sink")
    sink = None if below is None else make_sink(below)
    if (secret := table.take("secret", TEXT_OR_TEXTS, is_secret=True)) is not None:
        options["secret"] = secret
    if (headers := taken_headers(table, "headers")) is not None:
        options["headers"] = headers
    if "url" in table and "sink" in table:
        table.fault(f"{table.called} has both a url and a sink: give one of them")
        return None
    if "url" not in table and "sink" not in table:
        table.fault(f'{table.called} needs url = "https://acme.example/hooks", or a table sink')
        return None
    if has_secrets and "secret" in table:
        table.fault(f"{table.key_called('secret')} is given by deliveries.secrets already: leave one of them out")
        return None
    if name is None or (url is None and sink is None):
        return None
    return table.make(Endpoint, name, url, sink=sink, **options)


def _rule(table: Table) -> Rule | None:
    name = table.need("name", TEXT, '"invoices"')
    events, endpoints = table.need("events", TEXTS, '["invoice.*"]'), table.need("endpoints", TEXTS, '["acme"]')
    where = table.take_raw("where", TABLE) or {}
    for path, value in where.items():
        if not all(type(one) in (str, int, float, bool) for one in (value if isinstance(value, list) else [value])):
            table.fault(
                f"{table.key_called(f'where.{path}')} must be a string, a number, true or false, or an array of these"
            )
            return None
    if None in (name, events, endpoints):
        return None
    return table.make(check_rule, Rule(name, tuple(events), tuple(endpoints), dict(where)))


def _taken(
    table: Table, kinds: Mapping[str, Kind], with_none: frozenset[str] = frozenset()
) -> dict[str, Any]:  # Any: what TOML carries
    return dict(_values(table, kinds, with_none))


def _values(
    table: Table, kinds: Mapping[str, Kind], with_none: frozenset[str]
) -> Iterator[tuple[str, Any]]:  # Any: same
    for key, kind in kinds.items():
        if key in with_none and table.is_word(key, NONE):
            yield key, None
        elif (value := table.take(key, kind)) is not None:
            yield key, value
