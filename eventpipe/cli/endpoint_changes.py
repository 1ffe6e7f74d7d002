"""``eventpipe endpoints add``, ``rotate`` and ``rules``: where deliveries go, and what they are signed with."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Final, Literal

import orjson
from cyclopts import Parameter
from rich.console import Console

from eventpipe.cli import delivery_words as words
from eventpipe.cli.columns import show_columns
from eventpipe.cli.delivery_file import endpoint_of, opened, opened_to_read
from eventpipe.cli.display import say
from eventpipe.cli.failures import CommandError, UsageError, one_line
from eventpipe.cli.log_file import run
from eventpipe.cli.secrets import read_secrets, read_variable
from eventpipe.cli.text import readable
from eventpipe.delivery import Endpoint
from eventpipe.stores.delivery_values import EndpointInfo, Rule

DASH: Final = Parameter(allow_leading_hyphen=True)  # "-" is standard input

SchemeName = Literal["standard", "hub"]


@dataclass(frozen=True, slots=True)
class AddOptions:
    """What ``eventpipe endpoints add`` was asked for, as the command line spells it.

    Attributes:
        secret_from: Where the secrets are that deliveries are signed with, with white space between: the name of an
            environment variable, or - for standard input.
        unsigned: Sign nothing.
        scheme: How a delivery is signed: standard, which is Standard Webhooks, or hub for X-Hub-Signature-256.
        header_from: A header of every request, as Authorization=VARIABLE, with the environment variable that has its
            value; may be given more than once.
        rate_limit: Attempts per second, at most.
        timeout: Seconds for one attempt.
        allow_private: Connect to this machine and private networks too.
        allow_insecure: Allow plain http to other machines, and certificates that go unchecked.
        replace: Take the place of an endpoint of this name, which keeps its deliveries and its state.
        json: Print JSON.
    """

    secret_from: Annotated[str | None, DASH] = None
    unsigned: bool = False
    scheme: SchemeName = "standard"
    header_from: tuple[str, ...] | None = None
    rate_limit: float | None = None
    timeout: float | None = None
    allow_private: bool = False
    allow_insecure: bool = False
    replace: bool = False
    json: bool = False


@dataclass(frozen=True, slots=True)
class RotateOptions:
    """What ``eventpipe endpoints rotate`` was asked for, as the command line spells it.

    Attributes:
        secret_from: Where the new secrets are, as for add.
        drop_old: Do not go on signing with the old secret as well.
        json: Print JSON.
    """

    secret_from: Annotated[str, DASH]
    drop_old: bool = False
    json: bool = False


@dataclass(frozen=True, slots=True)
class RulesOptions:
    """What ``eventpipe endpoints rules`` was asked for, as the command line spells it.

    Attributes:
        event: Make the rule: events with this name, in which * stands for any characters; may be given more than once.
        to: Make the rule: go to this endpoint; may be given more than once.
        where: Make the rule: only events with this property, as plan=pro or customer.age=42; JSON where that can be
            read as such, else text. May be given more than once.
        remove: Forget the rule.
        json: Print JSON.
    """

    event: tuple[str, ...] | None = None
    to: tuple[str, ...] | None = None
    where: tuple[str, ...] | None = None
    remove: bool = False
    json: bool = False

    @property
    def is_making(self) -> bool:
        """Whether a rule is to be made."""
        return bool(self.event or self.to or self.where)

    def check(self, name: str | None) -> None:
        """See that these go together.

        Raises:
            UsageError: They do not.
        """
        if name is None and (self.is_making or self.remove):
            raise UsageError("name the rule that the options are about: eventpipe endpoints rules FILE NAME")
        if self.is_making and self.remove:
            raise UsageError("--remove forgets a rule; it goes with no option that makes one")
        if self.is_making and not (self.event and self.to):
            raise UsageError("a rule needs --event and --to: which events, and the endpoints that they go to")


# -- endpoints --------------------------------------------------------------------------------------------------------


def add_endpoint(file: Path, name: str, url: str, options: AddOptions, out: Console) -> int:
    """Register a webhook; return the exit code.

    Raises:
        CommandError: An option has no meaning, there is an endpoint of this name already, or the file cannot be used.
    """
    if (options.secret_from is None) is not options.unsigned:
        raise UsageError("add needs --secret-from VARIABLE, --secret-from - for standard input, or --unsigned")
    headers = _headers(options.header_from or ())
    secrets = () if options.secret_from is None else read_secrets("--secret-from", options.secret_from)
    try:
        endpoint = Endpoint(
            name,
            url,
            secrets[0] if len(secrets) == 1 else secrets or None,
            scheme=options.scheme,
            headers=headers or None,
            rate_limit=options.rate_limit,
            timeout=options.timeout,
            allow_private=options.allow_private,
            allow_insecure=options.allow_insecure,
        )
    except ValueError as error:
        raise UsageError(str(error)) from error
    return run(_add(file, endpoint, options, out), out)


async def _add(file: Path, endpoint: Endpoint, options: AddOptions, out: Console) -> int:
    async with opened(file, may_make=True) as deliveries:
        if not options.replace and any(known.name == endpoint.name for known in await deliveries.endpoints()):
            raise CommandError(f"there is an endpoint {endpoint.name!r} already; --replace puts this in its place")
        info = await deliveries.add_endpoint(endpoint, replace=options.replace)
    _tell(info, f"goes to {info.url}, {'unsigned' if options.unsigned else 'signed'}", out, as_json=options.json)
    return 0


def _headers(given: Sequence[str]) -> dict[str, str]:
    headers = {}
    for text in given:
        name, is_one, variable = text.partition("=")
        if not (name and is_one and variable):
            raise UsageError("--header-from: must be of the form NAME=VARIABLE, such as Authorization=PARTNER_KEY")
        headers[name] = read_variable("--header-from", variable)
    return headers


def rotate_secret(file: Path, name: str, options: RotateOptions, out: Console) -> int:
    """Sign with other secrets from now on; return the exit code.

    Raises:
        CommandError: There is no such endpoint, it cannot have the secrets, or the file cannot be used.
    """
    return run(_rotate(file, name, read_secrets("--secret-from", options.secret_from), options, out), out)


async def _rotate(file: Path, name: str, secrets: tuple[str, ...], options: RotateOptions, out: Console) -> int:
    async with opened(file) as deliveries:
        await endpoint_of(deliveries, name)
        new = secrets[0] if len(secrets) == 1 else secrets
        try:
            info = await deliveries.rotate_secret(name, new, keep_old=not options.drop_old)
        except ValueError as error:
            raise UsageError(str(error)) from error
    beside = info.scheme == "standard" and not options.drop_old
    also = ", and with the old one as well until the next rotation" if beside else " alone"
    _tell(info, f"is signed for with the new secret{also}", out, as_json=options.json)
    return 0


def _tell(info: EndpointInfo, what: str, out: Console, *, as_json: bool) -> None:
    if as_json:
        say(out, orjson.dumps({"ok": True, "endpoint": words.endpoint_json(info)}).decode())
    else:
        say(out, one_line(f"{info.name!r} {what}"))


# -- rules ------------------------------------------------------------------------------------------------------------


def rules(file: Path, name: str | None, options: RulesOptions, out: Console) -> int:
    """Show rules, or make or forget one; return the exit code.

    Raises:
        CommandError: The rule means nothing, there is none of that name, or the file cannot be used.
    """
    options.check(name)
    if name is None:
        return run(_show_rules(file, options, out), out)
    if options.remove:
        return run(_remove_rule(file, name, options, out), out)
    if options.is_making:
        rule = Rule(name, options.event or (), options.to or (), dict(_property(text) for text in options.where or ()))
        return run(_add_rule(file, rule, options, out), out)
    return run(_show_rules(file, options, out, name), out)


async def _show_rules(file: Path, options: RulesOptions, out: Console, name: str | None = None) -> int:
    async with opened_to_read(file) as deliveries:
        found = [rule for rule in await deliveries.rules() if name in (None, rule.name)]
    if name is not None and not found:
        raise CommandError(f"there is no rule {name!r}; eventpipe endpoints rules FILE shows those there are")
    if options.json:
        say(out, orjson.dumps({"rules": [words.rule_json(rule) for rule in found]}).decode())
    elif found:
        show_columns(out, ("<rule", "<events", "<endpoints", "<where"), [_row(rule) for rule in found])
    else:
        say(out, f"{readable(str(file))} has no rules yet; --event and --to make one")
    return 0


async def _add_rule(file: Path, rule: Rule, options: RulesOptions, out: Console) -> int:
    async with opened(file) as deliveries:
        for name in rule.endpoints:
            await endpoint_of(deliveries, name)
        try:
            await deliveries.add_rule(rule)
        except ValueError as error:
            raise UsageError(str(error)) from error
    if options.json:
        say(out, orjson.dumps({"ok": True, "rule": words.rule_json(rule)}).decode())
    else:
        say(out, one_line(f"rule {rule.name!r}: {', '.join(rule.events)} to {', '.join(rule.endpoints)}"))
    return 0


async def _remove_rule(file: Path, name: str, options: RulesOptions, out: Console) -> int:
    async with opened(file) as deliveries:
        was_there = await deliveries.remove_rule(name)
    if not was_there:
        raise CommandError(f"there is no rule {name!r}; eventpipe endpoints rules FILE shows those there are")
    if options.json:
        say(out, orjson.dumps({"ok": True, "removed": name}).decode())
    else:
        say(out, one_line(f"rule {name!r} is forgotten"))
    return 0


def _row(rule: Rule) -> tuple[str, ...]:
    where = ", ".join(f"{path}={orjson.dumps(value).decode()}" for path, value in rule.where.items())
    return (rule.name, ", ".join(rule.events), ", ".join(rule.endpoints), where or words.NOTHING)


def _property(text: str) -> tuple[str, object]:
    path, is_one, value = text.partition("=")
    if not (path and is_one):
        raise UsageError(f"--where: {text!r} is not of the form PROPERTY=VALUE, such as plan=pro")
    try:
        return path, orjson.loads(value)
    except orjson.JSONDecodeError:
        return path, value
