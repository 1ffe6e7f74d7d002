"""The contract of a store that keeps deliveries, as tests: derive a class and give it a fixture ``rig``.

```python
class TestNatsDeliveries(DeliveryStoreContract):
    @pytest_asyncio.fixture
    async def rig(self):
        store = NatsStore(server.address, clock=LoopClock())
        await store.open()
        yield DeliveryRig(store, asyncio.sleep, LoopClock())
        await store.aclose()
```

The tests are ``async`` and marked for pytest-asyncio.
"""

from __future__ import annotations

import asyncio
import random
from collections import Counter

import pytest

from eventpipe.testing.delivery_changes import ChangeScenarios
from eventpipe.testing.delivery_claims import ClaimScenarios, place_of
from eventpipe.testing.delivery_endpoints import EndpointScenarios
from eventpipe.testing.delivery_life import LifeScenarios
from eventpipe.testing.delivery_looking import LookingScenarios
from eventpipe.testing.delivery_publishing import PublishingScenarios
from eventpipe.testing.delivery_purging import PurgingScenarios
from eventpipe.testing.delivery_rig import NOW, DeliveryRig, a_resend, a_retry, a_success


@pytest.mark.asyncio
class DeliveryStoreContract(
    EndpointScenarios,
    PublishingScenarios,
    ClaimScenarios,
    ChangeScenarios,
    LookingScenarios,
    PurgingScenarios,
    LifeScenarios,
):
    """What every ``DeliveryStore`` promises to deliveries and their passes."""

    async def test_passes_at_once_deliver_everything_once(self, rig: DeliveryRig) -> None:
        """1 000 rows, four passes by pages, some of what they take failing or given back, and resends meanwhile.

        Each row succeeds exactly once, and once more for each resend that held.
        """
        seed = random.randrange(1_000_000)  # noqa: S311  # an order to repeat, not a secret
        print(f"seed {seed}")  # noqa: T201  # pytest shows it when the test fails
        chance = random.Random(seed)  # noqa: S311
        acme = await rig.endpoint()
        ids = await rig.fill(1_000)
        succeeded: Counter[int] = Counter()
        resent: Counter[int] = Counter()

        async def make_passes() -> None:
            while await rig.kept.due():
                await asyncio.sleep(0)
                after = None
                while rows := [row for row, _ in await rig.claim(acme, after=after, limit=50)]:
                    after = place_of(rows[-1])
                    await asyncio.sleep(0)  # the others go on, whether or not the store waits for anything
                    given_back = [row for row in rows if chance.random() < 0.1]
                    await rig.kept.release(given_back)
                    changes = [
                        a_retry(row, due_at=NOW) if chance.random() < 0.1 else a_success(row)
                        for row in rows
                        if row not in given_back
                    ]
                    were_done = await rig.change(*changes)
                    succeeded.update(
                        change.id
                        for change, was_done in zip(changes, were_done, strict=True)
                        if was_done and change.settled_at is not None
                    )

        async def ask_again() -> None:
            for id_ in chance.sample(ids, 100):
                (was_done,) = await rig.change(a_resend(await rig.row(id_)))
                resent[id_] += was_done
                await asyncio.sleep(0)

        async with asyncio.TaskGroup() as group:
            for _ in range(4):
                group.create_task(make_passes())
            group.create_task(ask_again())

        assert set(succeeded) == set(ids)
        for id_ in ids:
            row = await rig.row(id_)
            assert row.resends == resent[id_]
            assert 1 <= succeeded[id_] <= 1 + resent[id_]
