"""The deliveries of a pipeline, with the endpoints and rules that are declared for them."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from eventpipe.checked import shown
from eventpipe.delivery import Deliveries, Endpoint, Reconciler, Rule
from eventpipe.delivery.endpoint import Private


class Delivering:
    """What a pipeline has of deliveries.

    Args:
        deliveries: The deliveries.
        reconciler: What attempts them here. ``None``: other processes do.
        endpoints: Declared: put at each start, unless they are there so already.
        rules: Likewise.

    Raises:
        ValueError: The reconciler is one of other deliveries, or a name is there twice.
        TypeError: Something is no ``Deliveries``, ``Reconciler``, ``Endpoint`` or ``Rule``.
    """

    def __init__(
        self,
        deliveries: Deliveries,
        reconciler: Reconciler | None,
        endpoints: Iterable[Endpoint],
        rules: Iterable[Rule],
    ) -> None:
        if not isinstance(deliveries, Deliveries):
            raise TypeError(f"deliveries must be Deliveries, not {shown(deliveries)}")
        if reconciler is not None and not isinstance(reconciler, Reconciler):
            raise TypeError(f"reconciler must be a Reconciler, not {shown(reconciler)}")
        if reconciler is not None and reconciler.deliveries is not deliveries:
            raise ValueError(f"{reconciler.name} is one of other deliveries than {deliveries.name}")
        self.deliveries = deliveries
        self.reconciler = reconciler
        self.endpoints = tuple(endpoints)
        self.rules = tuple(rules)
        for word, kind, declared in (("endpoint", Endpoint, self.endpoints), ("rule", Rule, self.rules)):
            names = []
            for one in declared:
                if not isinstance(one, kind):
                    raise TypeError(f"{word}s must be {kind.__name__}s, and {shown(one)} is none")
                if one.name in names:
                    raise ValueError(f"{word} {one.name!r} is there twice; each needs a name of its own")
                names.append(one.name)

    async def declare(self) -> None:
        """Put the endpoints and rules that are not there as declared; others stay as they are.

        An endpoint keeps its state, so that one which somebody paused stays paused.

        Raises:
            UnknownEndpointError: A rule names an endpoint that there is none of.
            ValueError: An endpoint has a secret, and the deliveries are given secrets by a function.
            StoreError: The engine failed.
        """
        for endpoint in self.endpoints:
            if not await self._is_there(endpoint):
                await self.deliveries.add_endpoint(endpoint, replace=True)
            elif endpoint.sink is not None:
                self.deliveries.senders.lend(endpoint.name, endpoint.sink)
        there = {rule.name: rule for rule in await self.deliveries.rules()}
        for rule in self.rules:
            if there.get(rule.name) != rule:
                await self.deliveries.add_rule(rule)

    async def _is_there(self, endpoint: Endpoint) -> bool:
        """Whether nothing changes for an endpoint: each change makes every process connect to it anew."""
        kept = self.deliveries.kept
        for there in await kept.endpoints(endpoint.name):
            declared = replace(
                endpoint.info(there.created_at),
                state=there.state,
                state_reason=there.state_reason,
                version=there.version,
            )
            return declared == there and await kept.private(endpoint.name) == Private.of(endpoint).pack()
        return False
