"""Nothing is sent or fetched by the docks, nor by the processes that they start."""

import os
import socket
import sys

import pytest

pytest.importorskip("napari")
if sys.platform == "linux" and not os.environ.get("DISPLAY"):
    pytest.skip("no display; run under xvfb-run", allow_module_level=True)

from napari_pvs.study.bids import subjects
from napari_pvs.training.runs import process as launch

LONG = 600_000
WATCH = """
import os, sys

def hook(event, arguments):
    if event in ("socket.getaddrinfo", "socket.gethostbyname", "socket.gethostbyaddr"):
        tell("asked", arguments[0])
    elif event in ("socket.connect", "socket.sendto", "socket.sendmsg"):
        if not isinstance(arguments[1], (str, bytes)):  # a file, of X11 for one
            tell("asked", arguments[1])

def tell(*words):
    with open(os.environ["PVS_WATCH"], "a") as file:
        print(*words, " ".join(sys.orig_argv), file=file)

tell("began")
sys.addaudithook(hook)
"""


@pytest.fixture
def watched(tmp_path, monkeypatch):
    """File in which each process that Python starts tells that it began, and what it asked for."""
    log, home, place = (tmp_path / name for name in ("network.log", "home", "site"))
    place.mkdir()
    home.mkdir()
    (place / "sitecustomize.py").write_text(WATCH)
    monkeypatch.setenv(
        "PYTHONPATH", os.pathsep.join([str(place), os.environ.get("PYTHONPATH", "")])
    )
    monkeypatch.setenv("PVS_WATCH", str(log))
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.delenv("CI", raising=False)  # OpenVINO behaves itself there

    def asked(*arguments, **_):
        with log.open("a") as file:
            print("asked", arguments, "here", file=file)
        raise OSError("the network was asked for")

    for name in ("getaddrinfo", "gethostbyname", "gethostbyname_ex", "create_connection"):
        monkeypatch.setattr(socket, name, asked)
    return log


@pytest.fixture(autouse=True)
def ended_runs():
    yield
    for child in launch._children.values():
        child.kill()
        child.wait()
    launch._children.clear()


def test_docks_and_their_processes_ask_for_no_network(
    watched,
    make_napari_viewer,
    make_study,
    tiny_weights,
    qtbot,
    wait,
    click,
    own_folders,
    tmp_path,
    monkeypatch,
):
    viewer = make_napari_viewer()
    names = ("Load", "Segment", "Correct", "Train", "Metrics")
    docks = {name: viewer.window.add_plugin_dock_widget("napari-pvs", name)[1] for name in names}
    load, segment, correct, train, _ = docks.values()
    study = make_study(3)
    with qtbot.waitSignal(load.subjects.listed, timeout=LONG):
        load.open_study(study)
    load.load_subject(subjects(study)[0])
    wait(load)
    segment.add_weights(tiny_weights)
    segment.device.set("cpu")
    click(segment.start)
    wait(segment)
    assert segment.notice.isHidden(), segment.notice.text()
    click(correct.copy)
    monkeypatch.setattr(launch, "_step_back", lambda pid: None)  # it would wait for other tests
    train.open_study(study)
    train.form.unfold()
    few = {"epochs": 1, "steps": 1, "batch": 2, "patch": (8,), "device": "cpu"}
    for name, value in few.items():
        train.form.fields[name].set(value)
    planned = ("Learns", "Needs")
    qtbot.waitUntil(lambda: train.use.text().startswith(planned) or train._refused, timeout=LONG)
    assert not train._refused
    click(train.start)
    qtbot.waitUntil(lambda: not train.view.live, timeout=LONG)
    assert train.view.watch.status.state == "done", train.view.why.text()
    said = watched.read_text().splitlines()
    began = [line for line in said if line.startswith("began")]
    assert any("-m napari_pvs.jobs" in line for line in began)
    assert any("-m napari_pvs train" in line for line in began)
    assert [line for line in said if line.startswith("asked")] == []
    left = [str(path) for path in (tmp_path / "home").rglob("*")]
    assert not [path for path in left if "openvino" in path or "intel" in path.lower()]


def test_the_watch_sees_what_it_is_to_see(watched):
    import subprocess

    ask = "import socket\ntry: socket.create_connection(('192.0.2.1', 80), 0.01)\nexcept OSError: 0"
    subprocess.run([sys.executable, "-P", "-c", ask], check=True)
    assert "asked" in watched.read_text()
    with pytest.raises(OSError, match="was asked for"):
        socket.create_connection(("192.0.2.1", 80))
