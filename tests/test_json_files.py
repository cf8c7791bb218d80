import os
from dataclasses import dataclass

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import BaseModel

from napari_pvs import json_files
from napari_pvs.errors import InputError


@dataclass(frozen=True)
class Pair:
    names: tuple[str, ...]
    count: int = 0


class Model(BaseModel):
    values: dict[str, float]


def test_a_text_that_is_no_utf8_is_damaged():
    with pytest.raises(json_files.Damaged, match=r"UTF-8|unicode"):
        json_files.parse('{"a": "\udcff"}', dict[str, str])


@pytest.mark.parametrize(
    ("text", "kind", "reason"),
    [
        ("", dict, "no valid JSON"),
        ("{", dict[str, int], "no valid JSON"),
        ("[" * 100_000, list, "no valid JSON"),
        ('{"a": ' * 5000 + "1" + "}" * 5000, dict, "no valid JSON"),
        (b'{"a": "\xff"}', dict[str, str], "no valid JSON"),
        ("[1]", dict[str, int], "it"),
        ('{"names": 3}', Pair, "names"),
        ('{"names": ["a"], "count": "many"}', Pair, "count must be a whole number"),
        ('{"names": 3, "count": "many"}', Pair, "^names"),  # the first of several
        ('{"values": {"a": null}}', Model, "values.a must be a number"),
        ("null", Model, "it"),
    ],
)
def test_what_does_not_fit_is_told_in_a_clause(text, kind, reason, tmp_path):
    with pytest.raises(json_files.Damaged, match=reason) as told:
        json_files.parse(text, kind)
    assert "\n" not in str(told.value)
    path = tmp_path / "a.json"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(InputError, match=r"a\.json is odd \(.*\); mend it\.$"):
        json_files.read(path, kind, "mend it", "is odd")


def test_what_fits_is_read(tmp_path):
    path = tmp_path / "a.json"
    path.write_text('{"names": ["b", "a"]}')
    assert json_files.read(path, Pair, "") == Pair(("b", "a"))
    assert json_files.parse('{"values": {"x": 1}}', Model).values == {"x": 1.0}


def test_size_is_bounded_before_it_is_read(tmp_path, monkeypatch):
    monkeypatch.setattr(json_files, "MOST_BYTES", 100)
    path = tmp_path / "a.json"
    path.write_text("[" + " " * 98 + "]")
    assert json_files.read(path, list, "") == []
    path.write_text("[" + " " * 99 + "]")
    with pytest.raises(InputError, match="larger than"):
        json_files.read(path, list, "x")


def test_16_megabytes_are_the_most():
    most = "[" + " " * (16 * 2**20 - 2) + "]"
    assert json_files.parse(most, list) == []
    with pytest.raises(json_files.Damaged, match=r"^it is larger than 16 MB$"):
        json_files.parse(most + " ", list)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="pipes in the file system are POSIX")
def test_a_pipe_is_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "a.json")
    with pytest.raises(InputError, match=r"is damaged \(it is a pipe\)"):
        json_files.read(tmp_path / "a.json", dict, "x")


def test_absent_files_are_absent(tmp_path):
    with pytest.raises(FileNotFoundError):
        json_files.read(tmp_path / "a.json", dict, "x")
    (tmp_path / "file").touch()
    with pytest.raises(FileNotFoundError):
        json_files.read(tmp_path / "file" / "a.json", dict, "x")
    with pytest.raises(InputError, match=r"is damaged \(Is a directory\)"):
        json_files.read(tmp_path, dict, "x")


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=20,
)


@settings(max_examples=100, deadline=None)
@given(st.binary() | _JSON)
def test_any_content_is_read_or_refused_in_one_sentence(tmp_path_factory, content):
    import json

    path = tmp_path_factory.mktemp("any") / "a.json"
    path.write_bytes(content if isinstance(content, bytes) else json.dumps(content).encode())
    for kind in (Pair, Model, dict[str, int]):
        try:
            json_files.read(path, kind, "mend it")
        except InputError as error:
            assert "\n" not in str(error)  # noqa: PT017
