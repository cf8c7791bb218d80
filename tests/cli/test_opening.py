"""`napari-pvs open`: what it hands to the window, which a process of its own opens."""

import json
import subprocess
import sys
from types import SimpleNamespace

import pytest

from napari_pvs import cli
from napari_pvs.cli import opening
from napari_pvs.inference.outputs import SUMMARY


@pytest.fixture
def started(monkeypatch):
    """Commands that were started in place of a window; the first item is what they return."""
    seen = []

    def run(command, check):
        seen.append([str(word) for word in command])
        return SimpleNamespace(returncode=started.code)

    started = SimpleNamespace(seen=seen, code=0)
    monkeypatch.setattr(subprocess, "run", run)
    monkeypatch.setattr(opening, "find_spec", lambda name: name)
    return started


def call(*arguments):
    with pytest.raises(SystemExit) as ended:
        cli.main([str(one) for one in arguments])
    return ended.value.code


@pytest.fixture
def results(tmp_path, head_files):
    """A results folder beside its scan, which `summary.json` names from the folder above."""
    out = tmp_path / "out"
    out.mkdir()
    config = {"t1": "in/t1.nii.gz", "t2": None, "brain_mask": str(head_files[2])}
    found = {"threshold": 0.5, "method": "network", "config": config}
    (out / SUMMARY).write_text(json.dumps(found))
    return out


def test_results_open_with_their_scan(results, head_files, started):
    t1, t2, brain = head_files
    assert call("open", results) == 0
    named = ["--t1", str(t1), "--brain", str(brain)]
    start = [sys.executable, "-m", "napari_pvs.widgets.launch", "--results", str(results)]
    assert started.seen == [[*start, *named]]
    assert call("open", results, "--t2", t2) == 0
    assert started.seen[1][-4:-2] == ["--t2", str(t2)]
    started.code = 3
    assert call("open", results) == 1


def test_a_scan_that_was_moved(results, head_files, started, refused):
    t1 = head_files[0]
    moved = t1.rename(t1.with_name("other.nii.gz"))
    said = refused("open", results)
    assert "t1.nii.gz" in said
    assert "name it with --t1." in said
    assert call("open", results, "--t1", moved) == 0
    assert str(moved) in started.seen[0]


def test_a_study(make_study, started, refused, head_files):
    study = make_study(1)
    assert call("open", study) == 0
    assert started.seen[0][-2:] == ["--study", str(study)]
    assert "has its own scans" in refused("open", study, "--t1", head_files[0])


def test_what_cannot_be_opened(tmp_path, results, started, refused, monkeypatch):
    assert "does not exist" in refused("open", tmp_path / "none")
    assert "is a file" in refused("open", results / SUMMARY)
    (tmp_path / "empty").mkdir()
    assert "holds neither" in refused("open", tmp_path / "empty")
    (tmp_path / "empty" / SUMMARY).write_text("{")
    assert "summary.json" in refused("open", tmp_path / "empty")
    monkeypatch.setattr(opening, "find_spec", lambda name: None)
    said = refused("open", results)
    assert 'napari is not installed with Qt; run pip install "napari-pvs[all]".' in said
    assert started.seen == []
