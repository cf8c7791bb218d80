"""Joining the other processes of a run."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from napari_pvs.training.distributed.world import ALONE, Elsewhere, World, environment

if TYPE_CHECKING:
    import torch


@contextmanager
def joined(device: "torch.device") -> Iterator[World]:
    """Join the other processes, if torchrun has started any.

    Whichever process fails, the first one raises its error. The others exit with code 2 without
    printing anything, unless the error is their own.

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
