"""The recipes of containers, which name what must be in the checkout, and say the same."""

import json
import re
import tomllib
from fnmatch import fnmatch
from pathlib import Path

from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet

from napari_pvs.cli import app

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
DOCKER = (ROOT / "Dockerfile").read_text(encoding="utf-8")
APPTAINER = (ROOT / "Apptainer.def").read_text(encoding="utf-8")
PIP = re.compile(r"pip install (.+?)\n\n", re.DOTALL)


def words(text: str) -> list[str]:
    (found,) = PIP.findall(text)
    return found.replace("\\\n", " ").split()


def copied() -> tuple[set[str], set[str]]:
    """What each recipe copies."""
    lines = re.findall(r"^COPY (.+) \S+$", DOCKER, re.MULTILINE)
    (files,) = re.findall(r"%files\n(.+?)\n\n", APPTAINER, re.DOTALL)
    ours = {line.split()[0] for line in files.splitlines()}
    return {name for line in lines for name in line.split()}, ours


def test_both_install_the_same():
    assert words(DOCKER) == words(APPTAINER)
    images = re.findall(r"^(?:FROM|From:) (\S+)$", f"{DOCKER}\n{APPTAINER}", re.MULTILINE)
    assert len(images) == 2
    assert len(set(images)) == 1
    (python,) = re.findall(r"^python:([\d.]+)-slim", images[0])
    assert SpecifierSet(PROJECT["requires-python"]).contains(f"{python}.0")


def test_what_is_installed_is_in_the_project():
    found = words(DOCKER)
    assert found[found.index("-c") + 1] == "constraints.txt"
    (extras,) = re.findall(r'"\.\[(.+)\]"', " ".join(found))
    assert set(extras.split(",")) <= PROJECT["optional-dependencies"].keys()
    named = [Requirement(one).name for one in PROJECT["optional-dependencies"]["dev"]]
    assert found[-1] in named  # what the tests use
    index = found[found.index("--extra-index-url") + 1]
    page = (ROOT / "docs" / "index.md").read_text(encoding="utf-8")
    (torch,) = re.findall(rf'pip install "(torch.*)" --index-url {index}', page)
    (ours,) = [one for one in map(Requirement, PROJECT["dependencies"]) if one.name == "torch"]
    above = [one for one in ours.specifier if one.operator == "<"]
    assert list(Requirement(torch).specifier) == above  # else pip replaces it by PyPI's


def test_all_that_the_build_needs_is_copied():
    docker, apptainer = copied()
    assert docker == apptainer
    needed = {PROJECT["readme"], *PROJECT["license-files"], "pyproject.toml", "constraints.txt"}
    assert docker == needed | {"src"}
    for name in docker:
        assert (ROOT / name).exists(), name
    kept = (ROOT / ".dockerignore").read_text(encoding="utf-8").split()
    assert {line[1:] for line in kept if line.startswith("!")} == docker
    assert any(fnmatch("pyproject.toml", line) for line in kept)


def test_both_start_the_bids_app():
    (entry,) = re.findall(r"^ENTRYPOINT (.+)$", DOCKER, re.MULTILINE)
    script, verb = json.loads(entry)
    assert f'exec {script} {verb} "$@"' in APPTAINER
    assert script in PROJECT["scripts"]
    assert verb in {one.name or one.callback.__name__ for one in app.registered_commands}
    variables = re.findall(r"\b([A-Z_]+)=(/tmp/\S+)", DOCKER)
    assert set(variables) == set(re.findall(r"\b([A-Z_]+)=(/tmp/\S+)", APPTAINER))
