"""The verbs work without a temporary folder, or say in a sentence that they cannot."""

import subprocess
import sys

NONE = """
import sys, tempfile

def none():
    raise FileNotFoundError(2, "No usable temporary directory found in ['/tmp']")

tempfile.gettempdir = tempfile._get_default_tempdir = none
from napari_pvs.cli import main
main(sys.argv[1:])
"""


def test_every_verb_works_without_one_or_says_so(make_study, tiny_weights, tmp_path):
    study = make_study(2)
    few = ("--epochs", 1, "--steps", 1, "--patch", 16, "--batch", 2, "--device", "cpu")
    labels = study / "derivatives" / "labels"
    for arguments in (
        ("segment", study, "--weights", tiny_weights, "--backend", "openvino"),
        ("count", study, "--out", tmp_path / "c"),
        ("evaluate", labels, labels),
        ("train", study, *few),
        ("runs", "list", study),
        ("phantom", tmp_path / "p", "--subjects", 1, "--field-of-view", 40, 40, 40),
    ):
        command = [sys.executable, "-c", NONE, *map(str, arguments)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if arguments[0] == "train" and done.returncode:  # PyTorch wants one
            assert done.returncode == 2, done.stderr
            assert "set TMPDIR to a folder" in done.stderr.splitlines()[-1]
        else:
            assert done.returncode == 0, f"{arguments[0]}: {done.stderr}"
