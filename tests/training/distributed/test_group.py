"""Two real processes on a CPU, against one with the same batch."""

import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time

import pytest
import torch
from safetensors.torch import load_file
from torch import nn

from napari_pvs.network.config import NetworkConfig
from napari_pvs.study.roles import read as read_roles
from napari_pvs.training import loop
from napari_pvs.training.config import TrainingConfig
from napari_pvs.training.distributed.group import SharedBatchNorm
from napari_pvs.training.distributed.world import ALONE
from napari_pvs.training.run import resume, train
from napari_pvs.training.runs.events import read
from napari_pvs.training.runs.folder import CHECKPOINT

TINY = NetworkConfig(widths=(4, 8), scale_width=2)
# of 3 patches of 8 voxels, two processes have 1 and 2; of 1 patch of 12, one has none
SMALL = {
    **{"epochs": 3, "steps": 3, "batch": 3, "unlabelled_batch": 2, "patch": (8, 12)},
    **{"warmup": 1, "validate_every": 1, "refresh": 1, "validation": ("sub-01", "sub-02")},
    "precision": "full",  # bfloat16 rounds what is summed
}
METHODS = {
    "supervised": {"method": "supervised-multi"},
    "m2ss": {"method": "m2ss"},
    "scan": {"method": "m2ss", "statistics": "scan"},
    "paper": {"method": "m2ss", "recipe": "paper", "patch": (8,), "warmup": 1},
}
# rounding alone, though AdamW's first steps see little but the sign of a gradient
CLOSE = {"rtol": 1e-4, "atol": 2e-5}

DRIVER = """
import json, os, signal, shutil, sys
from pathlib import Path
from napari_pvs.cli import main
from napari_pvs.network.config import NetworkConfig
from napari_pvs.training import loop
from napari_pvs.training.config import TrainingConfig
from napari_pvs.training.runs.control import tell

TrainingConfig.network = property(lambda self: NetworkConfig(widths=(4, 8), scale_width=2))
loop._STEP_EVENTS = 0
rank, taken, hooks = os.environ["RANK"], loop.Run._step, {}

def step(self, *patches):
    at = self.state.progress.step
    if rank == "1" and hooks.get("raise_at") == at:
        raise ValueError("the cable is loose")
    if rank == "1" and hooks.get("kill_at") == at:
        os.kill(os.getpid(), signal.SIGKILL)
    taken(self, *patches)
    if rank == "0" and hooks.get("stop_at") == at:
        tell(self.out, "stop")
    if rank == "0" and hooks.get("label_at") == at:
        source, target = map(Path, hooks["label"])
        target.parent.mkdir(parents=True)
        shutil.copy(source, target)

loop.Run._step = step
for hooks in json.loads(Path(sys.argv[1]).read_text()):
    try:
        main(hooks["arguments"])
    except SystemExit as end:
        if end.code != hooks.get("ends", 0):
            raise
        if end.code:
            # one write: two processes share the pipe
            os.write(1, f"ended with {end.code} in {rank}\\n".encode())
"""


def folder(out, study, **values):
    """A run that is to be: a folder with its configuration."""
    out.mkdir()
    given = TrainingConfig(study=study, device="cpu", **(SMALL | values))
    (out / "config.json").write_text(given.model_dump_json())
    return out, given


