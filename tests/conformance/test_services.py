"""Services of each kind keep the contract: the plainest, slow ones, and one with workers whose items are counted."""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque
from collections.abc import Iterator

import pytest

from eventpipe.core.channel import Channel
from eventpipe.core.deadline import Deadline
from eventpipe.core.group import ServiceGroup
from eventpipe.core.pool import Pool
from eventpipe.core.service import Service
from eventpipe.errors import ClosedError
from eventpipe.options import RetryPolicy
from eventpipe.testing.service_contract import MakeService, ServiceContract
from tests.core.grouped import Listener, Numbers, check_nothing_is_lost


class TestService(ServiceContract):
    @pytest.fixture
    def make_service(self) -> MakeService:
        return Service


class Slow(Service):
    """Takes its time for everything."""

    async def _open(self) -> None:
        await asyncio.sleep(0.001)

    async def _serve(self) -> None:
        await super()._serve()
        await asyncio.sleep(0.001)

    async def _close(self) -> None:
        await asyncio.sleep(0.001)


class TestSlowService(ServiceContract):
    @pytest.fixture
    def make_service(self) -> MakeService:
        return Slow

    async def use(self, service: Service) -> None:
        await asyncio.sleep(0.0005)


class Workshop(Service):
    """Hands what it is given to workers, and gets back what they did not finish."""

    def __init__(self) -> None:
        super().__init__("workshop")
        self.given = 0
        self.done = 0
        self.waiting: deque[int] = deque()
        self.pool: Pool[int] = Pool(2, self.name, on_lost=self.waiting.appendleft)
        self._is_asked = False
        self._wake: asyncio.Event | None = None

    def give(self) -> None:
        self.given += 1
        self.waiting.append(self.given)
        if self._wake is not None:
            self._wake.set()

    async def _open(self) -> None:
        self._is_asked = False
        self._wake = asyncio.Event()
        self._wake.set()
        await self.pool.start()

    async def _serve(self) -> None:
        assert self._wake is not None
        while not self._is_asked:
            await self._wake.wait()
            self._wake.clear()
            while self.waiting and not self._is_asked:
                await self.pool.acquire()
                if self.waiting:
                    item = self.waiting.popleft()
                    self.pool.spawn(self._work(), item)
                else:
                    self.pool.release()

    def _request_stop(self, deadline: Deadline) -> None:
        self._is_asked = True
        if self._wake is not None:
            self._wake.set()

    async def _close(self) -> None:
        assert await self.pool.stop(1) == []
        self._wake = None

    async def _work(self) -> None:
        await asyncio.sleep(0.001)
        self.done += 1


class TestServiceWithWorkers(ServiceContract):
    @pytest.fixture
    def make_service(self) -> MakeService:
        return Workshop

    async def use(self, service: Service) -> None:
        assert isinstance(service, Workshop)
        for _ in range(3):
            service.give()
            await asyncio.sleep(0)

    def check(self, service: Service) -> None:
        assert isinstance(service, Workshop)
        assert service.given == service.done + len(service.waiting)
        assert len(set(service.waiting)) == len(service.waiting)
        assert service.pool.free == service.pool.size


class TestServiceGroup(ServiceContract):
    @pytest.fixture
    def make_service(self) -> MakeService:
        return lambda: ServiceGroup(Service(), Slow(), Workshop(), Slow())

    async def use(self, service: Service) -> None:
        for workshop in workshops(service):
            await TestServiceWithWorkers().use(workshop)

    def check(self, service: Service) -> None:
        for workshop in workshops(service):
            TestServiceWithWorkers().check(workshop)


class TestGroupOfGroups(TestServiceGroup):
    @pytest.fixture
    def make_service(self) -> MakeService:
        return lambda: ServiceGroup(ServiceGroup(Slow()), ServiceGroup(ServiceGroup(Slow(), Workshop()), Service()))


class TestGroupOfWhatCrashes(TestServiceGroup):
    """Members that crash while others start and stop the group, and that start again by themselves."""

    @pytest.fixture
    def make_service(self) -> MakeService:
        restart = RetryPolicy(initial=0.002, min_delay=0.001)
        return lambda: ServiceGroup(Crashing(), Workshop(), Crashing(), restart=restart)

    async def use(self, service: Service) -> None:
        await super().use(service)
        assert isinstance(service, ServiceGroup)
        for member in service.services:
            if isinstance(member, Crashing):
                member.crash()
        await asyncio.sleep(0.01)  # they are back


