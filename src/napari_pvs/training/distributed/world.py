"""One training over several processes: who does what, and what all of them agree on.

torchrun starts the same command once per GPU. Every process draws the same patches and computes
its share of them; sums go over all processes, so that a step computes what one process would with
the whole batch. The first process alone writes, and decides what depends on time or on files.

A `World` is one process, and `group.Group` one of several; nothing else knows the difference.
"""

import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

from napari_pvs.errors import InputError

if TYPE_CHECKING:
    from torch import Tensor

    from napari_pvs.network.m2ss import M2SS

T = TypeVar("T")
Item = TypeVar("Item")


@dataclass(frozen=True)
class Share:
    """The part ``start`` to ``stop`` (excluded) of ``of`` things that is a process's own."""

    start: int
    stop: int
    of: int

    @property
    def slice(self) -> slice:
        """To index what holds all things."""
        return slice(self.start, self.stop)

    def within(self, first: int, last: int) -> "Share":
        """Return its part of the things from ``first`` to ``last`` (excluded).

        Examples
        --------
        >>> Share(3, 6, 6).within(0, 4), Share(3, 6, 6).within(4, 6)
        (Share(start=3, stop=4, of=4), Share(start=0, stop=2, of=2))
        """
        start, stop = (min(max(n, first), last) - first for n in (self.start, self.stop))
        return Share(start, stop, last - first)


class Elsewhere(InputError):
    """Another process failed and has said why."""


class World:
    """All processes of a run: here, one.

    Attributes
    ----------
    rank
        Number of this process; the first, 0, leads.
    size
        Processes in all.
    here
        Of them, those on this machine.
    """

    rank = 0
    size = 1
    here = 1

    def share(self, count: int) -> Share:
        """Return what is this process's own of ``count`` things; it may be nothing."""
        return Share(count * self.rank // self.size, count * (self.rank + 1) // self.size, count)

    def sum(self, values: "Tensor") -> "Tensor":
        """Add a tensor of all processes, element by element; differentiable."""
        return values

    def mean(self, values: "Tensor") -> "Tensor":
        """Return the mean over all elements of all processes; differentiable."""
        return values.mean()

    def synchronised(self, model: "M2SS") -> "M2SS":
        """Have batch norm see the patches of all processes."""
        return model

    def average(self, parameters: Iterable["Tensor"]) -> None:
        """Replace gradients by their means over the processes."""

    def gather(self, value: T) -> list[T]:
        """Return the values of all processes, in their order, to every one."""
        return [value]

    def together(self, work: Callable[[], T]) -> list[T]:
        """Have every process do its work; return all results. What one raises ends all."""
        return [work()]

    def lead(self, work: Callable[[], T]) -> T:
        """Have the first process do something, and tell every one the result."""
        return self.together(work if self.rank == 0 else lambda: None)[0]  # type: ignore[return-value]

    def in_turn(self, work: Callable[[], T]) -> T:
        """Have the first process do something, then the others, who find the caches filled."""
        own: list[T] = []

        def do() -> None:
            own.append(work())

        self.lead(do)
        self.together(do if self.rank else lambda: None)
        return own[0]

    def spread(self, work: Callable[[Item], T], items: Sequence[Item]) -> list[T]:
        """Deal items out to the processes; return the results of all, in their order."""
        dealt = self.together(lambda: [work(item) for item in items[self.rank :: self.size]])
        return [dealt[n % self.size][n // self.size] for n in range(len(items))]

    def same(self, value: object, what: str) -> None:
        """Refuse to go on where processes differ in a value."""
        values = self.gather(value)

        def check() -> None:
            if any(other != values[0] for other in values):
                raise InputError(
                    f"the processes of this run do not see the same {what}; let all machines work "
                    "on one shared folder."
                )

        self.lead(check)

    @contextmanager
    def holding(self, lock: AbstractContextManager[object]) -> Iterator[None]:
        """Hold something that one process can hold: the first does, for all."""
        with ExitStack() as held:

            def take() -> None:
                held.enter_context(lock)

            self.lead(take)
            yield


ALONE = World()


def environment() -> tuple[int, int]:
    """Return this process's number and the number of all, from what torchrun sets."""
    size = int(os.environ.get("WORLD_SIZE", "1"))
    if size == 1 or "RANK" not in os.environ:
        return 0, 1
    return int(os.environ["RANK"]), size
