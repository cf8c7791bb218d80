"""The same work for many subjects: here, in several processes, or on a dask cluster."""

import multiprocessing.connection
import os
import warnings
from collections import Counter, deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from functools import partial
from multiprocessing import get_context, parent_process
from threading import Thread
from typing import Any, Generic, TypeVar

from napari_pvs.errors import InputError, InputWarning
from napari_pvs.files import sentence

Item = TypeVar("Item")
Made = TypeVar("Made")
RETRIES = 3
"""How often work is tried again after its process was killed."""


@dataclass(frozen=True)
class Workers:
    """Who does the work; the results are the same.

    Attributes
    ----------
    processes
        On this machine; with 1, this one.
    scheduler
        Address of a dask scheduler, or a cluster such as ``LocalCluster`` or dask-jobqueue's
        ``SLURMCluster``, in place of these. Its workers must see the same files.
    """

    processes: int = 1
    scheduler: Any = None


HERE = Workers()


@dataclass(frozen=True)
class Outcome(Generic[Made]):
    """What became of one item.

    Attributes
    ----------
    value
        What was made; None where it failed.
    why
        Why it failed, with the remedy; empty where it did not.
    doubts
        Sentences of `InputWarning` from other processes; those from this one were issued.
    """

    value: Made | None
    why: str = ""
    doubts: tuple[str, ...] = ()

    def required(self) -> Made:
        """Return what was made, where everything after depends on it.

        Raises
        ------
        InputError
            It failed.
        """
        if self.value is None:
            raise InputError(self.why)
        return self.value


def each(
    call: Callable[[Item], Made], items: Sequence[Item], workers: Workers = HERE
) -> Iterator[Outcome[Made]]:
    """Call a function with each item, and yield the outcomes in the order of the items.

    An `InputError` or `OSError` of one stops no other. Where a process is killed, what it did is
    tried again, alone, up to `RETRIES` times.

    Parameters
    ----------
    call
        Must be picklable, if it is not called here.
    items
        Its arguments, picklable too.
    workers
        Who calls it.

    Raises
    ------
    InputError
        There is no scheduler at the address, or it was lost.
    """
    if workers.scheduler is not None:
        found = _on_cluster(call, items, workers.scheduler)
    elif workers.processes > 1:
        found = _in_processes(call, items, workers.processes)
    else:
        found = (_tried(call, item) for item in items)
    for outcome in found:
        for text in outcome.doubts:
            warnings.warn(text, InputWarning, stacklevel=2)
        yield outcome


def connect(scheduler: Any) -> Any:
    """Return a client of a dask scheduler, to be closed.

    Raises
    ------
    InputError
        dask.distributed is not installed, or there is no scheduler at the address.
    """
    try:
        import distributed
    except ImportError as error:
        raise InputError(
            "dask.distributed is not installed; run: pip install 'napari-pvs[cluster]'"
        ) from error
    try:
        return distributed.Client(scheduler)  # type: ignore[no-untyped-call]
    except (OSError, ValueError) as error:  # of an address without a port, for one
        raise InputError(
            f"no dask scheduler answers at {scheduler}; start one, or leave out --scheduler."
        ) from error


def require_one_thread() -> None:
    """Refuse a dask worker that would do several things in one process.

    Raises
    ------
    InputError
        It has several threads.
    """
    from distributed import get_worker

    worker: Any = get_worker()
    if worker.state.nthreads > 1:
        raise InputError(
            f"the dask worker {worker.address} has {worker.state.nthreads} threads and would do "
            "several things in one process; start workers with one thread (--nthreads 1)."
        )


def _tried(call: Callable[[Item], Made], item: Item) -> Outcome[Made]:
    try:
        return Outcome(call(item))
    except (InputError, OSError) as error:
        return Outcome(None, sentence(error))


