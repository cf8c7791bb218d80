"""The verb segment on a study."""

import pytest

from napari_pvs import cli


def test_a_study_is_segmented(make_study, tiny_weights, refused, capsys, tmp_path):
    study = make_study(3, labelled=0)
    use = ["--weights", str(tiny_weights), "--device", "cpu", "--max-width", "99"]

    def segment(*more):
        with pytest.raises(SystemExit) as ended:
            cli.main(["segment", str(study), *use, *more])
        assert ended.value.code == 0
        return capsys.readouterr().out.splitlines()

    said = segment()
    assert [line.split(":")[0] for line in said] == ["sub-01", "sub-02", "sub-03"]
    assert all(" PVS, " in line and line.endswith(" mm³") for line in said)
    told = "Already segmented with these weights: 3; add --overwrite to repeat them."
    assert segment() == [told]
    assert segment("--overwrite") == said
    (study / "sub-02" / "anat" / "sub-02_T1w.nii.gz").write_bytes(b"no image")
    assert "1 of 3 subjects could not be segmented: sub-02: " in refused(
        "segment", study, *use, "--overwrite"
    )
    assert f"t.nii.gz does not go with the study {study}; leave one of them out" in refused(
        "segment", study, "--t1", tmp_path / "t.nii.gz"
    )
    assert "name one with --out, or name a study" in refused("segment")
    scan = study / "sub-01" / "anat" / "sub-01_T1w.nii.gz"
    for more in ((), ("--out", tmp_path / "out")):
        said = refused("segment", scan, *more)
        assert f"{scan} is not a study; name a scan with --t1 or --t2" in said


def test_workers_segment_a_study(make_study, tiny_weights, refused, capsys):
    study = make_study(2, labelled=0)
    use = ["--weights", str(tiny_weights), "--device", "cpu", "--max-width", "99"]
    with pytest.raises(SystemExit) as ended:
        cli.main(["segment", str(study), *use, "--workers", "2"])
    assert ended.value.code == 0
    said = capsys.readouterr().out.splitlines()
    with pytest.raises(SystemExit):
        cli.main(["segment", str(study), *use, "--overwrite"])
    assert capsys.readouterr().out.splitlines() == said
    assert "--workers and --scheduler do not go together" in refused(
        "segment", study, *use, "--workers", "2", "--scheduler", "tcp://a:1"
    )
    scan = study / "sub-01" / "anat" / "sub-01_T1w.nii.gz"
    assert "--workers is 0; give 1 or more." in refused("segment", study, *use, "--workers", "0")
    assert "--workers is for a study; leave it out" in refused(
        "segment", "--t1", scan, "--out", study / "out", "--workers", "2"
    )
