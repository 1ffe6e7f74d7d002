"""Every bound of a client, with its unit, its default and the reason for it.

An option is looked for in five places, and the first that has it wins: keyword, options object, environment
(``EVENTPIPE_WORKERS``, ``EVENTPIPE_RETRY_MAX_ATTEMPTS``), the file that ``EVENTPIPE_CONFIG`` names, default. ``None``
is the same as leaving an option out.
"""

from __future__ import annotations

import inspect
import os
from collections.abc import Callable, Iterator, Mapping
from random import Random
from typing import Any, ClassVar, Final, TypedDict, TypeVar, Unpack, cast, get_args

from pydantic import InstanceOf

from eventpipe import environment
from eventpipe.checked import Checked, option, shown
from eventpipe.clock import Clock
from eventpipe.events import Durability, Overflow, SpoolOverflow, SpoolReplay

KIB: Final = 1024
MIB: Final = 1024 * KIB

OVERFLOWS: Final = get_args(Overflow)
DURABILITIES: Final = get_args(Durability)

JsonDefault = Callable[[Any], Any]  # Any: a value that JSON cannot carry, and one that it can


class RetryPolicyDict(TypedDict, total=False):
    """The keyword arguments of ``RetryPolicy``, which says what each means."""

    max_attempts: int | None
    initial: float | None
    factor: float | None
    max_delay: float | None
    min_delay: float | None
    jitter: float | None
    max_retry_after: float | None


class RetryPolicy(Checked):
    """How often, and how long apart, a batch is attempted again.

    The delay before attempt n + 1 is ``initial * factor**(n - 1)``, at most ``max_delay``; ``jitter`` is the part of
    it that is random; ``min_delay`` and then the far end's Retry-After are floors.
    """

    max_attempts: int = option(
        10,
        "attempts",
        "Attempts of one batch, the first included. With these delays ten of them span one to two minutes, so that a "
        "deploy of the far end is outlived.",
        ge=1,
    )
    initial: float = option(
        0.5, "seconds", "The first delay: long enough for a connection that was reset to be accepted again.", gt=0
    )
    factor: float = option(
        2.0, "times", "Each delay is so many times the one before: an overloaded far end sees the load halve.", ge=1
    )
    max_delay: float = option(
        30.0, "seconds", "The longest delay, so that a far end that is back is noticed within half a minute.", gt=0
    )
    min_delay: float = option(
        0.1, "seconds", "The shortest delay whatever jitter or Retry-After say: no far end is hammered.", ge=0
    )
    jitter: float = option(
        0.5,
        "fraction",
        "The part of a delay that is random, from 0 to 1: with a half, batches that failed together return spread "
        "over half the delay, and none returns at once.",
        ge=0,
        le=1,
    )
    max_retry_after: float = option(
        300.0,
        "seconds",
        "The longest Retry-After that is obeyed: a far end's mistake in the header cannot stop a sink for a day.",
        ge=0,
    )

    _ordered: ClassVar[tuple[tuple[str, str], ...]] = (("initial", "max_delay"), ("min_delay", "max_delay"))

    def __init__(self, **values: Unpack[RetryPolicyDict]) -> None:
        self.fill(cast("dict[str, Any]", values), {})


class ClientOptionsDict(TypedDict, total=False):
    """The keyword arguments that ``AsyncClient`` takes; ``ClientOptions`` says what each means."""

    queue_events: int | None
    queue_bytes: int | None
    batch_events: int | None
    max_batch_age: float | None
    max_batch_bytes: int | None
    max_event_bytes: int | None
    max_event_age: float | None
    workers: int | None
    overflow: Overflow | None
    overflow_timeout: float | None
    durability: Durability | None
    retry: RetryPolicy | None
    flush_timeout: float | None
    close_timeout: float | None
    exit_timeout: float | None
    spool_bytes: int | None
    spool_age: float | None
    spool_overflow: SpoolOverflow | None
    spool_replay: SpoolReplay | None
    strict: bool | None
    enabled: bool | None
    json_default: JsonDefault | None
    clock: Clock | None
    random: Random | None
    new_id: Callable[[], str] | None


