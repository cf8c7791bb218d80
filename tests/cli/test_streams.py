"""What comes out of the command line: whatever is in names, and whoever reads it."""

import json
import os
import subprocess
import sys

import numpy as np
import pytest

from napari_pvs import cli

posix = pytest.mark.skipif(os.name != "posix", reason="names and pipes are POSIX")
EVIL = ["[red]m", "[bold]bad", "a\x1b[31mb", "two\nlines", "=HYPERLINK(1)", "$x^", "\u202egnp"]


def run(*arguments, encoding=None, **more):
    environment = os.environ | ({"PYTHONIOENCODING": encoding} if encoding else {})
    command = [sys.executable, "-m", "napari_pvs", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, env=environment, check=False, **more)


@pytest.fixture
def mask(head, tmp_path, write_image):
    return write_image(tmp_path / "in" / "sub-01_mask.nii.gz", head.label)


@posix
@pytest.mark.parametrize("name", EVIL)
def test_names_are_shown_and_never_obeyed(name, mask, tmp_path, capsys, refused):
    odd = mask.rename(mask.with_name(f"{name}.nii.gz"))
    with pytest.raises(SystemExit) as ended:
        cli.main(["count", str(odd), "--out", str(tmp_path / "out")])
    assert ended.value.code == 0
    said = capsys.readouterr().out
    assert "\x1b" not in said
    assert "\u202e" not in said
    shown = name.replace("\x1b", "\\x1b").replace("\n", "\\n").replace("\u202e", "\\u202e")
    assert shown in said
    (line,) = (tmp_path / "out" / "burden.tsv").read_text().splitlines()[1:2]
    assert not line.startswith("=")
    odd.write_bytes(b"no image")
    assert shown in refused("count", odd, "--out", tmp_path / "out2")


