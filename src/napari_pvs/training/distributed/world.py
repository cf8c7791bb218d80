"""One training over several processes: what each of them does, and what they agree on.

torchrun starts the same command once per GPU. Every process draws the same patches and computes
its share of them. Sums are taken over all processes, so that a step computes what a single process
would compute with the whole batch. Only the first process writes files, and decides whatever
depends on the clock or on files.

A `World` is a single process, a `group.Group` one of several; no other code distinguishes them.
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
    """A process's part of ``of`` items: ``start`` to ``stop`` (excluded)."""

    start: int
    stop: int
    of: int

    @property
    def slice(self) -> slice:
        """Slice of an array of all items."""
        return slice(self.start, self.stop)

    def within(self, first: int, last: int) -> "Share":
        """Return the share of the items from ``first`` to ``last`` (excluded).

        Examples
        --------
        >>> Share(3, 6, 6).within(0, 4), Share(3, 6, 6).within(4, 6)
        (Share(start=3, stop=4, of=4), Share(start=0, stop=2, of=2))
        """
        start, stop = (min(max(n, first), last) - first for n in (self.start, self.stop))
        return Share(start, stop, last - first)


class Elsewhere(InputError):
    """Another process has failed and reported why."""


class World:
    """The processes of a run, seen from one of them; here there is only one.

    Attributes
    ----------
    rank
        Number of this process; 0 leads.
    size
        Number of processes.
    here
        Number of processes on this machine.
    """

    rank = 0
    size = 1
    here = 1

    def share(self, count: int) -> Share:
        """Return this process's share of ``count`` items; it may be empty."""
        return Share(count * self.rank // self.size, count * (self.rank + 1) // self.size, count)

    def sum(self, values: "Tensor") -> "Tensor":
        """Sum a tensor over all processes; differentiable."""
        return values

    def mean(self, values: "Tensor") -> "Tensor":
        """Return the mean of all elements over all processes; differentiable."""
        return values.mean()

    def synchronised(self, model: "M2SS") -> "M2SS":
        """Return the model with batch norm over the patches of all processes."""
        return model

    def average(self, parameters: Iterable["Tensor"]) -> None:
        """Replace gradients by their means over all processes."""

    def gather(self, value: T) -> list[T]:
        """Return the values of all processes, in order, in each of them."""
        return [value]

    def together(self, work: Callable[[], T]) -> list[T]:
        """Do some work in every process and return all results; an error in one ends all."""
        return [work()]

    def lead(self, work: Callable[[], T]) -> T:
        """Do some work in the first process and return its result in all."""
        return self.together(work if self.rank == 0 else lambda: None)[0]  # type: ignore[return-value]

    def in_turn(self, work: Callable[[], T]) -> T:
        """Do some work in the first process, then in the others, which find the caches filled."""
        own: list[T] = []

        def do() -> None:
            own.append(work())

        self.lead(do)
        self.together(do if self.rank else lambda: None)
        return own[0]

    def spread(self, work: Callable[[Item], T], items: Sequence[Item]) -> list[T]:
        """Deal items out to the processes and return the results in the order of the items."""
        dealt = self.together(lambda: [work(item) for item in items[self.rank :: self.size]])
        return [dealt[n % self.size][n // self.size] for n in range(len(items))]

    def same(self, value: object, what: str) -> None:
        """Refuse to continue if a value differs between the processes."""
        values = self.gather(value)

        def check() -> None:
            if any(other != values[0] for other in values):
                raise InputError(
                    f"the processes of this run do not see the same {what}; make all machines use "
                    "the same shared folder."
                )

        self.lead(check)

    @contextmanager
    def holding(self, lock: AbstractContextManager[object]) -> Iterator[None]:
        """Hold a lock in the first process, on behalf of all."""
        with ExitStack() as held:

            def take() -> None:
                held.enter_context(lock)

            self.lead(take)
            yield


ALONE = World()


def environment() -> tuple[int, int]:
    """Return this process's number and the number of processes, as set by torchrun."""
    size = int(os.environ.get("WORLD_SIZE", "1"))
    if size == 1 or "RANK" not in os.environ:
        return 0, 1
    return int(os.environ["RANK"]), size