def _apart(call: Callable[[Item], Made], item: Item) -> Outcome[Made]:
    """Try in another process; doubts travel with the outcome."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", InputWarning)
        found = _tried(call, item)
    doubts = [str(one.message) for one in caught if issubclass(one.category, InputWarning)]
    return Outcome(found.value, found.why, tuple(doubts))


def _in_processes(
    call: Callable[[Item], Made], items: Sequence[Item], count: int
) -> Iterator[Outcome[Made]]:
    crew = _Crew(call, items, min(count, max(1, len(items))))
    try:
        for at in range(len(items)):
            while at not in crew.done:
                crew.go_on()
            yield crew.done.pop(at)
    finally:
        crew.pool.shutdown(cancel_futures=True)


class _Crew(Generic[Item, Made]):
    """Processes, what they do, and what is still to be done."""

    def __init__(self, call: Callable[[Item], Made], items: Sequence[Item], count: int) -> None:
        self.done: dict[int, Outcome[Made]] = {}
        self._call, self._items, self._count = call, items, count
        self._todo, self._suspects = deque(range(len(items))), deque[int]()
        self._lost: Counter[int] = Counter()
        self._pending: dict[Future[Outcome[Made]], int] = {}
        self.pool = self._make()

    def go_on(self) -> None:
        """Give work to whoever has none, and wait until some is done."""
        self._submit()
        ended, _ = wait(self._pending, return_when=FIRST_COMPLETED)
        broken = not ended
        for future in ended:
            error = future.exception()
            if isinstance(error, BrokenProcessPool):
                broken = True
            else:
                self.done[self._pending.pop(future)] = future.result()
        if broken:
            self._start_again()

    def _submit(self) -> None:
        # one of the suspects has killed its process: alone, it is known which
        alone = bool(self._suspects) or any(self._lost[at] for at in self._pending.values())
        queue, most = (self._suspects, 1) if alone else (self._todo, self._count)
        while queue and len(self._pending) < most:
            try:
                future = self.pool.submit(_apart, self._call, self._items[queue[0]])
            except BrokenProcessPool:  # seen by `go_on` too
                return
            self._pending[future] = queue.popleft()

    def _start_again(self) -> None:
        """Replace the processes; what they did is done again, until it has failed too often."""
        self.pool.shutdown()
        self.pool = self._make()
        for at in sorted(self._pending.values()):
            self._lost[at] += 1
            if self._lost[at] > RETRIES:
                self.done[at] = _killed("use fewer processes, or a machine with more memory")
            else:
                self._suspects.append(at)
        self._pending.clear()

    def _make(self) -> ProcessPoolExecutor:
        return ProcessPoolExecutor(
            self._count,
            mp_context=get_context("spawn"),  # a fork would inherit locks of threads
            initializer=_begin,
            initargs=(max(1, (os.cpu_count() or 1) // self._count),),
        )


def _killed(remedy: str) -> Outcome[Any]:
    return Outcome(
        None,
        f"its process was killed {RETRIES + 1} times, probably because memory ran out; {remedy}.",
    )


def _begin(threads: int) -> None:
    """Make a process ready for work."""
    _end_with_parent()
    _share(threads)


def _end_with_parent() -> None:
    """End this process when the one that began it is killed; it would wait for work forever."""
    parent = parent_process()
    assert parent is not None

    def watch() -> None:
        multiprocessing.connection.wait([parent.sentinel])
        os._exit(1)

    Thread(target=watch, daemon=True).start()


def _share(threads: int) -> None:
    """Leave the other processes their cores; read by numerical libraries while they load."""
    for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
        os.environ.setdefault(name, str(threads))


def _on_cluster(
    call: Callable[[Item], Made], items: Sequence[Item], scheduler: Any
) -> Iterator[Outcome[Made]]:
    client = connect(scheduler)
    from distributed import KilledWorker
    from distributed.client import FutureCancelledError
    from distributed.comm.core import CommClosedError

    with client:
        futures = client.map(partial(_on_worker, call), items, retries=RETRIES, pure=False)
        for future in futures:
            try:
                yield future.result()
            except KilledWorker:
                yield _killed("use workers with more memory")
            except (CommClosedError, FutureCancelledError, TimeoutError) as error:
                raise InputError(
                    f"the dask scheduler at {scheduler} was lost; start it, and run the command "
                    "again."
                ) from error


def _on_worker(call: Callable[[Item], Made], item: Item) -> Outcome[Made]:
    require_one_thread()
    return _apart(call, item)
