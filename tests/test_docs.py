"""The documentation's snippets: every command is one, and those of the walks run as they stand."""

import importlib.util
import re
import shlex
import shutil
import warnings
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import typer.main

from napari_pvs import cli
from napari_pvs.burden.files import count_mask
from napari_pvs.cli import cohorts, opening, segmentation
from napari_pvs.errors import InputWarning
from napari_pvs.inference.config import SegmentConfig
from napari_pvs.training import run as training
from napari_pvs.training.config import TrainingConfig

ROOT = Path(__file__).parents[1]
PAGES = sorted([ROOT / "README.md", *(ROOT / "docs").rglob("*.md")])
FENCE = re.compile(r"^( *)```(\w+)\n(.*?)^\1```$", re.MULTILINE | re.DOTALL)
INLINE = re.compile(r"`(napari-pvs [^`]+)`")
KNOWN = (
    "pip ",
    "bids-validator-deno ",
    "python3 -m venv",
    "py -m venv",
    ". .venv",
    ".venv\\",
    "srun ",
    "--rdzv",
    "#",
    "first=",
)
"""How lines of shell snippets begin that are no command of this repository."""


def snippets(page, *languages):
    """Language and text of each fenced snippet, without its indentation."""
    for indent, language, text in FENCE.findall(page.read_text(encoding="utf-8")):
        if language in languages:
            lines = [line.removeprefix(indent) for line in text.splitlines()]
            yield language, "\n".join(lines)


def lines_of(text):
    """Lines of a shell snippet, continued ones joined, without comments."""
    for line in text.replace("\\\n", " ").splitlines():
        if line.split("#")[0].strip():
            yield line.strip()


def command_of(words):
    """Follow the words of a command line to its command; return it, or None, and the others."""
    command = typer.main.get_command(cli.app)
    while hasattr(command, "commands"):
        if not words:
            return None, words
        assert words[0] in command.commands, words
        command, words = command.commands[words[0]], words[1:]
    return command, words


def parsed(words):
    """Parse a command line without running it; an error of click's is one of the page."""
    command, rest = command_of(words)
    command.make_context(words[0], list(rest))


def page_id(page):
    return page.relative_to(ROOT).as_posix()


@pytest.fixture(scope="module")
def reference():
    found = importlib.util.spec_from_file_location(
        "reference", ROOT / "benchmarks" / "reference.py"
    )
    module = importlib.util.module_from_spec(found)
    found.loader.exec_module(module)
    return module


def check(line):
    """Refuse a line of a shell snippet that names a command, script or target that is not there."""
    words = [word for word in shlex.split(line, comments=True) if word != "…"]
    if "napari_pvs" in words:  # torchrun's
        words = ["napari-pvs", *words[words.index("napari_pvs") + 1 :]]
    if words[0] == "napari-pvs":
        if words[1] != "--install-completion":
            parsed(words[1:])
    elif words[0] == "make":
        targets = (ROOT / "Makefile").read_text(encoding="utf-8")
        assert re.search(rf"^{words[1]}:", targets, re.MULTILINE), line
    elif words[0] == "python":
        assert (ROOT / words[1]).is_file(), line
    else:
        assert line.startswith(KNOWN), line


@pytest.mark.parametrize("page", PAGES, ids=page_id)
def test_commands_are_commands(page):
    for _, snippet in snippets(page, "sh", "powershell"):
        for line in lines_of(snippet):
            check(line)


@pytest.mark.parametrize("page", PAGES, ids=page_id)
def test_commands_in_sentences_are_commands(page):
    text = " ".join(page.read_text(encoding="utf-8").split())
    for inline in INLINE.findall(text):
        words = re.sub(r"[\[\]…]", " ", inline).split()[1:]
        if not words or words[0] in ("VERB", "--version", "--help"):
            continue
        command, rest = command_of(words)
        if command is None:  # the name of a group
            continue
        options = {name for one in command.params for name in (*one.opts, *one.secondary_opts)}
        assert {word for word in rest if word.startswith("--")} <= {*options, "--help"}, inline
    for script in re.findall(r"`python (benchmarks/[\w/]+\.py)", text):
        assert (ROOT / script).is_file(), script


@pytest.mark.parametrize("page", PAGES, ids=page_id)
def test_python_is_python(page):
    for _, snippet in snippets(page, "python"):
        compile(snippet, page_id(page), "exec")


def test_reference_has_every_command_option_and_field(reference):
    made = reference.on_page_markdown("a\n<!-- commands -->\n<!-- configurations -->\nz")
    assert made.startswith("a\n### napari-pvs segment")
    for path, command in reference.verbs():
        assert f"### {path}\n" in made
        for one in command.params:
            for name in one.opts:
                assert f"`{name}`" in made or not name.startswith("--") or name == "--help"
    for name in TrainingConfig.model_fields:
        assert f"| `{name}` |" in made
    # a default, and that of a recipe
    (warmup,) = (line for line in made.splitlines() if line.startswith("| `warmup` |"))
    assert warmup.endswith("| `20` | `20` | `0` |")
    assert "object at 0x" not in made
    assert "UNSET" not in made
    for line in made.splitlines():
        if line.startswith("|"):
            assert line.replace("\\|", "").count("|") in (4, 6), line


