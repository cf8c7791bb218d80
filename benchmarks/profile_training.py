"""Where the time of a training step goes.

    python benchmarks/profile_training.py [--method m2ss] [--steps 20] [--precision full]

Steps of a run on made-up patches of the run's own size, after a warm-up: first by the clock, stage
by stage (drawing, augmentation and the rest of the loss's making, network, backward, update, mean
of the weights), then once more under torch.profiler, which slows them: its top operators by their
own time. "Outside the network" is what is neither forward nor backward of the network. On a GPU
every stage waits for the device, so that its time is its own.
"""

import argparse
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from stages import watch

from napari_pvs.network.device import pick
from napari_pvs.training import step as steps
from napari_pvs.training.config import TrainingConfig
from napari_pvs.training.data.prepared import PreparedSubject
from napari_pvs.training.data.sampling import Patches, draw
from napari_pvs.training.semi_supervised import teachers
from napari_pvs.training.semi_supervised.teacher import Teacher, make_teacher
from napari_pvs.training.state import State

EDGE = 96


class Clock:
    """Seconds by stage; a stage inside another is taken from it."""

    def __init__(self, device: torch.device) -> None:
        self.device, self.spent = device, dict[str, float]()
        self.inside: list[float] = []

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Add what the body takes, less the stages in it."""
        begun = self.now()
        self.inside.append(0.0)
        with torch.profiler.record_function(f"# {name}"):
            yield
            took = self.now() - begun
        own = took - self.inside.pop()
        self.spent[name] = self.spent.get(name, 0.0) + own
        if self.inside:
            self.inside[-1] += took

    def now(self) -> float:
        """Seconds, when the device has done all it was asked."""
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)
        return time.perf_counter()


def main() -> None:
    arguments = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    arguments.add_argument("--method", default="m2ss")
    arguments.add_argument("--steps", type=int, default=20)
    arguments.add_argument("--device", default="auto")
    arguments.add_argument("--precision", default="auto")
    arguments.add_argument("--operators", type=int, default=15)
    given = arguments.parse_args()
    config = TrainingConfig(
        study="x", method=given.method, warmup=0, device=given.device, precision=given.precision
    )
    device = pick(config.device)
    state, scans, clock = State(config, device), [made(n) for n in range(4)], Clock(device)
    teacher = make_teacher(state, Path("unused"))
    watch_parts(clock, state)
    for _ in range(4):  # both sizes of patches, twice
        one(state, teacher, scans, clock)
    clock.spent = {}
    for _ in range(given.steps):
        one(state, teacher, scans, clock)
    report(clock, given.steps, f"{given.method} on {device}, {config.precision} precision")
    with torch.profiler.profile() as profile:
        for _ in range(max(2, given.steps // 5)):
            one(state, teacher, scans, clock)
    order = "self_cpu_time_total" if device.type == "cpu" else "self_cuda_time_total"
    averages = profile.key_averages()
    print(averages.table(sort_by=order, row_limit=given.operators, max_name_column_width=45))


def watch_parts(clock: Clock, state: State) -> None:
    """Count the parts of a step; the network apart from what is around it."""
    watch(clock.stage, state.model, "forward", "network, forward")
    for module in (steps, teachers):
        watch(clock.stage, module, "augment", "augmentation")
        watch(clock.stage, module, "drop_modality", "augmentation")
    watch(clock.stage, steps, "supervised", "losses")
    watch(clock.stage, teachers, "unsupervised", "losses")
    watch(clock.stage, torch.Tensor, "backward", "network, backward (and losses')")
    watch(clock.stage, torch.nn.utils, "clip_grad_norm_", "clip, optimiser")
    watch(clock.stage, state.optimiser, "step", "clip, optimiser")
    watch(clock.stage, state.optimiser, "zero_grad", "clip, optimiser")


def one(state: State, teacher: Teacher, scans: list[PreparedSubject], clock: Clock) -> None:
    """Take a step as a run takes it, but draw in turn instead of one ahead."""
    config, number = state.config, state.progress.step
    with clock.stage("drawing (a run hides it)"):
        labelled = drawn(scans, config, number, 1, config.batch, lambda s: s.label)
        unlabelled = None
        if config.semi_supervised:
            count = config.unlabelled_batch
            unlabelled = drawn(scans, config, number, 2, count, lambda s: s.label * 0.9)
    with clock.stage("the rest of the step"):
        loss = steps.compute(state, teacher, labelled, unlabelled).total
    with clock.stage("running mean of the weights"):
        state.update(loss)


def drawn(
    scans: list[PreparedSubject],
    config: TrainingConfig,
    step: int,
    stream: int,
    count: int,
    target: Any,
) -> Patches:
    """Draw the patches of a step."""
    return draw(
        scans, config, step, stream=stream, count=count, on_pvs_only=False, target=target
    )  # fmt: skip


def made(seed: int) -> PreparedSubject:
    """Make a scan of noise and dots: what is in it does not change the time."""
    rng = np.random.default_rng(seed)
    images = rng.standard_normal((2, EDGE, EDGE, EDGE), np.float32).astype(np.float16)
    label, brain = rng.random((EDGE,) * 3) < 0.001, np.ones((EDGE,) * 3, bool)
    foreground = np.argwhere(label).astype(np.int16)
    return PreparedSubject(f"sub-{seed}", images, label, brain, (0.8,) * 3, foreground, (0, 0, 0))


def report(clock: Clock, count: int, title: str) -> None:
    """Print milliseconds a step by stage, and what the network's share is."""
    total = sum(clock.spent.values())
    print(f"{title}\n{'stage':34} {'ms a step':>10} {'share':>7}")
    for name, seconds in sorted(clock.spent.items(), key=lambda item: -item[1]):
        print(f"{name:34} {1000 * seconds / count:10.1f} {100 * seconds / total:6.1f}%")
    network = sum(v for k, v in clock.spent.items() if k.startswith("network"))
    hidden = sum(v for k, v in clock.spent.items() if k.startswith("drawing"))
    outside = 100 * (total - hidden - network) / (total - hidden)
    print(f"{'whole':34} {1000 * total / count:10.1f}")
    print(f"outside the network, without drawing: {outside:.1f}%\n")


if __name__ == "__main__":
    main()
