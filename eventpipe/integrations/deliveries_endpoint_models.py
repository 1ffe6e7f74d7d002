"""What requests and answers on endpoints and rules look like; no answer has room for a secret or a header's value."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, SecretStr

from eventpipe.delivery import Endpoint, EndpointState
from eventpipe.delivery.deliveries import TEST_EVENT
from eventpipe.integrations.deliveries_values import Model, Moment


def _as_list(value: object) -> object:
    return [value] if isinstance(value, str) else value


_Secrets = Annotated[
    list[SecretStr],
    BeforeValidator(_as_list, json_schema_input_type=str | list[str]),
    Field(
        description="What attempts are signed with, or several while one takes the place of another. Never answered."
    ),
]


def revealed(secrets: list[SecretStr] | None) -> list[str] | None:
    """Secrets as who signs with them needs them."""
    return None if secrets is None else [secret.get_secret_value() for secret in secrets]


class _Described(Model):
    url: str = Field(description="Of a webhook.")
    scheme: Literal["standard", "hub"] = "standard"
    headers: dict[str, SecretStr] | None = Field(
        None, description="Sent with every request. Values are never answered."
    )
    rate_limit: float | None = Field(None, description="Attempts per second, at most; null: any number.")
    timeout: float | None = Field(None, description="Seconds for one attempt; null: the reconciler's.")
    allow_private: bool = Field(False, description="Whether it may be in a private network, where requests may say so.")
    allow_insecure: bool = Field(False, description="Whether http may leave the machine, where requests may say so.")


class EndpointToAdd(_Described):
    """A webhook to deliver to."""

    name: str
    secret: _Secrets | None = None


class EndpointToChange(_Described):
    """The whole of an endpoint; what is left out is as for a new one."""

    secret: _Secrets | None = Field(description="Whole as all else: null says that nothing is signed any more.")


def described(name: str, given: EndpointToAdd | EndpointToChange) -> Endpoint:
    """The endpoint that a request describes.

    Raises:
        ValueError: It cannot be; the message names the member and the rule.
    """
    headers = given.headers
    return Endpoint(
        name,
        given.url,
        revealed(given.secret),
        scheme=given.scheme,
        headers=None if headers is None else {one: value.get_secret_value() for one, value in headers.items()},
        rate_limit=given.rate_limit,
        timeout=given.timeout,
        allow_private=given.allow_private,
        allow_insecure=given.allow_insecure,
    )


class RateLimit(Model):
    """How often an endpoint is attempted."""

    rate_limit: float | None = Field(description="Attempts per second, at most; null: any number.")


class Reason(Model):
    """Why an endpoint is paused or disabled."""

    reason: str | None = None


class Rotation(Model):
    """Another secret for an endpoint."""

    secret: _Secrets
    keep_old: bool = Field(True, description="Whether the one until now goes on signing beside it.")


class TrialEvent(Model):
    """What is sent to see whether an endpoint answers."""

    event: str = TEST_EVENT
    properties: dict[str, Any] | None = None  # Any: JSON


class EndpointAnswer(Model):
    """An endpoint."""

    name: str
    kind: Literal["webhook", "sink"]
    url: str | None
    scheme: Literal["standard", "hub"]
    headers: list[str] = Field(description="Names of headers that are sent with every request.")
    rate_limit: float | None
    timeout: float | None
    allow_private: bool
    allow_insecure: bool
    state: EndpointState
    state_reason: str | None
    created_at: Moment
    version: int


class EndpointsAnswer(Model):
    """Every endpoint, by name."""

    endpoints: list[EndpointAnswer]


class RuleToPut(Model):
    """Which events go to which endpoints, where a publish names none."""

    events: list[str] = Field(description="Names of events; * stands for any characters.")
    endpoints: list[str]
    where: dict[str, Any] = Field({}, description="Properties by path, each with its value or a list of values.")


class RuleAnswer(RuleToPut):
    """A rule."""

    name: str


class RulesAnswer(Model):
    """Every rule, by name."""

    rules: list[RuleAnswer]
