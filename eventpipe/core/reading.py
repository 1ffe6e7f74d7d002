"""A service whose work is to read a channel to its end."""

from __future__ import annotations

import asyncio
import logging
from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Generic, TypeVar

from eventpipe.core.channel import Channel
from eventpipe.core.deadline import Deadline
from eventpipe.core.life import Life
from eventpipe.core.log import contained_logger
from eventpipe.core.service import Service, ServiceState

T = TypeVar("T")

_logger = contained_logger(__name__)

_AT_REST = (ServiceState.IDLE, ServiceState.STOPPED, ServiceState.FAILED)


class Reading(Service, ABC, Generic[T]):
    """Handles what comes through a channel, list by list, until the last producer has closed.

    The end of its input ends it, without a stop. A stop waits for that end, whoever was asked to stop first, so that
    nothing is lost that was sent before; its deadline cuts the reading off, and ``left`` says how much that cost.
    Where no producer is open, a stop is the end of the input.

    A life after a crash goes on with the list behind the one it failed at. Any other life but the first, and one in
    another event loop, begins with the channel made as new, unless producers have it open.

    A subclass overrides ``_handle()``.
    """

    def __init__(self, channel: Channel[T], name: str | None = None) -> None:
        super().__init__(name)
        self._channel = channel
        self._in_hand = 0  # items of the list that is being handled, or whose handling did not end
        self._scope: asyncio.Timeout | None = None  # while it reads
        self._lost = 0  # items that were left when the channel was made as new or replaced
        self._has_served = False  # with this channel
        self._crashed_in: asyncio.AbstractEventLoop | None = None

    @property
    def channel(self) -> Channel[T]:
        """What it reads; another one may be set while it does not run, ``RuntimeError`` otherwise."""
        return self._channel

    @channel.setter
    def channel(self, channel: Channel[T]) -> None:
        if self.state not in _AT_REST:
            raise RuntimeError(f"service {self.name} is {self.state}; its channel cannot be replaced")
        self._lost += self._channel.unread
        self._channel = channel
        self._has_served = False

    @property
    def left(self) -> int:
        """Items that were sent, in all its lives, and not handled; the list that is being handled is one of them."""
        return self._lost + self._in_hand + self._channel.unread

    @abstractmethod
    async def _handle(self, items: Sequence[T]) -> None:
        """Handle one list. An error is a crash; cancelled at the deadline of a stop."""

    async def _open(self) -> None:
        goes_on = self._crashed_in is asyncio.get_running_loop()
        if self._has_served and not goes_on and not self._channel.producers:
            self._lost += self._channel.reopen()

    async def _serve(self) -> None:
        life = self._life
        assert life is not None  # noqa: S101  # it runs
        self._lost += self._in_hand
        self._in_hand = 0
        self._has_served = True
        self._crashed_in = None
        try:
            async with life.deadline.scope() as scope:
                self._scope = scope
                await self._channel.drain(lambda items: self._take(items, life), life.deadline)
        except BaseException as error:
            if not (isinstance(error, TimeoutError) and scope.expired()):
                if not life.was_cut_off:
                    self._crashed_in = life.loop
                raise
        finally:
            if not life.loop.is_closed():
                self._scope = None
        if not self._channel.is_ended:
            self._tell_what_is_left()

    async def _take(self, items: Sequence[T], life: Life) -> None:
        self._in_hand = len(items)
        await self._handle(items)
        self._in_hand = 0
        if life.deadline.expired:  # and no timer could say so, or what said so was swallowed
            self._channel.leave()

    def _tell_what_is_left(self) -> None:
        left = self._in_hand + self._channel.held
        _logger.log(
            logging.ERROR if left else logging.WARNING,
            "service %s was cut off by its deadline, with %d items left; not closed by %s",
            self.name,
            left,
            ", ".join(self._channel.producers) or "nobody",
        )

    def _request_stop(self, deadline: Deadline) -> None:
        if self._scope is not None:
            self._scope.reschedule(deadline.when)
        if not self._channel.is_closed:
            self._channel.producer(self.name).close()  # the last one, where nobody else has it open

    async def _close(self) -> None:
        if not self._channel.is_read:  # by somebody else, who was first
            self._channel.leave()
