"""What all commands share: quiet, Ctrl-C, completion, help."""

import io
import os
import re
import subprocess
import sys

import pytest
import typer.main
from typer.testing import CliRunner

from napari_pvs import cli
from napari_pvs.cli.app import progress
from napari_pvs.evaluation import compare

FOR_PROGRAMS = [("evaluate",), ("agree",), ("runs", "list")]


def verbs(group=None, path=()):
    """Every command with the words that lead to it."""
    group = group or typer.main.get_command(cli.app)
    for name, command in group.commands.items():
        if hasattr(command, "commands"):
            yield from verbs(command, (*path, name))
        else:
            yield (*path, name), command


def call(*arguments):
    with pytest.raises(SystemExit) as ended:
        cli.main([str(one) for one in arguments])
    return ended.value.code


@pytest.fixture
def masks(tmp_path, head, write_image):
    """Two files: a mask, and one that is nearly the same."""
    other = head.label.copy()
    other[tuple(index[0] for index in other.nonzero())] = False
    names = {"a.nii.gz": head.label, "b.nii.gz": other}
    return [write_image(tmp_path / name, data) for name, data in names.items()]


def test_quiet_prints_warnings_and_errors_only(masks, tmp_path, capsys):
    first, second = masks
    assert call("evaluate", first, second, "-q", "--json", tmp_path / "m.json") == 0
    assert capsys.readouterr() == ("", "")
    assert (tmp_path / "m.json").is_file()
    assert call("evaluate", first, second) == 0  # the one before is forgotten
    assert "DSC" in capsys.readouterr().out
    assert call("evaluate", "--quiet", first, second, "--json", tmp_path / "m.json") == 2
    assert "exists; add --overwrite" in capsys.readouterr().err


def test_ctrl_c_leaves_no_traceback(masks, monkeypatch, capsys):
    def interrupted(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(compare, "compare", interrupted)
    assert call("evaluate", *masks) == 130
    said = capsys.readouterr()
    assert "Traceback" not in said.out + said.err


def test_shells_complete_verbs_and_choices():
    def completed(words, at):
        asked = {"_NAPARI_PVS_COMPLETE": "complete_bash", "COMP_WORDS": words, "COMP_CWORD": at}
        done = subprocess.run(
            [sys.executable, "-m", "napari_pvs"],
            env=os.environ | asked, capture_output=True, text=True, check=False,
        )  # fmt: skip
        return done.stdout.split()

    assert completed("napari-pvs seg", "1") == ["segment"]
    assert completed("napari-pvs segment --method fr", "3") == ["frangi"]
    assert completed("napari-pvs train study --method semi", "4") == ["semi-mono"]


@pytest.mark.parametrize("path", [path for path, _ in verbs()], ids=" ".join)
def test_help_fits_80_columns_and_ends_with_examples(path, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    done = CliRunner().invoke(cli.app, [*path, "--help"])
    assert done.exit_code == 0
    for line in done.output.splitlines():
        assert len(line) <= 80
        unlimited = re.sub(r"\[x[<>=\d.]+\]", "", line)
        assert unlimited.count("<") == unlimited.count(">"), line  # choices lie on one line
    _, examples = done.output.split("Examples:")
    said = [line.strip() for line in examples.splitlines() if line.strip()]
    assert said
    for line in said:
        assert line.startswith("napari-pvs " + " ".join(path)), line


def test_one_name_for_one_thing():
    options = {path: {o for p in command.params for o in p.opts} for path, command in verbs()}
    for path, names in options.items():
        assert ("--out" in names) == ("-o" in names), path
        assert ("--quiet" in names) == ("-q" in names), path
        assert ("--json" in names) == (path in FOR_PROGRAMS), path
    for path in FOR_PROGRAMS:  # one meaning: a file, or - for stdout
        assert "--overwrite" in options[path], path
    for path in (("segment",), ("count",), ("report",), ("evaluate",), ("demo",)):
        assert {"--overwrite", "--quiet"} <= options[path], path


def test_the_bar_of_what_comes_next_is_shown_from_its_first_step(monkeypatch):
    import rich.console

    shown = []
    make = rich.console.Console

    def console(**_):
        shown.append(make(force_terminal=True, width=80, file=io.StringIO()))
        return shown[-1]

    monkeypatch.setattr(rich.console, "Console", console)
    with progress("Segmenting") as bar:
        later = bar.then("Finding regions")
        bar(1, 2)
        bar._bars.refresh()
        assert "Finding regions" not in shown[0].file.getvalue()
        bar(2, 2)
        later(3, 4)
        bar._bars.refresh()
    text = shown[0].file.getvalue()
    assert "Segmenting" in text
    assert "Finding regions" in text
    assert "75%" in text
