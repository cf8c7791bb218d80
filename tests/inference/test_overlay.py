import numpy as np
import pytest
from PIL import Image, ImageDraw

from napari_pvs.inference.overlay import overlay
from napari_pvs.scans.scan import Scan


def picture(head, path, labels, t1=True, t2=True, affine=None):
    affine = np.diag([0.8, 0.8, 0.8, 1]) if affine is None else affine
    scan = Scan.from_arrays(head.t1 if t1 else None, head.t2 if t2 else None, affine, head.brain)
    overlay(scan, labels, path)
    with Image.open(path) as image:
        assert image.format == "PNG"
        image.load()
        return np.asarray(image.convert("RGB")).astype(int)


def red(pixels):
    return (pixels[..., 0] > 120) & (pixels[..., 0] > 2 * pixels[..., 1] + 20)


@pytest.mark.parametrize(("t1", "t2"), [(True, True), (True, False), (False, True)])
def test_shows_the_scan_and_marks_pvs_below(head, tmp_path, t1, t2):
    pixels = picture(head, tmp_path / "o.png", head.label.astype(np.int32), t1, t2)
    assert pixels.std() > 20
    marked = red(pixels)
    half = len(pixels) // 2
    assert marked[half:].sum() > 100
    assert not marked[:half].any()
    columns = np.array_split(pixels, 4, axis=1)
    assert all(part.std() > 20 for part in columns)


def test_without_pvs(head, tmp_path):
    pixels = picture(head, tmp_path / "o.png", np.zeros(head.brain.shape, np.int32))
    assert pixels.std() > 20
    assert not red(pixels).any()


def test_patients_right_is_on_the_left(head, tmp_path):
    labels = np.zeros(head.brain.shape, np.int32)
    labels[18:20, 10:14] = 1  # in RAS+ high x is the patient's right
    pixels = picture(head, tmp_path / "o.png", labels)
    first = np.array_split(red(pixels), 4, axis=1)[0]
    columns = np.flatnonzero(first.any(0))
    assert columns.mean() < first.shape[1] / 2


def test_flat_brain(make_head, tmp_path):
    head = make_head((20, 22, 12))
    pixels = picture(head, tmp_path / "o.png", head.label.astype(np.int32))
    assert pixels.std() > 10


@pytest.mark.parametrize("tilt", [0.0, 20.0, -20.0])
def test_heights_are_those_of_the_brains_middle(head, tmp_path, monkeypatch, tilt):
    said = []
    monkeypatch.setattr(
        ImageDraw.ImageDraw, "text", lambda self, at, text, *_, **__: said.append(text)
    )
    angle = np.deg2rad(tilt)
    turn = np.eye(4)
    turn[1:3, 1:3] = [[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]
    affine = turn @ np.diag([0.8, 0.8, 0.8, 1])
    middle = np.argwhere(head.brain).mean(0)
    affine[:3, 3] = -affine[:3, :3] @ middle  # the brain's middle at 0 mm
    picture(head, tmp_path / "o.png", head.label.astype(np.int32), affine=affine)
    heights = [float(text.split("=")[1].split()[0]) for text in said]
    assert len(heights) == 4
    assert min(heights) < 0 < max(heights)
    assert abs(sum(heights) / 4) < 0.2 * (max(heights) - min(heights))