# ---- the walks, as they stand


def run_commands(text, before_training):
    """Run the commands of this package in a shell snippet."""
    for line in lines_of(text):
        words = shlex.split(line, comments=True)
        if words[0] != "napari-pvs":
            continue
        if words[1] == "train":
            before_training()
        for made in Path("study/derivatives/runs").glob("*"):
            words = [word.replace("runs/RUN", f"runs/{made.name}") for word in words]
        with pytest.raises(SystemExit) as ended:
            cli.main(words[1:])
        assert ended.value.code == 0, line


@pytest.fixture
def walk(tmp_path, monkeypatch, make_study, make_head, write_image, tiny_weights):
    """A function that runs the snippets of a page in a folder that has what they name."""
    study = make_study(3, labelled=0)
    aside = study.rename(tmp_path / "made")
    monkeypatch.chdir(tmp_path)
    head = make_head()
    coarse = np.diag([3.4, 3.4, 3.4, 1.0])  # as large as a head, so that its zeros are background
    for name, data in (("T1w", head.t1), ("T2w", head.t2), ("reference", head.label),
                       ("aseg", 2 * head.brain), ("sub-01_T1w", head.t1),
                       ("sub-01_T2w", head.t2)):  # fmt: skip
        write_image(Path(f"{name}.nii.gz"), data.astype(np.float32), coarse)
    for number, name in enumerate(("anna", "ben", "cleo")):
        one = make_head(seed=number)
        for kind, data in (("T1", one.t1), ("T2", one.t2)):
            write_image(Path("scans") / f"{name}_{kind}.nii.gz", data)
        mask = f"sub-{number + 1:02d}_desc-pvs_mask.nii.gz"
        write_image(Path("references") / mask, one.label)
        write_image(Path("predictions") / mask, one.label & np.roll(one.label, 1, 2))

    monkeypatch.setattr("napari_pvs.network.weights.starter_path", lambda: tiny_weights)

    def demo(out, seed, overwrite):
        config = SegmentConfig(t1="T1w.nii.gz", t2="T2w.nii.gz")
        segmentation.segment_and_say(config, out, overwrite)

    monkeypatch.setattr(cohorts, "_demo", demo)
    monkeypatch.setattr(  # too little brain to lay the template over
        "napari_pvs.burden.files.count_on_scan", lambda mask, scan, progress: count_mask(mask)
    )
    monkeypatch.setattr(
        "napari_pvs.phantom.cohort.write_cohort",
        lambda config, out, progress: shutil.copytree(aside, out, dirs_exist_ok=True),
    )
    opened = []
    monkeypatch.setattr(opening, "_require_napari", lambda: None)

    class Done:
        returncode = 0

    napari = SimpleNamespace(run=lambda words, check: opened.append(words) or Done)
    monkeypatch.setattr(opening, "subprocess", napari)
    train = training.train

    def briefly(config, out, *more):
        short = {"epochs": 1, "steps": 1, "batch": 2, "patch": (8,), "device": "cpu"}
        return train(config.model_copy(update=short), out, *more)

    monkeypatch.setattr(training, "train", briefly)

    def label():
        """Save what the page tells to correct by hand."""
        for number in (1, 2, 3):
            name = f"sub-{number:02d}"
            anat = Path("study/derivatives/labels") / name / "anat"
            write_image(anat / f"{name}_desc-pvs_mask.nii.gz", make_head(seed=number - 1).label)

    def run(page):
        space = {}
        for language, text in snippets(ROOT / "docs" / page, "sh", "python"):
            if language == "python":
                exec(compile(text, page, "exec"), space)
            else:
                run_commands(text, label)
        return opened

    return run


def test_get_started_runs(walk):
    assert [words[-1] for words in walk("index.md")[1:]]
    assert Path("results/overlay.png").is_file()
    assert Path("counted/burden.tsv").is_file()


def test_the_tutorial_runs(walk, small_network, capsys):
    assert walk("tutorial.md")[-1][-2] == "--study"
    assert Path("pages/index.html").is_file()
    assert Path("scores.tsv").is_file()
    assert len(list(Path("study/derivatives/runs").glob("*/best.safetensors"))) == 1


def test_the_page_on_python_runs(walk, small_network, make_study, monkeypatch):
    import matplotlib.pyplot as plt

    shutil.copytree("made", "study")
    names = [path.name for path in Path("references").glob("*")]
    for name in names:
        inner = Path("study/derivatives/labels") / name[:6] / "anat"
        inner.mkdir(parents=True)
        shutil.copyfile(Path("references") / name, inner / name)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", InputWarning)  # of coarse voxels
        walk("how-to/python.md")
    plt.close("all")
    assert Path("slice.png").is_file()
    assert Path("study/derivatives/runs/mine/best.safetensors").is_file()


def test_the_verbs_of_the_reference_run(walk):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", InputWarning)
        walk("reference/python.md")
    assert Path("results/pvs.tsv").is_file()
