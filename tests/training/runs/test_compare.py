import pytest

from napari_pvs.errors import InputError
from napari_pvs.training.runs.compare import HEADER, draw, rows


def epoch(number, loss=0.5):
    return "epoch", {"epoch": number, "of": 4, "loss": loss}


def validation(number, dsc, avd=10.0):
    measures = {"dsc": dsc, "avd_percent": avd, "recall": 0.4, "threshold": 0.5, "subjects": {}}
    return "validation", {"epoch": number, **measures}


HELLO = ("hello", {"step": 0, "of": 40})


def test_rows(make_run):
    done = make_run("a", HELLO, epoch(1), validation(1, 0.51, None), epoch(2), validation(2, 0.5))
    new = make_run("b", recipe="paper")
    first, second = rows([done, new])
    assert len(first) == len(second) == len(HEADER)
    assert first == (
        *("a", "supervised-multi", "default", "died", "2/4", "0.5000"),
        *("0.510", "-", "0.400", "1"),
    )
    assert second[2:] == ("paper", "new", "0/4", "-", "-", "-", "-", "-")


def test_curves(make_run, tmp_path):
    from skimage.io import imread

    one = make_run("one", HELLO, epoch(1), validation(1, 0.2), epoch(2, 0.3), validation(2, 0.6))
    two = make_run("a<b", HELLO, epoch(1), validation(1, 0.4, None))
    draw([one, two], tmp_path / "c.png")
    picture = imread(tmp_path / "c.png")
    assert picture.shape[0] > 400
    assert len({tuple(pixel) for pixel in picture[::7, ::7].reshape(-1, 4)}) > 3
    draw([one, two], tmp_path / "c.html")
    page = (tmp_path / "c.html").read_text()
    assert "<td>one</td>" in page
    assert "<td>a&lt;b</td>" in page
    assert "data:image/png;base64," in page
    with pytest.raises(InputError, match=r"c.pdf ends in neither \.png nor \.html"):
        draw([one], tmp_path / "c.pdf")