def start(tmp_path, commands, environment=None, launcher=()):
    script, given = tmp_path / "driver.py", tmp_path / "commands.json"
    script.write_text(DRIVER)
    given.write_text(json.dumps(commands))
    return subprocess.Popen(
        [sys.executable, *launcher, str(script), str(given)],
        env=os.environ | {"OMP_NUM_THREADS": "1"} | (environment or {}),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def start_two(tmp_path, *commands):
    """Two processes without torchrun, which would kill them by the clock."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    address = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port, "WORLD_SIZE": "2"}
    return [start(tmp_path, commands, address | {"RANK": rank}) for rank in "01"]


def events(run, kind=None):
    path = run / "events.jsonl"
    return [e for e in (read(path) if path.exists() else []) if kind in (None, e["type"])]


def assert_same_events(run, alone, kind, count):
    """What they say is the same, but for rounding and for when they said it."""
    ours, theirs = events(run, kind), events(alone, kind)
    assert len(ours) == len(theirs) == count
    for one, other in zip(ours, theirs, strict=True):
        assert one.keys() == other.keys()
        for name in one.keys() - {"seq", "time"}:
            said = other[name]
            close = pytest.approx(said, rel=1e-4, abs=1e-5) if isinstance(said, float) else said
            assert one[name] == close, (kind, name)


@pytest.fixture
def one_process(monkeypatch):
    monkeypatch.setattr(TrainingConfig, "network", property(lambda self: TINY))
    monkeypatch.setattr(loop, "_STEP_EVENTS", 0)


def test_two_processes_train_as_one(make_study, tmp_path, one_process):
    study = make_study(6, labelled=4)
    growing = shutil.copytree(study, tmp_path / "growing")
    commands, runs = [], {}
    for name, values in METHODS.items():
        out, given = folder(tmp_path / name, study, **values)
        runs[name] = out
        commands.append({"arguments": ["train", str(out)]})
        train(given, tmp_path / f"{name}-alone")
    for name in ("stopped", "handed-over"):
        runs[name], _ = folder(tmp_path / name, study, **METHODS["m2ss"])
        commands.append({"arguments": ["train", str(runs[name])], "stop_at": 6})
    commands.append({"arguments": ["train", str(runs["stopped"]), "--resume"]})
    runs["grown"], _ = folder(tmp_path / "grown", growing, **METHODS["m2ss"])
    inner = "anat/{0}_desc-pvs_mask.nii.gz"
    label = [
        str(growing / "derivatives/labels" / name / inner.format(name))
        for name in ("sub-04", "sub-05")
    ]
    commands.append({"arguments": ["train", str(runs["grown"])], "label_at": 1, "label": label})
    nobody, _ = folder(tmp_path / "nobody", tmp_path / "no-study")
    commands.append({"arguments": ["train", str(nobody)], "ends": 2})
    torchrun = ("-m", "torch.distributed.run", "--nproc-per-node=2")
    torchrun += ("--rdzv-backend=c10d", "--rdzv-endpoint=127.0.0.1:0", "--local-addr=127.0.0.1")
    process = start(tmp_path, commands, launcher=torchrun)
    said, complained = process.communicate()
    assert process.returncode == 0, complained

    for name in METHODS:
        run, alone = runs[name], tmp_path / f"{name}-alone"
        assert events(run)[0]["processes"] == 2
        assert [e["seq"] for e in events(run)] == list(range(len(events(run))))
        for kind, count in (("step", 9), ("validation", 3), ("epoch", 3)):
            assert_same_events(run, alone, kind, count)
        ours, theirs = load_file(run / CHECKPOINT), load_file(alone / CHECKPOINT)
        assert ours.keys() == theirs.keys()
        for tensor, value in ours.items():
            if not tensor.startswith("optimiser"):
                torch.testing.assert_close(value, theirs[tensor], **CLOSE, msg=tensor)
        assert {p.name for p in run.iterdir()} == {p.name for p in alone.iterdir()}
        assert f"Best weights: {run / 'best.safetensors'}" in said
    assert any("unsupervised" in e for e in events(runs["m2ss"], "step"))
    assert said.count("Best weights") == len(commands) - 1  # the first process alone says it

    # with two processes again: the same bits; with one: the same numbers
    whole = load_file(runs["m2ss"] / CHECKPOINT)
    again = load_file(runs["stopped"] / CHECKPOINT)
    assert all(torch.equal(whole[name], again[name]) for name in whole)
    assert [e["step"] for e in events(runs["handed-over"], "stopped")] == [7]
    resume(runs["handed-over"])
    handed = load_file(runs["handed-over"] / CHECKPOINT)
    for name in whole:
        if not name.startswith("optimiser"):
            torch.testing.assert_close(handed[name], whole[name], **CLOSE, msg=name)

    assert [e["added"] for e in events(runs["grown"], "data_added")] == [["sub-05"]]
    assert events(runs["grown"])[-1]["type"] == "done"
    assert read_roles(growing)["sub-05"] == "train"
    assert complained.count("is not a folder") == 1
    assert [f"ended with 2 in {rank}" in said for rank in "01"] == [True, True]


def wait_for_steps(run, processes):
    while len(events(run, "step")) < 2:
        assert all(process.poll() is None for process in processes)
        time.sleep(0.05)


def test_a_queue_s_signals_stop_all_with_a_checkpoint(make_study, tmp_path):
    run, _ = folder(tmp_path / "run", make_study(4), epochs=5000, validate_every=5000)
    both = start_two(tmp_path, {"arguments": ["train", str(run)]})
    wait_for_steps(run, both)
    for process in (both[1], both[1], both[0]):  # torchrun hands on what the queue has sent to all
        process.send_signal(signal.SIGTERM)
    said = [process.communicate() for process in both]
    assert [process.returncode for process in both] == [0, 0], said
    assert events(run)[-1]["type"] == "stopped"
    assert (run / CHECKPOINT).is_file()


@pytest.mark.parametrize(
    ("hook", "words"),
    [
        ("raise_at", r"process 1 on \S+: ValueError: the cable is loose"),
        ("kill_at", r"another process of the run ended without a message \(.*killed it for using"),
    ],
)
def test_a_process_that_fails_ends_all(make_study, tmp_path, hook, words):
    run, _ = folder(tmp_path / "run", make_study(4), epochs=500)
    both = start_two(tmp_path, {"arguments": ["train", str(run)], hook: 4})
    (_, first), (_, second) = [process.communicate() for process in both]
    assert both[0].returncode == 2, first
    assert both[1].returncode not in (0, 2), second
    last = events(run)[-1]
    assert last["type"] == "error"
    assert re.search(words, last["message"])
    assert last["message"] in first
    assert "Traceback" not in first


def test_shared_batch_norm_is_torch_s(tmp_path):
    torch.manual_seed(0)
    ours, theirs = SharedBatchNorm(3), nn.BatchNorm3d(3)
    ours.world = ALONE
    nn.init.uniform_(theirs.weight)
    ours.load_state_dict(theirs.state_dict())
    for _ in range(3):
        given = torch.randn(2, 3, 4, 5, 6) * 3 + 2
        one, two = given.clone().requires_grad_(), given.clone().requires_grad_()
        (ours(one) ** 3).sum().backward()
        (theirs(two) ** 3).sum().backward()
        torch.testing.assert_close(one.grad, two.grad, rtol=1e-3, atol=1e-3)
    for name, tensor in theirs.state_dict().items():
        torch.testing.assert_close(ours.state_dict()[name], tensor)
    torch.testing.assert_close(ours.eval()(given), theirs.eval()(given))
