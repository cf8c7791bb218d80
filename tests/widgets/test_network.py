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

pytestmark = pytest.mark.usefixtures("ended_runs")
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