@posix
def test_a_name_that_is_no_utf8(head_files, tiny_weights, tmp_path):
    t1 = os.path.join(os.fsencode(tmp_path), b"m\xff_T1w.nii.gz")  # noqa: PTH118
    os.link(head_files[0], t1)
    done = subprocess.run(
        [sys.executable, "-m", "napari_pvs", "segment", "--t1", t1, "--brain-mask", head_files[2],
         "--weights", tiny_weights, "--device", "cpu", "--out", tmp_path / "out"],
        capture_output=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    summary = json.loads((tmp_path / "out" / "summary.json").read_text())
    assert summary["config"]["t1"].endswith("m\udcff_T1w.nii.gz")


@pytest.mark.parametrize("encoding", ["cp932", "cp1251", "ascii"])
def test_code_pages_that_lack_a_letter(encoding, mask, tmp_path):
    done = run("evaluate", mask, mask, "--json", tmp_path / "e.json", encoding=encoding)
    assert (done.returncode, done.stderr) == (0, b"")
    assert json.loads((tmp_path / "e.json").read_text())["subjects"][0]["dsc"] == 1
    done = run("count", mask, "--out", tmp_path / "out", encoding=encoding)
    assert (done.returncode, done.stderr) == (0, b"")


@posix
def test_files_are_written_though_nobody_reads_the_tables(mask, tmp_path):
    reading, writing = os.pipe()
    os.close(reading)
    out = ("--json", tmp_path / "e.json", "--tsv", tmp_path / "e.tsv")
    command = [sys.executable, "-m", "napari_pvs", "evaluate", mask, mask, *out]
    done = subprocess.run(command, stdout=writing, stderr=subprocess.PIPE, check=False)
    os.close(writing)
    assert (done.returncode, done.stderr) == (0, b"")
    assert (tmp_path / "e.json").stat().st_size > 0 < (tmp_path / "e.tsv").stat().st_size


def test_two_options_do_not_name_one_file(mask, tmp_path, refused):
    same = (tmp_path / "e.out", tmp_path / "in" / ".." / "e.out")
    assert "--json and --tsv both name" in refused(
        "evaluate", mask, mask, "--json", same[0], "--tsv", same[1]
    )
    assert not same[0].exists()


@pytest.mark.parametrize("more", [(), ("--quiet",)])
def test_a_dash_is_stdout_which_then_carries_nothing_else(more, mask, tmp_path, capsys):
    file = tmp_path / "e.tsv"
    with pytest.raises(SystemExit) as ended:
        cli.main(["evaluate", str(mask), str(mask), "--json", "-", "--tsv", str(file), *more])
    assert ended.value.code == 0
    assert json.loads(capsys.readouterr().out)["subjects"][0]["dsc"] == 1
    with pytest.raises(SystemExit):
        cli.main(["evaluate", str(mask), str(mask), "--tsv", "-", *more])
    assert capsys.readouterr().out == file.read_text(encoding="utf-8")


def test_two_texts_do_not_share_stdout(mask, refused):
    assert "both name -" in refused("evaluate", mask, mask, "--json", "-", "--tsv", "-")


@posix
@pytest.mark.parametrize("kind", ["device", "link"])
def test_results_replace_no_device_and_no_link(kind, mask, tmp_path, refused):
    path = tmp_path / "e.json"
    if kind == "device":
        path = os.devnull
    else:
        (tmp_path / "theirs").write_text("theirs")
        path.symlink_to(tmp_path / "theirs")
    said = refused("evaluate", mask, mask, "--json", path, "--overwrite")
    assert ("device" if kind == "device" else "is a link to") in said
    assert kind == "device" or (tmp_path / "theirs").read_text() == "theirs"


def test_one_damaged_run_hides_no_other(tmp_path, capsys):
    from napari_pvs.training.config import TrainingConfig
    from napari_pvs.training.runs.events import EventLog

    for name in ("a", "b"):
        run_folder = tmp_path / "derivatives" / "runs" / name
        run_folder.mkdir(parents=True)
        config = TrainingConfig(study=tmp_path).model_dump_json()
        (run_folder / "config.json").write_text(config)
        EventLog(run_folder / "events.jsonl").write("hello", step=0)
    (run_folder / "events.jsonl").write_text("damaged\n")
    runs = [str(run_folder.with_name(name)) for name in ("b", "a")]
    for command in (
        ["list", str(tmp_path)],
        ["list", str(tmp_path), "--json", "-"],
        ["compare", *runs, "--out", str(tmp_path / "curves.png")],
    ):
        with pytest.raises(SystemExit) as ended:
            cli.main(["runs", *command])
        assert ended.value.code == 2
        said = capsys.readouterr()
        assert "supervised-multi" in said.out
        assert "1 of 2 runs could not be read: b: " in said.err
        assert "events.jsonl is damaged" in said.err
    assert (tmp_path / "curves.png").stat().st_size > 0


def test_one_damaged_mask_keeps_no_other_from_being_compared(head, tmp_path, write_image, capsys):
    for side in ("p", "r"):
        for n in (1, 2):
            label = np.roll(head.label, side == "r", 0)
            write_image(tmp_path / side / f"sub-0{n}_mask.nii.gz", label)
    (tmp_path / "p" / "sub-02_mask.nii.gz").write_bytes(b"x")
    with pytest.raises(SystemExit) as ended:
        cli.main(
            ["evaluate", str(tmp_path / "p"), str(tmp_path / "r"), "--json", str(tmp_path / "e")]
        )
    assert ended.value.code == 2
    assert "1 of 2 subjects could not be compared: sub-02: " in capsys.readouterr().err
    assert [s["subject"] for s in json.loads((tmp_path / "e").read_text())["subjects"]] == [
        "sub-01"
    ]


def test_a_reference_outside_the_region_is_told(head, mask, tmp_path, write_image, capsys):
    half = head.brain.copy()
    half[: len(half) // 2] = False
    region = write_image(tmp_path / "region.nii.gz", half)
    with pytest.raises(SystemExit):
        cli.main(["evaluate", str(mask), str(mask), "--region", str(region)])
    voxels, out = int(head.label.sum()), int((head.label & ~half).sum())
    assert f"{out} of {voxels} voxels lie outside" in capsys.readouterr().err
    assert np.count_nonzero(head.label) == voxels


@pytest.mark.parametrize("verb", ["segment", "count", "phantom"])
def test_a_folder_that_another_command_writes_is_refused(verb, mask, head_files, tmp_path, refused):
    from napari_pvs.files import claimed

    out = tmp_path / "out"
    arguments = {
        "segment": ("--t1", head_files[0], "--out", out),
        "count": (mask, "--out", out),
        "phantom": (out, "--subjects", 1),
    }[verb]
    with claimed(out):
        assert "is being written by another napari-pvs command" in refused(verb, *arguments)
