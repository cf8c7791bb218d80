import json
import time

import pytest
import torch

from napari_pvs.errors import InputError
from napari_pvs.training.runs.events import EventLog, read, reported


def test_numbered_lines_of_json(tmp_path):
    path = tmp_path / "events.jsonl"
    before = time.time()
    log = EventLog(path)
    log.write("hello", device="cpu")
    log.write("step", step=3, loss=0.5)
    events = read(path)
    assert [(e["v"], e["seq"], e["type"]) for e in events] == [(1, 0, "hello"), (1, 1, "step")]
    assert events[1]["loss"] == 0.5
    assert before - 1 <= events[0]["time"] <= events[1]["time"] <= time.time() + 1
    assert all(json.loads(line) for line in path.read_text().splitlines())


def test_numbering_goes_on(tmp_path):
    path = tmp_path / "events.jsonl"
    EventLog(path).write("hello")
    EventLog(path).write("hello", note="naïve\nüber")
    assert [e["seq"] for e in read(path)] == [0, 1]
    assert read(path)[1]["note"] == "naïve\nüber"


def test_half_a_line_is_not_read(tmp_path):
    path = tmp_path / "events.jsonl"
    EventLog(path).write("hello")
    with path.open("a") as file:
        file.write('{"v": 1, "seq"')
    assert [e["type"] for e in read(path)] == ["hello"]


def test_half_a_line_of_a_killed_run_is_replaced(tmp_path):
    path = tmp_path / "events.jsonl"
    EventLog(path).write("hello")
    with path.open("a") as file:
        file.write('{"v": 1, "seq"')
    EventLog(path).write("step", step=1)
    assert [(e["seq"], e["type"]) for e in read(path)] == [(0, "hello"), (1, "step")]


def test_empty(tmp_path):
    (tmp_path / "events.jsonl").touch()
    assert read(tmp_path / "events.jsonl") == []


def test_a_folder_that_was_moved_away_does_not_come_back(tmp_path):
    (tmp_path / "run").mkdir()
    log = EventLog(tmp_path / "run" / "events.jsonl")
    log.write("hello")
    (tmp_path / "run").rename(tmp_path / "moved")
    (tmp_path / "run").mkdir()  # by somebody else
    with pytest.raises(FileNotFoundError):
        log.write("step")
    assert not list((tmp_path / "run").iterdir())
    assert len(read(tmp_path / "moved" / "events.jsonl")) == 1


LINE = {"v": 1, "seq": 0, "time": 1.0, "type": "step", "step": 1, "of": 2, "loss": 0.5}


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"step": None}, "step must be a whole number"),
        ({"step": 10**400}, "no valid JSON|step"),
        ({"step": float("inf")}, "step"),
        ({"time": float("nan")}, "time"),
        ({"time": -1}, "time must be at least 0"),
        ({"loss": "a"}, "loss must be a number"),
        ({"type": ["step"]}, "type must be text"),
        ({"type": "phase"}, "phase lacks its name"),
        ({"type": "left_out", "name": 3, "why": ""}, "name must be text"),
        ({"type": "data_added", "added": "sub-01", "changed": [], "removed": []}, "added"),
    ],
)
def test_what_is_no_event_is_refused(change, reason, tmp_path):
    path = tmp_path / "events.jsonl"
    path.write_text(json.dumps(LINE | change) + "\n")
    with pytest.raises(ValueError, match=reason):
        read(path)


def test_what_a_newer_version_says_is_read(tmp_path):
    path = tmp_path / "events.jsonl"
    more = {"type": "something new", "grad_norm": 3.5, "about": {"a": [1]}}
    path.write_text(json.dumps(LINE | more) + "\n")
    assert read(path) == [LINE | more]


@pytest.mark.parametrize(
    "error",
    [
        MemoryError(),
        torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB"),
        RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes"),
    ],
)
def test_where_memory_runs_out_the_remedy_is_said_and_kept(tmp_path, error):
    log = EventLog(tmp_path / "events.jsonl")
    said = "memory ran out; resume .* with a smaller batch in its config.json"
    with pytest.raises(InputError, match=said), reported(tmp_path, log):
        raise error
    assert "memory ran out" in read(tmp_path / "events.jsonl")[-1]["message"]


def test_a_bug_is_no_lack_of_memory(tmp_path):
    log = EventLog(tmp_path / "events.jsonl")
    with pytest.raises(RuntimeError, match="shapes"), reported(tmp_path, log):
        raise RuntimeError("shapes differ")
