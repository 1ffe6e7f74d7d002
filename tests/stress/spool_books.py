"""What programs with a spool said that they captured, and what arrived: held against each other."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

from tests.processes.nursery import Child
from tests.processes.spooling import properties, seal


class Books:
    """Accounts of events by their numbers, over many programs.

    Attributes:
        begun: Numbers that were to be captured.
        acked: Ids of those that the disk had when their capture returned.
        sent: Ids of those that arrived, by number, as they came.
        opened: Seconds that programs took until they had before them what they found.
        problems: Events that arrived otherwise than they were captured, or whose capture did not wait for the disk.
    """

    def __init__(self) -> None:
        self.begun: set[int] = set()
        self.acked: dict[int, str] = {}
        self.sent: dict[int, list[str]] = {}
        self.opened: list[float] = []
        self.problems: list[int] = []
        self._last_life: dict[str, object] = {}
        self._again: Counter[object] = Counter()

    @property
    def lost(self) -> set[int]:
        """Events that were acknowledged, and did not arrive."""
        return self.acked.keys() - self.sent.keys()

    @property
    def duplicates(self) -> int:
        """Copies of events that had arrived before."""
        return sum(len(ids) - 1 for ids in self.sent.values())

    @property
    def worst(self) -> int:
        """The most events of one life that arrived again in a later one."""
        return max(self._again.values(), default=0)

    @property
    def next(self) -> int:
        """A number that nobody used."""
        return max(self.begun, default=-1) + 1

    def read(self, child: Child) -> None:
        """Book what a program did that has ended."""
        arrived = []
        for entry in child.entries():
            match entry:
                case ("begun", number):
                    self.begun.add(int(number))
                case ("acked", number, uuid):
                    self.acked[int(number)] = uuid
                case ("weak", number, _):
                    self.problems.append(int(number))
                case ("opened", seconds, _):
                    self.opened.append(float(seconds))
                case ("sent", uuid, number, mark):
                    arrived.append((uuid, int(number), int(mark)))
        self.arrive(child.pid, arrived)

    def arrive(self, life: object, events: Iterable[tuple[str, int, int]]) -> None:
        """Book what a program sent: ids, numbers and seals."""
        for uuid, number, mark in events:
            if mark != seal(properties(number)):
                self.problems.append(number)
            self.sent.setdefault(number, []).append(uuid)
            if uuid in self._last_life:
                self._again[self._last_life[uuid]] += 1
            self._last_life[uuid] = life

    def check(self) -> None:
        """Nothing is lost, invented or altered, and what came again has its id."""
        assert self.problems == []
        assert self.lost == set()
        assert self.sent.keys() - self.begun == set()
        assert [number for number, ids in self.sent.items() if len(set(ids)) != 1] == []
        assert [number for number, uuid in self.acked.items() if self.sent[number][0] != uuid] == []
