import pytest
from pydantic import ValidationError

from napari_pvs.phantom.config import PhantomConfig
from napari_pvs.phantom.sites import SITES, Site


def test_defaults_are_the_papers_cohort() -> None:
    config = PhantomConfig()
    assert (config.subjects, config.labelled, config.sites) == (33, 12, ("A",))
    edges = [low for low, _ in SITES["A"].voxel_size]
    shape = [round(mm / edge) for mm, edge in zip(config.field_of_view, edges, strict=True)]
    assert shape == [176, 240, 192]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"labelled": 40}, "exceeds subjects"),
        ({"sites": ("A", "Z")}, "'Z' is not a site; choose from A, B, C, D, random"),
        ({"sites": ()}, "no site was given; choose from A, B, C, D, random"),
        ({"field_of_view": (0, 50, 50)}, r"field of view \(0 50 50\) is not three edges"),
        ({"field_of_view": (50, float("nan"), 50)}, "field of view"),
        ({"field_of_view": (50, 50, 4e3)}, "field of view"),
        ({"pvs": (10, 5)}, r"pvs \(10 5\) is not two numbers"),
        ({"fluid": (0.6, 0.2)}, r"fluid \(0.6 0.2\) is not two shares"),
        ({"fluid": (0.5, 1.2)}, "fluid"),
        ({"label_fraction": 0}, "greater than 0"),
        ({"label_rule": "eye"}, "'rater' or 'physical'"),
        ({"visible": -1}, "greater than or equal to 0"),
        ({"deformation": 9}, "less than or equal to 6"),
        ({"subjects": 0}, "greater than or equal to 1"),
        ({"jobs": 0}, "greater than or equal to 1"),
        ({"colour": "red"}, "Extra inputs"),
    ],
)
def test_refuses_wrong_settings(change: dict[str, object], words: str) -> None:
    with pytest.raises(ValidationError, match=words):
        PhantomConfig.model_validate(change)


@pytest.mark.parametrize(
    ("given", "labelled"),
    [
        ({"subjects": 3}, 3),
        ({"subjects": 20}, 12),
        ({"subjects": 3, "labelled": 0}, 0),
        ({"subjects": 3, "labelled": 2}, 2),
    ],
)
def test_all_of_few_subjects_are_labelled(given: dict[str, int], labelled: int) -> None:
    assert PhantomConfig.model_validate(given).labelled == labelled


def test_is_frozen_and_survives_json() -> None:
    config = PhantomConfig(seed=3, pvs=(1, 2))
    assert PhantomConfig.model_validate_json(config.model_dump_json()) == config
    with pytest.raises(ValidationError, match="frozen"):
        config.seed = 4  # type: ignore[misc]


@pytest.mark.parametrize("site", SITES.values(), ids=list(SITES))
def test_ranges_of_sites_are_ordered(site: Site) -> None:
    pairs = [v for v in site.model_dump().values() if isinstance(v, tuple) and len(v) == 2]
    assert len(pairs) >= 10
    assert all(low <= high for low, high in [*pairs, *site.voxel_size])
