"""The verb report, and segment --report."""

import pytest

from napari_pvs import cli


def run(*arguments) -> int:
    with pytest.raises(SystemExit) as ended:
        cli.main([str(a) for a in arguments])
    return ended.value.code


def test_a_study_gets_a_page_for_each_subject_and_one_for_all(
    make_study, refused, tmp_path, capsys
):
    study = make_study(3, labelled=2)
    out = tmp_path / "out"
    assert run("report", study, "--out", out, "--regions", "none") == 0
    said = capsys.readouterr().out
    assert "No label and no prediction yet: sub-03" in said
    assert sorted(path.name for path in out.iterdir()) == [
        "index.html",
        "sub-01.html",
        "sub-02.html",
    ]
    page = (out / "index.html").read_text(encoding="utf-8")
    assert 'href="sub-02.html"' in page
    assert "sub-03: no label and no prediction yet" in page
    assert "<h1>Perivascular spaces of study</h1>" in page
    assert "none were asked for." in (out / "sub-01.html").read_text(encoding="utf-8")
    said = refused("report", study, "--out", out)
    assert "index.html exists; add --overwrite" in said
    assert "is not a folder" in refused("report", out / "index.html", "--out", tmp_path / "b")
    said = refused("report", study, "--out", tmp_path / "b", "--names", study)
    assert "there is no label map; add --regions" in said


def test_a_subject_that_cannot_be_read_does_not_stop_the_others(make_study, tmp_path, capsys):
    study = make_study(2, labelled=2)
    (study / "sub-01" / "anat" / "sub-01_T1w.nii.gz").write_bytes(b"no image")
    assert run("report", study, "--out", tmp_path / "out", "--regions", "none") == 2
    assert "1 of 2 subjects could not be reported: sub-01: " in capsys.readouterr().err
    page = (tmp_path / "out" / "index.html").read_text(encoding="utf-8")
    assert "sub-02.html" in page
    assert "sub-01_T1w.nii.gz" in page


def test_segment_writes_a_report_and_takes_the_old_one_away(head_files, tiny_weights, tmp_path):
    t1, t2, brain = head_files
    given = ["segment", "--t1", t1, "--t2", t2, "--brain-mask", brain, "--out", tmp_path / "out"]
    given += ["--weights", tiny_weights, "--device", "cpu"]
    assert run(*given, "--report") == 0
    page = (tmp_path / "out" / "report.html").read_text(encoding="utf-8")
    assert "<h1>Perivascular spaces of t1</h1>" in page
    assert "The PVS have no regions: see the warnings." in page
    assert "too little to lay a template over" in page
    assert run(*given, "--report") == 2
    assert run(*given, "--overwrite") == 0
    assert not (tmp_path / "out" / "report.html").exists()
    assert (tmp_path / "out" / "summary.json").exists()


def test_a_report_of_a_study_has_its_own_verb(make_study, refused):
    said = refused("segment", make_study(1, labelled=0), "--report")
    assert "then run napari-pvs report" in said
    said = refused("segment", make_study(1, labelled=0), "--regions")
    assert "then run napari-pvs count" in said


def test_workers_make_the_same_pages(make_study, tmp_path):
    study = make_study(2, labelled=2)
    for name, more in (("one", ()), ("two", ("--workers", "2"))):
        assert run("report", study, "--out", tmp_path / name, "--regions", "none", *more) == 0
    for path in (tmp_path / "one").iterdir():
        assert (tmp_path / "two" / path.name).read_bytes() == path.read_bytes()
