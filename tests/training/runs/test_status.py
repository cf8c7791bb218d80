import json
import shutil
import threading
import time

import pytest

from napari_pvs.errors import InputError
from napari_pvs.training.runs.events import EventLog
from napari_pvs.training.runs.folder import locked
from napari_pvs.training.runs.status import (
    History,
    best_weights,
    duration,
    events_of,
    follow,
    history,
    runs,
    seen,
    status,
    to_json,
)


def epoch(number, loss=0.5):
    return "epoch", {"epoch": number, "of": 4, "loss": loss}


def validation(number, dsc, avd=10.0):
    measures = {"dsc": dsc, "avd_percent": avd, "recall": 0.4, "threshold": 0.5, "subjects": {}}
    return "validation", {"epoch": number, **measures}


HELLO = ("hello", {"step": 0, "of": 40})


def step(number):
    return "step", {"step": number, "of": 40, "loss": 1.0}


def test_runs_of_a_study(study, make_run):
    study.mkdir()
    assert runs(study) == []
    two, one = make_run("b"), make_run("a")
    (study / "derivatives" / "runs" / "notes").mkdir()
    assert runs(study) == [one, two]
    with pytest.raises(InputError, match="absent is not a folder"):
        runs(study / "absent")


@pytest.mark.parametrize(
    ("events", "state", "at"),
    [
        ([], "new", 0),
        ([HELLO, step(3), ("stopped", {"step": 4})], "stopped", 4),
        ([HELLO, step(38), epoch(4), ("done", {})], "done", 40),
        ([HELLO, step(3), ("error", {"message": "the loss became nan"})], "failed", 3),
        ([HELLO, step(3)], "died", 3),
        ([HELLO, step(3), ("stopped", {"step": 4}), ("resumed", {"step": 4})], "died", 4),
        ([HELLO, step(3), ("paused", {"step": 4}), ("heartbeat", {})], "died", 3),
    ],
)
def test_states(make_run, events, state, at):
    found = status(make_run("a", *events))
    assert (found.state, found.step, found.of) == (state, at, 40)
    assert bool(found.why) == (state in ("failed", "died"))


def test_states_of_the_living(make_run):
    run = make_run("a", HELLO, step(3))
    with locked(run):
        assert status(run).state == "running"
        EventLog(run / "events.jsonl").write("paused", step=4)
        EventLog(run / "events.jsonl").write("heartbeat")
        assert status(run).state == "paused"
    assert status(run).state == "died"


def test_why_it_died(make_run):
    run = make_run("a", HELLO)
    assert "killed it, probably because memory ran out" in status(run).why
    (run / "train.log").write_text("epoch 1\nTraceback (most recent call last):\nKeyError: 'x'\n")
    assert status(run).why.startswith("it crashed: KeyError: 'x'")


def test_what_it_reached(make_run):
    best = ("weights", {"weights": "best.safetensors", "epoch": 2, "dsc": 0.6})
    others = ("weights", {"weights": "own.safetensors", "epoch": 3, "dsc": 0.55})
    events = [HELLO, epoch(1, 0.9), validation(1, 0.3), epoch(2, 0.7), validation(2, 0.6), best]
    events.append(others)
    found = status(make_run("a", *events, epoch(3, 0.6), validation(3, 0.55), method="m2ss"))
    assert (found.method, found.epoch, found.epochs) == ("m2ss", 3, 4)
    assert (found.loss, found.dsc) == (0.6, 0.6)
    (row,) = json.loads(to_json([found]))["runs"]
    assert (row["path"], row["dsc"], row["seconds_left"]) == (str(found.path), 0.6, None)


def test_a_repeated_epoch_counts_once(make_run):
    run = make_run("a", HELLO, epoch(1), validation(1, 0.2), epoch(2, 0.8), epoch(2, 0.7))
    EventLog(run / "events.jsonl").write(*("validation",), **validation(1, 0.25)[1])
    past = history(run)
    assert past.loss == {1: 0.5, 2: 0.7}
    assert past.validation[1].dsc == 0.25


def test_time_left(make_run):
    run = make_run("a", HELLO)
    about = {"v": 1, "seq": 1, "type": "step", "of": 40}
    lines = [about | {"time": 100.0 + n, "step": 2 * n} for n in range(5)]
    with (run / "events.jsonl").open("a") as file:
        file.writelines(json.dumps(line) + "\n" for line in lines)
    with locked(run):
        assert status(run).seconds_left == pytest.approx((39 - 8) / 2)
    assert status(run).seconds_left is None  # dead


def test_follow_ends_with_the_run(make_run):
    run = make_run("a", HELLO)
    log, seen = EventLog(run / "events.jsonl"), []
    release = threading.Event()

    def live():
        with locked(run):
            started.set()
            release.wait(30)
            log.write("done")

    started = threading.Event()
    thread = threading.Thread(target=live)
    thread.start()
    started.wait(30)
    for event in follow(run, poll=0.01):
        seen.append(event["type"])
        if seen == ["hello"]:
            time.sleep(0.05)
            log.write("step", step=1, of=2, loss=0.1)
        if seen == ["hello", "step"]:
            release.set()
    thread.join()
    assert seen == ["hello", "step", "done"]


def test_refuses_what_is_no_run(tmp_path, make_run):
    for function in (events_of, status, history):
        with pytest.raises(InputError, match=r"contains no config.json; name the folder of a run"):
            function(tmp_path)
    run = make_run("a", HELLO)
    (run / "events.jsonl").write_text("nonsense\n")
    with pytest.raises(InputError, match=r"events.jsonl is damaged"):
        status(run)


