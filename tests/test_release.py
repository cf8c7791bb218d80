"""What a release says of itself, in every place that says it."""

import re
import tomllib
from pathlib import Path

import napari_pvs

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
ON_CONDA = {
    "torch": "pytorch",
    "matplotlib": "matplotlib-base",
    "lazy-loader": "lazy_loader",
}


def test_every_place_has_the_version():
    wanted = napari_pvs.__version__
    assert f"version: {wanted}" in (ROOT / "CITATION.cff").read_text(encoding="utf-8").splitlines()
    assert f'{{% set version = "{wanted}" %}}' in (ROOT / "recipe" / "meta.yaml").read_text()


def test_the_recipe_has_the_dependencies_of_the_package():
    recipe = (ROOT / "recipe" / "meta.yaml").read_text(encoding="utf-8")
    run = recipe.partition("  run:\n")[2].partition("  run_constrained:\n")[0]
    found = set(re.findall(r"^    - (\S+) (\S+)", run, re.MULTILINE))
    wanted = {("python", PROJECT["requires-python"])}
    for dependency in PROJECT["dependencies"]:
        name, versions = re.fullmatch(r"([\w-]+)(.*)", dependency).groups()
        wanted.add((ON_CONDA.get(name, name.lower()), versions))
    assert found == wanted


def test_every_dependency_has_a_floor_and_every_python_a_classifier():
    for dependency in PROJECT["dependencies"]:
        assert ">=" in dependency, dependency
    python = "Programming Language :: Python :: 3."
    minors = [int(c.removeprefix(python)) for c in PROJECT["classifiers"] if c.startswith(python)]
    assert minors == list(range(11, 15))


def test_links_of_the_readme_are_there():
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    for link in re.findall(r"\]\(([^)]+)\)", text):
        if not link.startswith("http"):
            assert (ROOT / link.partition("#")[0]).exists(), link