class Crashing(Slow):
    """Its work fails when it is told to."""

    _failure: asyncio.Future[None] | None = None

    def crash(self) -> None:
        if self._failure is not None and not self._failure.done():
            self._failure.set_exception(OSError("disk full"))

    async def _serve(self) -> None:
        self._failure = asyncio.get_running_loop().create_future()
        try:
            await asyncio.wait({self._failure, self._asked}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            failure, self._failure = self._failure, None
        if failure.done():
            failure.result()

    async def _open(self) -> None:
        self._asked: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        await super()._open()

    def _request_stop(self, deadline: Deadline) -> None:
        if not self._asked.done():
            self._asked.set_result(None)


class TestServiceWhoseWorkFails(ServiceContract):
    @pytest.fixture
    def make_service(self) -> MakeService:
        return Crashing

    def crash(self, service: Service) -> None:
        assert isinstance(service, Crashing)
        service.crash()


class TestPipeline(ServiceContract):
    """A writer and a reader, which stop in the order of their input whatever order they were given."""

    @pytest.fixture(params=["reader first", "writer first"])
    def make_service(self, request: pytest.FixtureRequest) -> MakeService:
        def make() -> Service:
            channel: Channel[int] = Channel(3)
            parts = Listener(channel, pace=0.0002), Numbers(channel, pace=0.001)
            return ServiceGroup(*(parts if request.param == "reader first" else reversed(parts)))

        return make

    async def use(self, service: Service) -> None:
        await asyncio.sleep(0.0005)

    def check(self, service: Service) -> None:
        assert isinstance(service, ServiceGroup)
        parts = {type(part): part for part in service.services}
        numbers, listener = parts[Numbers], parts[Listener]
        assert isinstance(numbers, Numbers)
        assert isinstance(listener, Listener)
        check_nothing_is_lost((numbers, listener))


def workshops(service: Service) -> Iterator[Workshop]:
    """Those somewhere in a group."""
    if isinstance(service, Workshop):
        yield service
    elif isinstance(service, ServiceGroup):
        for member in service.services:
            yield from workshops(member)


class Fragile(Service):
    """Cannot be started again."""

    _is_used = False

    async def _open(self) -> None:
        if self._is_used:
            raise ClosedError("used up")
        self._is_used = True


class Leaky(Service):
    """Forgets a task."""

    async def _open(self) -> None:
        self.forgotten = asyncio.create_task(asyncio.sleep(3600))

    def __del__(self) -> None:
        self.forgotten.cancel()


class Deaf(Service):
    """Ends only when what it was given is done, which it forgets when it is cancelled."""

    lost = 0

    async def _open(self) -> None:
        try:
            await asyncio.sleep(0.001)
        except asyncio.CancelledError:
            self.lost += 1
            raise


class Brittle(Service):
    """Loses what it was doing when it crashes."""

    begun = done = 0

    async def _serve(self) -> None:
        self.begun += 1
        await super()._serve()
        self.done += 1


@pytest.mark.asyncio
class TestTheContractItself:
    """Services that break it are found out."""

    async def test_finds_what_a_crash_lost(self) -> None:
        class Strict(ServiceContract):
            def check(self, service: Service) -> None:
                assert isinstance(service, Brittle)
                assert service.begun - service.done == 0

        with pytest.raises(AssertionError, match=r"assert \(4 - 1\) == 0"):
            await Strict().test_a_crash_is_kept_and_it_starts_again(Brittle)

    async def test_finds_a_service_that_hides_its_crash(self) -> None:
        class Proud(Service):
            async def _serve(self) -> None:
                with contextlib.suppress(asyncio.CancelledError):
                    await super()._serve()

        with pytest.raises(AssertionError, match="failed"):
            await ServiceContract().test_a_crash_is_kept_and_it_starts_again(Proud)

    async def test_finds_a_service_that_cannot_start_again(self) -> None:
        with pytest.raises(ClosedError, match="used up"):
            await ServiceContract().test_starts_again_after_it_stopped(Fragile)

    async def test_finds_a_service_that_leaves_a_task(self) -> None:
        service = Leaky()
        with pytest.raises(AssertionError, match="1 left behind"):
            await ServiceContract().test_runs_between_start_and_stop(lambda: service)
        service.forgotten.cancel()
        await asyncio.wait({service.forgotten})

    async def test_finds_what_was_lost(self) -> None:
        class Strict(ServiceContract):
            def check(self, service: Service) -> None:
                assert isinstance(service, Deaf)
                assert service.lost == 0

        with pytest.raises(AssertionError, match="assert 1 == 0"):
            await Strict().test_a_life_cancelled_anywhere_leaves_nothing(Deaf)
