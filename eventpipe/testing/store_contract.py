"""The contract of a store, as tests: derive a class, give it a fixture ``rig``, and a store of your own proves itself.

```python
class TestNatsStore(StoreContract):
    @pytest_asyncio.fixture
    async def rig(self):
        store = NatsStore(server.address, clock=LoopClock())
        await store.open()
        yield StoreRig(store, asyncio.sleep, LoopClock(), unopened=lambda: NatsStore(server.address))
        await store.aclose()
```

The tests are ``async`` and marked for pytest-asyncio.
"""

from __future__ import annotations

import random
from collections import Counter

import pytest

from eventpipe.stores.values import Disposal, Disposition
from eventpipe.testing.store_competing import CompetingScenarios
from eventpipe.testing.store_consumers import ConsumerScenarios
from eventpipe.testing.store_parking import ParkingScenarios
from eventpipe.testing.store_retention import RetentionScenarios
from eventpipe.testing.store_returns import ReturnScenarios
from eventpipe.testing.store_rig import TOPIC, StoreRig, some_events
from eventpipe.testing.store_topics import TopicScenarios


@pytest.mark.asyncio
class StoreContract(
    TopicScenarios, RetentionScenarios, ConsumerScenarios, ReturnScenarios, CompetingScenarios, ParkingScenarios
):
    """What every store promises to the log that is kept in it."""

    async def test_consumers_that_fail_at_random_are_handed_everything(self, rig: StoreRig) -> None:
        """10 000 events, three consumers, one of which never fails and one of which dies now and then.

        Each is handed every event, for the first time in order, and exactly once where nothing failed.
        """
        seed = random.randrange(1_000_000)  # noqa: S311  # an order to repeat, not a secret
        print(f"seed {seed}")  # noqa: T201  # pytest shows it when the test fails
        chance = random.Random(seed)  # noqa: S311
        events = some_events(10_000)
        offsets: list[int] = []
        hands = {name: await rig.hand(name) for name in ("sound", "failing", "dying")}
        handed: dict[str, list[int]] = {name: [] for name in hands}

        async def turn(name: str) -> None:
            hand = hands[name]
            claimed = await hand.claimed(max_events=chance.randrange(1, 300))
            handed[name] += [event.offset for event in claimed]
            if name == "dying" and chance.random() < 0.1:
                hands[name] = await hand.successor()
                return
            failing = {event.offset for event in claimed if name == "failing" and chance.random() < 0.1}
            dispositions = [
                Disposition(event, Disposal.NACK if event.offset in failing else Disposal.ACK) for event in claimed
            ]
            chance.shuffle(dispositions)
            await rig.store.settle(hand.key, hand.token, dispositions)

        while len(offsets) < len(events) or any([(await hand.info()).pending for hand in hands.values()]):
            offsets += await rig.store.append(TOPIC, events[len(offsets) : len(offsets) + 500])
            for name in hands:
                await turn(name)

        assert handed["sound"] == offsets
        for name in ("failing", "dying"):
            assert list(dict.fromkeys(handed[name])) == offsets
        assert max(Counter(handed["failing"]).values()) > 1
        assert [(await hand.info()).position > offsets[-1] for hand in hands.values()] == [True] * 3
