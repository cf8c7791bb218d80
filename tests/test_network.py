"""Nothing is sent or fetched at run time."""

import subprocess
import sys

WATCH = """
import socket, sys

def refuse(*arguments, **_):
    raise AssertionError(f"the network was asked for: {arguments}")

for name in ("getaddrinfo", "gethostbyname", "gethostbyname_ex", "create_connection"):
    setattr(socket, name, refuse)
socket.socket.connect = socket.socket.connect_ex = refuse
import threading
threading.excepthook = lambda told: sys.stderr.write(f"THREAD: {told.exc_value}\\n")
"""
RUN = WATCH + "from napari_pvs.cli import main\nmain(sys.argv[1:])"


def run(code, home, *arguments):
    import os

    environment = os.environ | {"HOME": str(home), "XDG_CONFIG_HOME": str(home / "config")}
    environment.pop("CI", None)  # OpenVINO behaves itself there
    done = subprocess.run(
        [sys.executable, "-c", code, *map(str, arguments)],
        capture_output=True, text=True, check=False, env=environment,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "network" not in done.stderr
    return sorted(path.name for path in home.rglob("*"))


def test_segmenting_and_training_ask_for_no_network(make_study, tiny_weights, head_files, tmp_path):
    home = tmp_path / "home"
    home.mkdir()
    scans = ("--t1", head_files[0], "--t2", head_files[1], "--brain-mask", head_files[2])
    use = ("--weights", tiny_weights, "--backend", "openvino", "--device", "cpu")
    left = run(RUN, home, "segment", *scans, *use, "--out", tmp_path / "out")
    assert not [name for name in left if "openvino" in name or "intel" in name.lower()]
    study = make_study(2)
    few = ("--epochs", 1, "--steps", 1, "--patch", 16, "--batch", 2, "--device", "cpu")
    run(RUN, home, "train", study, "--out", tmp_path / "run", *few)


def test_the_watch_sees_what_it_is_to_see(tmp_path):
    code = WATCH + "socket.create_connection(('example.org', 80))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert "the network was asked for" in done.stderr
