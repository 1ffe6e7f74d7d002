"""Endpoints and rules: made, looked at, paused, changed, removed."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Final

from eventpipe.checked import shown
from eventpipe.codecs.webhook_secrets import Secrets
from eventpipe.delivery.endpoint import Endpoint, Private, check_positive, listed, webhook
from eventpipe.delivery.looking import KeptDeliveries
from eventpipe.delivery.matching import check_rule
from eventpipe.errors import StoreError, UnknownEndpointError
from eventpipe.stores.delivery_values import EndpointInfo, EndpointState, Rule

MAX_REASON: Final = 500  # characters
_TRIES: Final = 20  # each is lost to somebody who has changed the endpoint


class AdministeredDeliveries(KeptDeliveries):
    """What people and tools do with endpoints and rules; each call raises ``ClosedError`` unless they run.

    Of several that change one endpoint at once, in any number of processes, none undoes what another did; but what
    ``add_endpoint(replace=True)`` says holds as a whole, whatever was there.
    """

    # -- endpoints ----------------------------------------------------------------------------------------------------

    async def add_endpoint(self, endpoint: Endpoint, *, replace: bool = False) -> EndpointInfo:
        """Register where deliveries go. What is delivered to it from now on goes where it says now.

        Args:
            endpoint: Where.
            replace: Whether it may take the place of the one of that name, which keeps its rows and its state.

        Returns:
            The endpoint as it is kept.

        Raises:
            EndpointExistsError: There is one already, and ``replace`` is false.
            ValueError: It has a secret, and this object is given secrets by a function.
            TypeError: It is no endpoint.
            StoreError: The engine failed.
        """
        if not isinstance(endpoint, Endpoint):
            raise TypeError(
                f"endpoint must be an Endpoint, such as Endpoint('acme', 'https://…'), not {shown(endpoint)}"
            )
        if self._secrets is not None and endpoint.secret is not None:
            raise ValueError(
                f"endpoint {endpoint.name!r} must have no secret: secrets= gives them here, and none is kept"
            )
        kept = self.kept
        async with self._changing:
            info = endpoint.info(self.clock.time())
            made = await kept.put_endpoint(info, Private.of(endpoint).pack(), replace=replace)
            if endpoint.sink is not None:  # not before: one that is refused takes no other's place
                self.senders.lend(endpoint.name, endpoint.sink)
        self._tell(made)
        return made

    async def rotate_secret(self, name: str, secret: Secrets, *, keep_old: bool = True) -> EndpointInfo:
        """Sign with another secret from now on, and with the old one as well until the next rotation.

        Args:
            name: Of the endpoint.
            secret: The new one, or several.
            keep_old: Whether what was the first until now goes on signing beside it, so that a receiver that has not
                got the new one goes on believing. With the scheme ``"hub"``, which has room for one, it cannot.

        Raises:
            UnknownEndpointError: There is none.
            ValueError: It is no secret; or secrets are given by a function, which is where they are changed.
            StoreError: The engine failed.
        """
        info = await self.endpoint(name)
        if self._secrets is not None:
            raise ValueError("secret must be changed where secrets= gets it from: none is kept here")
        if info.kind == "sink":
            raise ValueError(f"endpoint {name!r} has a sink, which signs by itself; change the secret there")
        new = listed(secret)
        if not new:
            raise ValueError("secret must be a secret, or a list of at least one")

        def rotated(info: EndpointInfo, private: Private) -> tuple[EndpointInfo, Private]:
            old = private.secrets[:1] if keep_old and info.scheme == "standard" else ()
            changed = Private((*new, *(one for one in old if one not in new)), private.headers)
            webhook(info, changed)  # which refuses what is no secret
            return info, changed

        return await self._change(name, rotated)

    async def set_rate_limit(self, name: str, rate_limit: float | None) -> EndpointInfo:
        """Attempt at most so many deliveries of an endpoint per second from now on; ``None``: any number.

        Raises:
            UnknownEndpointError: There is none.
            ValueError: It is no number above 0.
            StoreError: The engine failed.
        """
        check_positive("rate_limit", rate_limit, "attempts per second")
        return await self._change(name, lambda info, private: (replace(info, rate_limit=rate_limit), private))

    async def pause_endpoint(self, name: str, reason: str | None = None) -> EndpointInfo:
        """Let its rows wait; those that are being attempted go on.

        Raises:
            UnknownEndpointError: There is none.
            StoreError: The engine failed.
        """
        return await self._set(name, EndpointState.PAUSED, reason)

    async def resume_endpoint(self, name: str) -> EndpointInfo:
        """Go on with an endpoint that was paused or disabled; what failed meanwhile waits for a resend.

        Raises:
            UnknownEndpointError: There is none.
            StoreError: The engine failed.
        """
        return await self._set(name, EndpointState.ACTIVE, None)

    async def disable_endpoint(self, name: str, reason: str | None = None) -> EndpointInfo:
        """Let its rows fail, as ``endpoint_disabled``, those that are published from now on as well.

        Raises:
            UnknownEndpointError: There is none.
            StoreError: The engine failed.
        """
        return await self._set(name, EndpointState.DISABLED, reason)

    async def remove_endpoint(self, name: str) -> None:
        """Forget an endpoint and its secrets; its rows fail, as ``endpoint_removed``, and stay for whoever looks.

        The sink that it had here is closed as soon as nobody uses it, unless another endpoint has it.

        Raises:
            UnknownEndpointError: There is none.
            StoreError: The engine failed.
        """
        await self._set(name, EndpointState.REMOVED, None)
        self.senders.forget(name)

    async def endpoints(self) -> list[EndpointInfo]:
        """Every endpoint, by name."""
        return await self.kept.endpoints()

    async def endpoint(self, name: str) -> EndpointInfo:
        """One endpoint.

        Raises:
            UnknownEndpointError: There is none; the message names the one that is spelt nearly so.
            StoreError: The engine failed.
        """
        found = await self.kept.endpoints(name)
        if not found:
            raise UnknownEndpointError(name, [known.name for known in await self.kept.endpoints()])
        return found[0]

    # -- rules --------------------------------------------------------------------------------------------------------

    async def add_rule(self, rule: Rule) -> None:
        """Have events that fit go to endpoints, where a publish names none; in place of the rule of that name.

        Raises:
            UnknownEndpointError: It names an endpoint that there is none of.
            ValueError: It means nothing.
            StoreError: The engine failed.
        """
        checked = check_rule(rule)
        known = [endpoint.name for endpoint in await self.kept.endpoints()]
        for name in checked.endpoints:
            if name not in known:
                raise UnknownEndpointError(name, known)
        await self.kept.put_rule(checked)

    async def remove_rule(self, name: str) -> bool:
        """Forget a rule; whether there was one, for one that is not there is no error: nothing goes by it."""
        return await self.kept.remove_rule(name)

    async def rules(self) -> list[Rule]:
        """Every rule, by name."""
        return await self.kept.rules()

    async def _change(
        self, name: str, change: Callable[[EndpointInfo, Private], tuple[EndpointInfo, Private]]
    ) -> EndpointInfo:
        """Read an endpoint, change it and keep it; again where somebody else has changed it meanwhile."""
        async with self._changing:
            for _ in range(_TRIES):
                info = await self.endpoint(name)  # before what is private of it, which then is at least as new
                changed, private = change(info, Private.unpack(await self.kept.private(name)))
                kept = await self.kept.change_endpoint(changed, private.pack())
                if kept is not None:
                    self._tell(kept)
                    return kept
        raise StoreError(f"endpoint {name!r} was changed by others {_TRIES} times meanwhile; try again")

    async def _set(self, name: str, state: EndpointState, reason: str | None) -> EndpointInfo:
        given: object = reason
        if given is not None and (not isinstance(given, str) or len(given) > MAX_REASON):
            raise ValueError(f"reason must be text of at most {MAX_REASON} characters, or None, not {shown(given)}")
        async with self._changing:  # else one that is removed could be put back by a change that had read it before
            await self.endpoint(name)  # for a message that names the one that is meant
            kept = await self.kept.set_endpoint_state(name, state, reason)
        self._tell(kept)
        return kept

    def _tell(self, endpoint: EndpointInfo) -> None:
        for listener in [*self.endpoint_listeners]:
            listener(endpoint)
