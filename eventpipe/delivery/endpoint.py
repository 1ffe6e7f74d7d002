"""An endpoint as its owner describes it, and the part of it that nobody else is to see."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

import orjson

from eventpipe.checked import is_number, shown
from eventpipe.codecs.webhook_secrets import Scheme, Secrets
from eventpipe.contracts import Codec, Sink
from eventpipe.sinks.webhook import WebhookSink
from eventpipe.stores.delivery_values import EndpointInfo
from eventpipe.stores.names import check_name

if TYPE_CHECKING:
    from eventpipe.clock import Clock


# A claim lasts longer than an attempt, and one that reaches further than an hour is taken for what a clock that was set
# back has left.
MAX_TIMEOUT: Final = 3000.0


@dataclass(frozen=True, slots=True)
class Endpoint:
    """Where deliveries go: a webhook, or any sink.

    Attributes:
        name: Unique; what rules, rows and commands call it.
        url: Of a webhook; addresses that are not public are refused unless ``allow_private``.
        secret: What its attempts are signed with; several while one takes the place of another. ``None``: nothing is
            signed.
        sink: Instead of ``url``: what sends; it belongs to this process, and each process that delivers to the endpoint
            has to be given one under its name.
        scheme: As ``WebhookSink``.
        headers: Sent with every request; their values are kept as secrets are. ``None``: none.
        rate_limit: Attempts per second, at most. ``None``: any number.
        timeout: Seconds for one attempt, at most 3000. ``None``: the reconciler's.
        allow_private: Whether to connect to this machine, to private networks and to metadata services.
        allow_insecure: Whether plain http may leave this machine and certificates may go unchecked.

    Raises:
        ValueError: Something cannot be; the message names it and the rule, and shows no secret.
    """

    name: str
    url: str | None = None
    secret: Secrets | None = field(default=None, repr=False)
    sink: Sink | None = field(default=None, repr=False)
    scheme: Scheme = "standard"
    headers: Mapping[str, str] | None = field(default=None, repr=False)
    rate_limit: float | None = None
    timeout: float | None = None
    allow_private: bool = False
    allow_insecure: bool = False

    def __post_init__(self) -> None:
        check_name("endpoint", self.name)
        if (self.url is None) == (self.sink is None):
            raise ValueError(f"endpoint {self.name!r} needs a url, or a sink instead, and not both")
        check_positive("rate_limit", self.rate_limit, "attempts per second")
        check_positive("timeout", self.timeout, "seconds")
        if self.timeout is not None and self.timeout > MAX_TIMEOUT:
            raise ValueError(f"timeout must be at most {MAX_TIMEOUT:g} s, not {self.timeout:g}")
        if self.sink is None:
            webhook(self.info(), Private.of(self))  # which checks the rest
        elif not callable(getattr(self.sink, "send", None)) or isinstance(self.sink, type):
            raise ValueError(
                f"sink of endpoint {self.name!r} must be a sink with an async send(), not {shown(self.sink)}"
            )
        elif self.secret is not None or self.headers is not None:
            raise ValueError(
                f"endpoint {self.name!r} has a sink, which signs and sends; give secret and headers to that"
            )

    def info(self, created_at: float = 0.0) -> EndpointInfo:
        """The part of it that everybody may see."""
        return EndpointInfo(
            self.name,
            "webhook" if self.sink is None else "sink",
            self.url,
            self.scheme,
            tuple(self.headers or ()),
            self.rate_limit,
            self.timeout,
            self.allow_private,
            self.allow_insecure,
            created_at=created_at,
        )


@dataclass(frozen=True, slots=True, repr=False)
class Private:
    """What nobody else is to see of an endpoint; in no ``repr``.

    Attributes:
        secrets: What is signed with; empty: nothing is signed.
        headers: Sent with every request.
    """

    secrets: tuple[str, ...] = ()
    headers: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def of(cls, endpoint: Endpoint) -> Private:
        """That of a description."""
        return cls(listed(endpoint.secret), dict(endpoint.headers or {}))

    @classmethod
    def unpack(cls, kept: bytes | None) -> Private:
        """What ``pack()`` made; empty where nothing is kept."""
        if kept is None:
            return cls()
        members = orjson.loads(kept)
        return cls(tuple(members["secrets"]), members["headers"])

    def pack(self) -> bytes | None:
        """As a store keeps it; ``None``: there is nothing."""
        if not self.secrets and not self.headers:
            return None
        return orjson.dumps({"secrets": list(self.secrets), "headers": dict(self.headers)})


def check_positive(option: str, value: object, unit: str) -> None:
    """Refuse anything but ``None`` and finite numbers above 0.

    Raises:
        ValueError: Names the option, the value and the rule.
    """
    if value is not None and (not is_number(value) or value <= 0):
        raise ValueError(f"{option} must be a finite number of {unit} above 0, or None, not {shown(value)}")


def listed(secret: Secrets | None) -> tuple[str, ...]:
    """One secret, several or none as a tuple; whether they can be used, says who signs.

    Raises:
        ValueError: It is something else, or a list with nothing or something else in it: nothing would be signed where
            somebody meant to.
    """
    if secret is None:
        return ()
    several: list[object] = [secret] if isinstance(secret, str) or not isinstance(secret, Sequence) else [*secret]
    strange = [type(one).__name__ for one in several if not isinstance(one, str)]
    if strange:
        raise ValueError(f"secret must be text, or a list of texts, not {strange[0]}")
    if not several:
        raise ValueError("secret must be a secret, or a list of at least one")
    return tuple(one for one in several if isinstance(one, str))


def webhook(
    info: EndpointInfo,
    private: Private,
    *,
    codec: Codec | None = None,
    timeout: float | None = None,
    clock: Clock | None = None,
) -> WebhookSink:
    """What sends to an endpoint of kind ``"webhook"``.

    Args:
        info: The endpoint.
        private: Its secrets.
        codec: Writes the body. ``None``: that of webhooks.
        timeout: Seconds for one attempt, unless the endpoint has its own. ``None``: that of webhooks.
        clock: Reads the wall clock for what is signed. ``None``: this machine's.

    Raises:
        ValueError: It cannot be; the message says why, and shows no secret.
    """
    return WebhookSink(
        info.url or "",
        (private.secrets if len(private.secrets) > 1 else private.secrets[0]) if private.secrets else None,
        codec,
        scheme=info.scheme,
        allow_private=info.allow_private,
        timeout=info.timeout or timeout,
        headers=private.headers or None,
        allow_insecure=info.allow_insecure,
        name=info.name,
        clock=clock,
    )