class ClientOptions(Checked):
    """What a client holds, when it sends, and what it does when it may not.

    Bounds hold per sink. A bound that is set below the default of what it holds lowers that default: with
    ``queue_events=100`` a batch has at most 100 events too. Two that are both set and contradict are an error.

    Raises:
        ValueError: Something is out of range, of the wrong type, contradictory or unknown; one line each.
    """

    queue_events: int = option(
        10_000,
        "events",
        "Events held between capture and settlement, those in flight and waiting for a retry included. Five seconds "
        "of a busy process, and about 6 MB.",
        ge=1,
    )
    queue_bytes: int = option(
        32 * MIB,
        "bytes",
        "Encoded bytes held, counted as queue_events is: large events cannot make a full queue a full memory.",
        ge=1,
    )
    batch_events: int = option(
        500,
        "events",
        "A batch leaves when it has so many. With 100, requests cost twice as much per event and hold up the loop "
        "twice as long; beyond 500 little is gained.",
        ge=1,
    )
    max_batch_age: float = option(
        1.0,
        "seconds",
        "A batch leaves at the latest so long after its first event: the far end is at most a second behind. 0 "
        "sends whatever is there.",
        ge=0,
    )
    max_batch_bytes: int = option(
        MIB,
        "bytes",
        "A batch leaves when it has so many, before compression; far ends commonly refuse bodies of several MiB. "
        "A single larger event travels alone.",
        ge=1,
    )
    max_event_bytes: int | None = option(
        None,
        "bytes",
        "The largest encoded event; a codec may be stricter. None: what the codec says its far end takes (PostHog 900 "
        "KiB, Segment 32 KiB), and 900 KiB where a sink says nothing.",
        ge=1,
    )
    max_event_age: float | None = option(
        None,
        "seconds",
        "An event older than this is dropped as expired in place of another attempt. No limit unless set: late data "
        "is better than none for analytics, and worse for alerts.",
        gt=0,
    )
    workers: int = option(
        16,
        "attempts",
        "Attempts in flight at once. A stalled one holds its worker until it times out; idle workers cost nothing.",
        ge=1,
    )
    overflow: Overflow = option(
        "drop_newest",
        "policy",
        "What becomes of an event when there is no room: drop_newest, drop_oldest, wait or raise. The default keeps "
        "a handler from waiting for a far end.",
    )
    overflow_timeout: float | None = option(
        None,
        "seconds",
        "The longest wait for room with overflow='wait'; after it the event is dropped. No limit unless set: who "
        "chose to wait has a timeout of their own.",
        gt=0,
    )
    durability: Durability = option(
        "memory", "policy", "What a captured event survives. Memory: nothing beyond this process."
    )
    retry: InstanceOf[RetryPolicy] = option(RetryPolicy, "policy", "How failed attempts are repeated.")
    flush_timeout: float = option(
        10.0, "seconds", "How long flush() waits unless told otherwise: the time of one request that hangs.", ge=0
    )
    close_timeout: float = option(
        15.0,
        "seconds",
        "How long aclose() may take: a request that hangs and a final attempt, and half of the 30 s that process "
        "managers commonly grant. 0 sends nothing more.",
        ge=0,
    )
    exit_timeout: float | None = option(
        None,
        "seconds",
        "How long an interpreter that ends with events pending, because nobody closed the client, may try to send "
        "them. None: it does not, and a line says how many there were.",
        gt=0,
    )
    spool_bytes: int = option(
        512 * MIB,
        "bytes",
        "Bytes of the spool's files that may be in use. At 500 bytes an event it has room for a million events, or the "
        "outage of a night at 20 a second.",
        ge=MIB,
    )
    spool_age: float | None = option(
        None, "seconds", "An event that has waited on disk for longer is dropped as expired. No limit unless set.", gt=0
    )
    spool_overflow: SpoolOverflow = option(
        "drop_newest",
        "policy",
        "What gives way when the spool, or its disk, is full: drop_newest keeps what is there, drop_oldest lets go of "
        "what has waited longest.",
    )
    spool_replay: SpoolReplay = option(
        "behind",
        "policy",
        "Where what comes back from disk goes: behind what is in memory, so that fresh events are not held up by an "
        "outage that is over, or before it.",
    )
    strict: bool = option(
        False, "switch", "Raise InvalidEventError and ClosedError to the caller instead of counting a repair or a drop."
    )
    enabled: bool = option(
        True, "switch", "False makes a client that takes nothing in, counts nothing and sends nothing."
    )
    json_default: JsonDefault | None = option(
        None, "function", "Asked first for every value that JSON cannot carry. None: the built-in answers alone."
    )
    clock: Clock | None = option(None, "object", "Where the time comes from. None: the clocks of this process.")
    random: Random | None = option(None, "object", "Where jitter comes from. None: a generator of the client's own.")
    new_id: Callable[[], str] | None = option(
        None, "function", "Makes the ids of events: 36 characters, as UUIDs are written. None: UUIDv7."
    )

    _ordered: ClassVar[tuple[tuple[str, str], ...]] = (
        ("batch_events", "queue_events"),
        ("max_batch_bytes", "queue_bytes"),
        ("max_event_bytes", "queue_bytes"),
    )

    def __init__(self, **values: Unpack[ClientOptionsDict]) -> None:
        self.fill(cast("dict[str, Any]", values), {})

    def _contradictions(self, names: Mapping[str, str]) -> Iterator[str]:
        for name in ("json_default", "new_id"):
            if inspect.iscoroutinefunction(getattr(self, name)):
                yield f"{name} must be a plain function, not an async def: capture_nowait() calls it too"


