"""The deliveries API's operations on endpoints and rules."""

from __future__ import annotations

from typing import Final

from eventpipe.delivery import EndpointInfo, Rule
from eventpipe.errors import EndpointExistsError, UnknownEndpointError
from eventpipe.integrations.deliveries_endpoint_models import (
    EndpointAnswer,
    EndpointsAnswer,
    EndpointToAdd,
    EndpointToChange,
    RateLimit,
    Reason,
    Rotation,
    RuleAnswer,
    RulesAnswer,
    RuleToPut,
    TrialEvent,
    described,
    revealed,
)
from eventpipe.integrations.deliveries_models import AttemptAnswer
from eventpipe.integrations.deliveries_operations import Call, Operation
from eventpipe.integrations.deliveries_requests import Fault, RefusedError, bad_request

_OPENINGS: Final = ("allow_private", "allow_insecure")


async def _list(call: Call) -> EndpointsAnswer:
    return EndpointsAnswer(endpoints=[_answer(one) for one in await call.deliveries.endpoints()])


async def _add(call: Call) -> EndpointAnswer:
    given: EndpointToAdd = call.body
    _check_openings(call, given)
    endpoint = described(given.name, given)
    try:
        return _answer(await call.deliveries.add_endpoint(endpoint))
    except EndpointExistsError as error:
        raise RefusedError(409, "conflict", f"there is an endpoint {given.name!r} already") from error


async def _show(call: Call) -> EndpointAnswer:
    return _answer(await call.deliveries.endpoint(call.names["name"]))


async def _change(call: Call) -> EndpointAnswer:
    name, given = call.names["name"], call.body
    _check_openings(call, given)
    before = await call.deliveries.endpoint(name)
    if before.kind == "sink":
        raise RefusedError(409, "conflict", f"endpoint {name!r} has a sink, which belongs to the program that has it")
    return _answer(await call.deliveries.add_endpoint(described(name, given), replace=True))


async def _limit(call: Call) -> EndpointAnswer:
    return _answer(await call.deliveries.set_rate_limit(call.names["name"], call.body.rate_limit))


async def _pause(call: Call) -> EndpointAnswer:
    return _answer(await call.deliveries.pause_endpoint(call.names["name"], call.body.reason))


async def _resume(call: Call) -> EndpointAnswer:
    return _answer(await call.deliveries.resume_endpoint(call.names["name"]))


async def _disable(call: Call) -> EndpointAnswer:
    return _answer(await call.deliveries.disable_endpoint(call.names["name"], call.body.reason))


async def _remove(call: Call) -> None:
    await call.deliveries.remove_endpoint(call.names["name"])


async def _rotate(call: Call) -> EndpointAnswer:
    given: Rotation = call.body
    secrets = revealed(given.secret) or []
    return _answer(await call.deliveries.rotate_secret(call.names["name"], secrets, keep_old=given.keep_old))


async def _test(call: Call) -> AttemptAnswer:
    given: TrialEvent = call.body
    made = await call.deliveries.test_endpoint(call.names["name"], given.event, properties=given.properties)
    return AttemptAnswer.model_validate(made)


async def _rules(call: Call) -> RulesAnswer:
    return RulesAnswer(rules=[RuleAnswer.model_validate(rule) for rule in await call.deliveries.rules()])


async def _put_rule(call: Call) -> RuleAnswer:
    given: RuleToPut = call.body
    rule = Rule(call.names["name"], tuple(given.events), tuple(given.endpoints), given.where)
    try:
        await call.deliveries.add_rule(rule)
    except UnknownEndpointError as error:
        raise bad_request(str(error), [Fault("endpoints", "names of endpoints that exist")]) from error
    return RuleAnswer.model_validate(rule)


async def _remove_rule(call: Call) -> None:
    if not await call.deliveries.remove_rule(call.names["name"]):
        raise RefusedError(404, "not_found", f"there is no rule {call.names['name']!r}")


def _answer(info: EndpointInfo) -> EndpointAnswer:
    return EndpointAnswer.model_validate(info)


def _check_openings(call: Call, given: EndpointToAdd | EndpointToChange) -> None:
    for option in _OPENINGS:
        if getattr(given, option) and not getattr(call.limits, option):
            message = f"{option} must be false: this program lets no request ask for it"
            raise RefusedError(403, "forbidden", message, [Fault(option, "false")])


_ONE: Final = "/endpoints/{name}"
_UNSAFE: Final = {403: "It may not be in a private network, or plain http may not lead to it."}

ENDPOINTS: Final = (
    Operation("GET", "/endpoints", "read", "List endpoints, by name", _list, EndpointsAnswer),
    Operation(
        "POST", "/endpoints", "write", "Add an endpoint", _add, EndpointAnswer, EndpointToAdd,
        status=201, other={409: "There is one of that name.", **_UNSAFE},
    ),
    Operation("GET", _ONE, "read", "Show an endpoint", _show, EndpointAnswer),
    Operation(
        "PUT", _ONE, "write", "Change an endpoint, as a whole", _change, EndpointAnswer, EndpointToChange,
        other={409: "It has a sink.", **_UNSAFE},
    ),
    Operation("PATCH", _ONE, "write", "Change the rate limit of an endpoint", _limit, EndpointAnswer, RateLimit),
    Operation("DELETE", _ONE, "write", "Remove an endpoint; its deliveries stay to look at", _remove, status=204),
    Operation(
        "POST", f"{_ONE}/pause", "write", "Pause an endpoint: its deliveries wait",
        _pause, EndpointAnswer, Reason,
    ),
    Operation("POST", f"{_ONE}/resume", "write", "Go on with a paused or disabled endpoint", _resume, EndpointAnswer),
    Operation(
        "POST", f"{_ONE}/disable", "write", "Disable an endpoint: its deliveries fail",
        _disable, EndpointAnswer, Reason,
    ),
    Operation(
        "POST", f"{_ONE}/rotate-secret", "write", "Sign with another secret, and the old one",
        _rotate, EndpointAnswer, Rotation,
    ),
    Operation(
        "POST", f"{_ONE}/test", "write", "Send an event to an endpoint once, now",
        _test, AttemptAnswer, TrialEvent,
    ),
    Operation("GET", "/rules", "read", "List rules, by name", _rules, RulesAnswer),
    Operation("PUT", "/rules/{name}", "write", "Make a rule, or change it", _put_rule, RuleAnswer, RuleToPut),
    Operation("DELETE", "/rules/{name}", "write", "Forget a rule", _remove_rule, status=204),
)  # fmt: skip
"""What there is to do with endpoints and rules."""