def test_long_runs_are_thinned():
    course = History()
    for step in range(20_000):
        course.add_step(step / 50, 1 / (1 + step))
    assert 1000 < len(course.steps) <= 4000
    assert course.steps[-1] == (19_999 / 50, 1 / 20_000)
    course.add_step(100.0, 0.5)  # done again from here
    assert course.steps[-1] == (100.0, 0.5)
    assert all(a < b for (a, _), (b, _) in zip(course.steps, course.steps[1:], strict=False))


@pytest.mark.parametrize(
    ("seconds", "said"),
    [(3, "1 min"), (29 * 60, "29 min"), (3600, "1 h"), (5000, "1 h 25 min"), (9e5, "10 days")],
)
def test_durations(seconds, said):
    assert duration(seconds) == said


def test_the_newest_run_is_first_and_says_what_it_reached(tmp_path, publish):
    assert best_weights(tmp_path) == []
    assert best_weights(tmp_path / "moved") == []
    first = publish(tmp_path, "20260101-m2ss", 0.412)
    second = publish(tmp_path, "20260102-m2ss", 0.637, scans=1)
    begun = tmp_path / "derivatives" / "runs" / "20260103-m2ss"
    begun.mkdir()
    shutil.copy(first.with_name("config.json"), begun)
    newest, oldest = best_weights(tmp_path)
    assert (newest.path, newest.label) == (second, "DSC 0.64: 20260102-m2ss")
    assert "DSC 0.637 on 1 validation scan, epoch 7." in newest.tip
    assert (oldest.path, oldest.label) == (first, "DSC 0.41: 20260101-m2ss")
    assert "on 2 validation scans" in oldest.tip
    # better ones, and ones that are damaged
    publish(tmp_path, "20260101-m2ss", 0.7)
    second.write_bytes(b"no weights")
    assert [one.label for one in best_weights(tmp_path)] == [
        "20260102-m2ss",
        "DSC 0.70: 20260101-m2ss",
    ]


def test_a_long_run_is_read_in_bounded_memory(make_run, monkeypatch):
    import tracemalloc

    from napari_pvs.training.runs import status as module

    many = 60_000
    run = make_run("a", ("hello", {"step": 0, "of": 40}), epoch(1, 0.7))
    with (run / "events.jsonl").open("a") as file:
        for step in range(many):
            said = {"v": 1, "seq": step + 2, "time": float(step), "type": "step"}
            file.write(json.dumps(said | {"step": step, "of": many, "loss": 0.5}) + "\n")
        said = {"v": 1, "seq": many + 2, "time": 9e9, "type": "epoch"}
        file.write(json.dumps(said | epoch(2, 0.3)[1]) + "\n")
    monkeypatch.setattr(module, "_PIECE", 1 << 18)
    size = (run / "events.jsonl").stat().st_size
    assert size > 20 * (1 << 18)
    tracemalloc.start()
    watch = module.seen(run)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 8 * (1 << 18)
    assert watch.history.loss == {1: 0.7, 2: 0.3}
    assert watch._step == many - 1


@pytest.mark.parametrize(
    "line",
    ["[]", "3", '{"type": 3}', '{"type": "epoch"}', '{"type": "step", "step": "x", "time": 1}',
     '{"type": "validation", "epoch": 1, "dsc": "high", "avd_percent": 1, "recall": 1}',
     "[" * 100_000, "\xff"],
)  # fmt: skip
def test_events_of_a_wrong_type_are_told(make_run, line):
    run = make_run("a")
    (run / "events.jsonl").write_text(line + "\n", encoding="latin-1")
    with pytest.raises(InputError, match=r"events.jsonl is damaged \(.*\); move it away\.$"):
        status(run)


def test_a_line_without_an_end_is_told(make_run, monkeypatch):
    from napari_pvs.training.runs import status as module

    monkeypatch.setattr(module, "_PIECE", 1000)
    run = make_run("a")
    (run / "events.jsonl").write_bytes(b"x" * 5000)
    with pytest.raises(InputError, match="does not end"):
        status(run)


def test_the_study_of_a_run_is_found_where_it_was_moved_to(make_run, study):
    from napari_pvs.training.runs.folder import read_config, require_study

    make_run("a")
    moved = study.rename(study.with_name("moved"))
    run = moved / "derivatives" / "runs" / "a"
    assert read_config(run).study == moved
    elsewhere = run.rename(study.with_name("a"))
    config = read_config(elsewhere)
    assert config.study == study
    with pytest.raises(InputError, match=r"change study in .*a.config\.json to where it is now"):
        require_study(config, elsewhere)


def test_what_a_run_says_in_sentences(make_run):
    agrees = {"epoch": 2, "dsc": 0.9, "recall": None, "threshold": 0.5, "subjects": {}}
    changed = {"before_mm3": 0.0, "after_mm3": 10.0, "scans": 1}
    events = [("agreement", agrees), ("unlabelled", changed)]
    run = make_run(
        "one", HELLO, *events, ("weights", {"weights": "best.safetensors", "epoch": 2, "dsc": None})
    )
    watch = seen(run)
    assert watch.best == (None, 2)
    assert watch.told == {
        "agreement": "epoch 2: DSC 0.900 with the voxels that the start weights were sure of",
        "unlabelled": "In 1 unlabelled scan 10 mm³ of PVS are found, 0 before.",
    }
    assert watch.status().dsc is None