def check_overflow(overflow: Overflow | None) -> Overflow | None:
    """Return the ``overflow`` that one call asks for.

    Raises:
        ValueError: There is no such policy.
    """
    if overflow is None or overflow in OVERFLOWS:
        return overflow
    return ClientOptions(overflow=overflow).overflow


def check_durability(durability: Durability | None) -> Durability | None:
    """Return the ``durability`` that one call asks for.

    Raises:
        ValueError: There is no such level.
    """
    if durability is None or durability in DURABILITIES:
        return durability
    return ClientOptions(durability=durability).durability


def check_needs_no_spool(options: ClientOptions) -> None:
    """See that options can be kept to without a spool.

    Raises:
        ValueError: They cannot.
    """
    for name, value in (("overflow", options.overflow), ("durability", options.durability)):
        if value in ("spill", "process", "power"):
            raise ValueError(f"{name}={value!r} needs a disk: give the client a folder, such as spool='var/events'")


def resolve(
    options: ClientOptions | None,
    overrides: Mapping[str, Any],  # Any: a ClientOptionsDict, or what somebody took for one
    environ: Mapping[str, str] | None = None,
) -> ClientOptions:
    """Join the five places that options come from; those of the retry policy one by one.

    Args:
        options: The object given; only the fields that were set count. ``None`` means none was given.
        overrides: Keyword arguments.
        environ: The environment. ``None`` means this process's, read now, and with it the file that it names.

    Raises:
        ValueError: As ``ClientOptions`` does; a fault from the environment names its variable, one from a file the
            option and the file.
    """
    if options is not None and not isinstance(options, ClientOptions):
        raise ValueError(f"options must be a ClientOptions, not {shown(options)}")
    read, variables = read_outside(os.environ if environ is None else environ)
    values = {name: value for name, value in read.items() if not name.startswith("retry.")}
    policy = {name.removeprefix("retry."): value for name, value in read.items() if name.startswith("retry.")}
    names = {name: f"retry.{name}" for name in RetryPolicy.model_fields}
    names |= {name.removeprefix("retry."): variable for name, variable in variables.items() if name not in values}
    known = ClientOptions.model_fields
    for layer in (_fields_set(options) if options is not None else {}, overrides):
        given = {name: value for name, value in layer.items() if value is not None or name not in known}
        if isinstance(given.get("retry"), RetryPolicy):
            own = _fields_set(given.pop("retry"))
            policy |= own
            names |= {name: f"retry.{name}" for name in own}
        values |= given
        variables |= {name: name for name in given}
    faults = []
    if policy and "retry" not in values:
        try:
            values["retry"] = _make(RetryPolicy, policy, names)
        except ValueError as error:
            faults.append(str(error))
    try:
        made = _make(ClientOptions, values, variables)
    except ValueError as error:
        faults.append(str(error))
    if faults:
        raise ValueError("\n".join(faults)) from None
    return made


def read_outside(environ: Mapping[str, str]) -> tuple[dict[str, Any], dict[str, str]]:
    """Read the options that are set outside the program: by ``environ``, and before it by the file that it names.

    Returns:
        Values, and what messages call each option, both by its dotted name.

    Raises:
        ValueError: Something cannot be read; one line each.
    """
    path = environ.get(environment.CONFIG_VARIABLE, "").strip()
    if not path:
        return environment.read(ClientOptions, environ)
    from eventpipe import configuration  # where there is a file: TOML takes time to import

    return configuration.read_beside(ClientOptions, environ, path)


_Model = TypeVar("_Model", bound=Checked)


def _make(model: type[_Model], values: Mapping[str, Any], names: Mapping[str, str]) -> _Model:
    made = model.__new__(model)
    made.fill(values, names)
    return made


def _fields_set(options: Checked) -> dict[str, Any]:
    return {name: getattr(options, name) for name in type(options).model_fields if name in options.model_fields_set}
