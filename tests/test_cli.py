import json
import subprocess
import sys
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

import napari_pvs
from napari_pvs import cli
from napari_pvs.inference import outputs
from napari_pvs.network.config import NetworkConfig
from napari_pvs.phantom import cohort
from napari_pvs.training.config import TrainingConfig


def process(*arguments):
    command = [sys.executable, "-m", "napari_pvs", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


@pytest.fixture
def run(capsys):
    """Run in this process; returns exit code, stdout and stderr."""

    def call(*arguments):
        capsys.readouterr()
        with pytest.raises(SystemExit) as ended:
            cli.main([str(a) for a in arguments])
        said = capsys.readouterr()
        return ended.value.code, said.out, said.err

    return call


def one_sentence(error, *parts):
    assert error.count("\n") == 1
    assert error.startswith("napari-pvs: ")
    assert error.endswith(".\n")
    for part in parts:
        assert str(part) in error


# ---- as real processes


def test_help_does_not_load_torch():
    code = (
        "import sys\nfrom napari_pvs.cli import main\n"
        "for verb in ([], ['segment'], ['evaluate'], ['phantom'], ['train'], ['demo']):\n"
        "    try: main([*verb, '--help'])\n"
        "    except SystemExit as end: assert end.code == 0\n"
        "heavy = {'torch', 'skimage', 'nilearn', 'SimpleITK', 'matplotlib', 'napari', 'qtpy'}\n"
        "print('LOADED', sorted(heavy & set(sys.modules)))"
    )
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "LOADED []"
    assert "Segment the PVS of a scan" in done.stdout


def test_bad_input_as_a_process(head_files, tiny_weights, tmp_path):
    bad = tmp_path / "bad.nii.gz"
    bad.write_bytes(head_files[0].read_bytes()[:2000])
    out = tmp_path / "new" / "out"
    done = process(
        *("segment", "--t1", bad, "--brain-mask", head_files[2]),
        *("--weights", tiny_weights, "--device", "cpu", "--out", out),
    )
    assert done.returncode == 2
    assert done.stdout == ""
    one_sentence(done.stderr, bad, "truncated or damaged")
    assert not (tmp_path / "new").exists()


# ---- segment


@pytest.fixture
def scans(head_files, tiny_weights):
    t1, t2, brain = head_files
    return [
        *("segment", "--t1", t1, "--t2", t2, "--brain-mask", brain),
        *("--weights", tiny_weights, "--device", "cpu"),
    ]


def test_a_scan_of_too_little_brain_is_segmented_without_regions(run, scans, tmp_path):
    code, _, error = run(*scans, "--out", tmp_path / "out", "--regions")
    assert code == 0
    assert error.startswith("napari-pvs: warning: PVS have no regions: ")
    assert "mL of brain, too little to lay a template over" in error
    lines = (tmp_path / "out" / outputs.TABLE).read_text().splitlines()
    assert lines[0].endswith("\tmean_probability\tregion\tside\tstatus")
    assert all(line.endswith("\tn/a\tn/a\tpvs") for line in lines[1:])
    found = json.loads((tmp_path / "out" / outputs.SUMMARY).read_text())
    assert found["regions"] is None
    assert "too little" in found["warnings"][-1]


def test_segment(run, scans, tmp_path):
    code, said, error = run(*scans, "--out", tmp_path / "out")
    assert code == 0
    assert error.strip() == ""
    assert {p.name for p in (tmp_path / "out").iterdir()} == set(outputs.FILES)
    found = json.loads((tmp_path / "out" / outputs.SUMMARY).read_text())
    assert said.startswith(f"{found['count']} PVS, ")
    for name in outputs.FILES:
        assert name in said
    code, _, error = run(*scans, "--out", tmp_path / "out")
    assert code == 2
    one_sentence(error, "pvs_mask.nii.gz exists", "--overwrite")
    assert run(*scans, "--out", tmp_path / "out", "--overwrite", "--min-volume", 1e6)[0] == 0
    found = json.loads((tmp_path / "out" / outputs.SUMMARY).read_text())
    assert (found["count"], found["config"]["min_volume"]) == (0, 1e6)


def test_segment_with_a_t2_that_is_not_registered(run, scans, tmp_path):
    out = tmp_path / "out"
    assert run(*scans, "--out", out, "--register", "off")[0] == 0
    told = json.loads((out / "summary.json").read_text())
    assert told["config"]["register_t2"] == "off"
    assert told["t2_registration"] is None
    assert run(*scans, "--out", out, "--register", "elastic")[0] == 2


def test_segment_with_the_papers_windows(run, scans, tmp_path):
    assert run(*scans, "--out", tmp_path / "out", "--windows", "paper")[0] == 0


def test_doubtful_input_is_one_line_and_goes_on(run, scans, head_files, tmp_path):
    t1, t2, _ = head_files
    scans[2], scans[4] = t2, t1
    code, _, error = run(*scans, "--out", tmp_path / "out")
    assert code == 0
    lines = [line for line in error.splitlines() if line.strip()]
    assert len(lines) == 1
    assert lines[0].startswith("napari-pvs: warning: ")
    assert "swapped" in lines[0]
    summary = json.loads((tmp_path / "out" / outputs.SUMMARY).read_text())
    assert "swapped" in summary["warnings"][0]


@pytest.mark.parametrize(
    ("extra", "parts"),
    [
        (["--threshold", "1.5"], ["--threshold must be below 1", "--help"]),
        (["--min-volume", "-1"], ["--min-volume must be at least 0"]),
        (["--t2", "absent.nii"], ["absent.nii does not exist"]),
        (["--weights", "absent.safetensors"], ["absent.safetensors do not exist"]),
        (["--t1", "scan.dcm"], ["scan.dcm does not"]),
    ],
)
def test_wrong_input(run, scans, tmp_path, extra, parts):
    code, said, error = run(*scans, "--out", tmp_path / "a" / "out", *extra)
    assert code == 2
    assert said == ""
    one_sentence(error, *parts)
    assert not (tmp_path / "a").exists()


def test_no_scan(run, tmp_path):
    code, _, error = run("segment", "--out", tmp_path / "out")
    assert code == 2
    one_sentence(error, "no scan was given")


def test_out_is_a_file(run, scans, tmp_path):
    (tmp_path / "file").touch()
    code, _, error = run(*scans, "--out", tmp_path / "file")
    assert code == 2
    one_sentence(error, "file is a file, not a folder")


def test_unknown_option_and_verb(run, scans):
    assert run(*scans, "--treshold", "0.5")[0] == 2
    assert run("segmet")[0] == 2


def test_a_bug_keeps_its_traceback(scans, tmp_path, monkeypatch):
    def broken(*_):
        raise RuntimeError("a bug")

    monkeypatch.setattr("napari_pvs.inference.segment.segment", broken)
    with pytest.raises(RuntimeError, match="a bug"):
        cli.main([str(a) for a in (*scans, "--out", tmp_path / "out")])


def test_version(run):
    assert run("--version")[:2] == (0, napari_pvs.__version__ + "\n")


# ---- evaluate


@pytest.fixture
def masks(tmp_path, make_head, write_image):
    """Folders of predictions (a voxel of each tube missing) and references."""
    for index in range(3):
        truth = make_head(seed=index).label
        name = f"sub-{index + 1:02d}_desc-pvs_mask.nii.gz"
        write_image(tmp_path / "true" / name, truth)
        if index < 2:
            write_image(tmp_path / "found" / name, truth & np.roll(truth, 1, 2))
    return tmp_path / "found", tmp_path / "true"


def test_evaluate_files(run, masks, tmp_path):
    name = "sub-01_desc-pvs_mask.nii.gz"
    files = [folder / name for folder in masks]
    out = [*("--json", tmp_path / "m.json"), *("--tsv", tmp_path / "m.tsv")]
    code, said, _ = run("evaluate", *files, *out)
    assert code == 0
    assert "sub-01" in said
    found, true = (np.asarray(nib.load(f).dataobj) > 0 for f in files)
    dsc = 2 * (found & true).sum() / (found.sum() + true.sum())
    rows = (tmp_path / "m.tsv").read_text().splitlines()
    row = dict(zip(rows[0].split("\t"), rows[1].split("\t"), strict=True))
    assert float(row["dsc"]) == pytest.approx(dsc, abs=1e-4)
    json.loads((tmp_path / "m.json").read_text())
    code, _, error = run("evaluate", *files, *out)
    assert code == 2
    one_sentence(error, "m.json exists", "--overwrite")
    assert run("evaluate", *files, *out, "--overwrite")[0] == 0


def test_evaluate_folders(run, masks, tmp_path):
    code, said, _ = run("evaluate", *masks, "--tsv", tmp_path / "m.tsv")
    assert code == 0
    assert "1 subjects have a reference only: sub-03" in said
    rows = (tmp_path / "m.tsv").read_text().splitlines()
    assert [r.split("\t")[0] for r in rows[1:]] == ["sub-01", "sub-02"]


def test_evaluate_refuses(run, masks, tmp_path):
    found, true = masks
    code, _, error = run("evaluate", found, true / "sub-01_desc-pvs_mask.nii.gz")
    assert code == 2
    one_sentence(error, "a file and a folder")
    for pair in ((tmp_path, tmp_path / "gone"), (tmp_path / "gone", tmp_path)):
        code, _, error = run("evaluate", *pair)
        assert code == 2
        one_sentence(error, "gone does not exist")
    code, _, error = run("evaluate", tmp_path / "x.nii", tmp_path / "y.nii")
    assert code == 2
    one_sentence(error, "does not exist")
    assert not (tmp_path / "m.json").exists()


# ---- phantom


def test_phantom(run, monkeypatch, tmp_path):
    got = []

    def write(config, out, progress):
        got.append((config, out))
        assert list(progress(iter("ab"), 2)) == ["a", "b"]

    monkeypatch.setattr(cohort, "write_cohort", write)
    code, said, _ = run(
        *("phantom", tmp_path / "out", "--subjects", 2, "--labelled", 1, "--pvs", 5, 9),
        *("--field-of-view", 40, 41, 42, "--sites", "A", "--sites", "B", "--seed", 3),
    )
    assert code == 0
    assert "2 subjects, 1 of them labelled" in said
    config, out = got[0]
    assert out == tmp_path / "out"
    assert (config.subjects, config.labelled, config.seed) == (2, 1, 3)
    assert (config.pvs, config.sites) == ((5, 9), ("A", "B"))
    assert config.field_of_view == (40, 41, 42)


def test_phantom_refuses(run, tmp_path):
    (tmp_path / "x").touch()
    code, _, error = run("phantom", tmp_path, "--subjects", 1, "--labelled", 1)
    assert code == 2
    one_sentence(error, tmp_path, "not an empty folder")
    code, _, error = run("phantom", tmp_path / "new", "--subjects", 1, "--labelled", 2)
    assert code == 2
    one_sentence(error, "labelled (2) exceeds subjects (1)")
    assert not (tmp_path / "new").exists()


# ---- train


@pytest.fixture
def tiny_training(monkeypatch):
    tiny = property(lambda self: NetworkConfig(widths=(4, 8), scale_width=2))
    monkeypatch.setattr(TrainingConfig, "network", tiny)
    return ["--epochs", 1, "--steps", 2, "--batch", 2, "--patch", 8, "--device", "cpu"]


def test_train_and_use_the_weights(run, make_study, tmp_path, tiny_training, head_files):
    out = tmp_path / "run"
    code, said, _ = run("train", make_study(2), "--out", out, *tiny_training)
    assert code == 0
    assert str(out / "best.safetensors") in said
    t1, _, brain = head_files
    use = ["--weights", out / "best.safetensors", "--brain-mask", brain, "--device", "cpu"]
    assert run("segment", "--t1", t1, *use, "--out", tmp_path / "out")[0] == 0


def test_train_chooses_a_run_folder(run, make_study, tiny_training):
    study = make_study(2)
    assert run("train", study, "--method", "supervised-mono", *tiny_training)[0] == 0
    (out,) = (study / "derivatives" / "runs").iterdir()
    assert out.name.endswith("-supervised-mono")
    assert (out / "best.safetensors").is_file()


def test_train_from_a_run_folder(run, make_study, tmp_path, tiny_training):
    small = {"epochs": 1, "steps": 1, "batch": 2, "patch": [8], "device": "cpu"}
    config = TrainingConfig(study=make_study(2), **small)
    out = tmp_path / "run"
    out.mkdir()
    (out / "config.json").write_text(config.model_dump_json())
    code, _, error = run("train", out)
    assert (code, error) == (0, "")
    assert (out / "best.safetensors").is_file()
    (tmp_path / "bad").mkdir()
    (tmp_path / "bad" / "config.json").write_text("{")
    code, _, error = run("train", tmp_path / "bad")
    assert code == 2
    one_sentence(error, "config.json is not readable JSON")


def test_train_refuses(run, make_study, tmp_path, tiny_training):
    study = make_study(2, labelled=0)
    code, _, error = run("train", study, *tiny_training)
    assert code == 2
    one_sentence(error, "no subject has a label")
    assert not (study / "derivatives" / "runs").exists()
    code, _, error = run("train", tmp_path / "absent", *tiny_training)
    assert code == 2
    one_sentence(error, "absent is not a folder")
    code, _, error = run("train", study, "--learning-rate", 0)
    assert code == 2
    one_sentence(error, "--learning-rate must be above 0")


# ---- demo


def test_demo_keeps_what_is_there(run, tmp_path):
    kept = tmp_path / "subject" / "mine.txt"
    kept.parent.mkdir()
    kept.touch()
    code, _, error = run("demo", tmp_path)
    assert code == 2
    one_sentence(error, "subject exists", "--overwrite")
    assert kept.is_file()


def test_demo_removes_only_its_own_subject(run, tmp_path):
    kept = tmp_path / "subject" / "mine.txt"
    kept.parent.mkdir()
    kept.touch()
    code, _, error = run("demo", tmp_path, "--overwrite")
    assert code == 2
    one_sentence(error, "subject is not a cohort made by napari-pvs")
    assert kept.is_file()


def test_demo_makes_segments_and_measures(run, monkeypatch, tmp_path, make_head, write_image):
    head = make_head()
    steps = []

    def write(config, out, progress=None):
        steps.append(config.subjects)
        truth = out / "derivatives" / "truth" / "sub-01" / "anat"
        write_image(truth / "sub-01_label-PVS_mask.nii.gz", head.label)

    def segment(config, out, overwrite):
        steps.append(Path(config.t2).name)
        write_image(out / outputs.MASK, head.label)

    monkeypatch.setattr(cohort, "write_cohort", write)
    monkeypatch.setattr(cli.segmentation, "segment_and_say", segment)
    code, said, error = run("demo", tmp_path / "demo")
    assert (code, error) == (0, "")
    assert steps == [1, "sub-01_T2w.nii.gz"]
    assert "1.000" in said
    assert json.loads((tmp_path / "demo" / "evaluation.json").read_text())


# ---- arguments that typer refuses


@pytest.mark.parametrize(
    ("arguments", "parts"),
    [
        (["segment", "--thresold", "1"], ["no such option", "--thresold", "segment --help"]),
        (["segment", "--threshold", "much"], ["--threshold", "a valid ", "segment --help"]),
        (["segment", "--t1"], ["--t1", "requires an argument"]),
        (["evaluate"], ["missing argument", "evaluate --help"]),
        (["segmnt"], ["segmnt", "napari-pvs --help"]),
        (["train", "study", "--device", "tpu"], ["--device", "tpu"]),
    ],
)
def test_wrong_arguments_end_in_one_sentence(run, arguments, parts):
    code, _, error = run(*arguments)
    assert code == 2
    one_sentence(error, *parts)


def test_no_verb_shows_the_help(run):
    code, out, error = run()
    assert code == 2
    assert "segment" in out + error


def test_version_ends_well(run):
    code, out, _ = run("--version")
    assert (code, out.strip()) == (0, napari_pvs.__version__)


def test_a_path_that_is_refused_is_one_sentence(tmp_path, capsys):
    too_long = tmp_path / ("x" * 300)
    with pytest.raises(SystemExit) as ended:
        cli.main(["runs", "list", str(too_long)])
    assert ended.value.code == 2
    said = capsys.readouterr().err
    assert said.startswith(f"napari-pvs: {too_long} cannot be used (File name too long)")
    assert said.count("\n") == 1


def test_results_of_evaluate_do_not_replace_a_folder(tmp_path, capsys):
    for name in ("--json", "--tsv"):
        with pytest.raises(SystemExit) as ended:
            cli.main(["evaluate", "a.nii.gz", "b.nii.gz", name, str(tmp_path), "--overwrite"])
        assert ended.value.code == 2
        assert capsys.readouterr().err == f"napari-pvs: {tmp_path} is a folder; name a file.\n"


def test_curves_do_not_replace_a_folder(tmp_path, capsys):
    with pytest.raises(SystemExit) as ended:
        cli.main(["runs", "compare", "run", "--out", str(tmp_path), "--overwrite"])
    assert ended.value.code == 2
    assert capsys.readouterr().err == f"napari-pvs: {tmp_path} is a folder; name a file.\n"
