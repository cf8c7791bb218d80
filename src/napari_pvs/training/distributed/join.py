"""How a process joins the others of its run."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch

from napari_pvs.training.distributed.world import ALONE, Elsewhere, World, environment


@contextmanager
def joined(device: torch.device) -> Iterator[World]:
    """Join the other processes, where torchrun has started some.

    The first process raises what failed, wherever it did. The others end with exit code 2 and
    without a word where the fault is not theirs.

    Raises
    ------
    InputError
        Another process failed, or the device cannot train together with others.
    """
    if environment()[1] == 1:
        yield ALONE
        return
    from napari_pvs.training.distributed.group import Group

    group = Group(device)
    try:
        with group.quiet():
            yield group
    except Elsewhere:
        if group.rank:
            raise SystemExit(2) from None
        raise
    except BaseException as error:
        group.fail(error)
        raise
    finally:
        group.leave()
