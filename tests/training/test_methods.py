import dataclasses

import pytest

from napari_pvs.training.config import TrainingConfig
from napari_pvs.training.methods import METHODS, TEACHERS


def test_the_four_methods_of_the_paper():
    """Mono- and multi-scale, each from labels alone and with unlabelled scans too: its Table 1."""
    kinds = {name: (one.multiscale, one.semi_supervised) for name, one in METHODS.items()}
    assert kinds == {
        "supervised-mono": (False, False),
        "supervised-multi": (True, False),
        "semi-mono": (False, True),
        "m2ss": (True, True),
    }
    assert all(one.name == name for name, one in METHODS.items())
    assert all(one.paper.count("±") == 3 for one in METHODS.values())


def test_the_option_chooses_the_teacher_of_those_that_have_none_of_their_own():
    for name, method in METHODS.items():
        for teacher in TEACHERS:
            more = {"members": ("a", "b")} if teacher == "ensemble" else {}
            taught = TrainingConfig(study="x", method=name, teacher=teacher, **more).taught_by
            assert taught == (teacher if method.semi_supervised else None)


def test_a_method_is_a_value():
    with pytest.raises(dataclasses.FrozenInstanceError):
        METHODS["m2ss"].multiscale = False
