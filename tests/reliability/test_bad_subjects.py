"""Every verb on a study does the others, and lists the bad ones at the end."""

import logging

import pytest


@pytest.mark.parametrize("verb", ["segment", "count", "evaluate", "train", "validate"])
def test_bad_subjects_of_every_kind_at_once(
    verb, attack, tmp_path, tiny_weights, small_network, caplog
):
    caplog.set_level(logging.CRITICAL)
    bad_subjects = attack("bad_subjects")
    kinds = bad_subjects.KINDS
    root = bad_subjects.study(tmp_path / "study", len(kinds) + 2)
    names = [path.name for path in sorted(root.glob("sub-*"))]
    for name, spoil in zip(names[1:-1], kinds.values(), strict=True):
        spoil(bad_subjects.Place(root, name))
    ended = bad_subjects.VERBS[verb](root, tiny_weights)
    assert bad_subjects.judged(ended, {names[0], names[-1]}, set(names[1:-1])) == ""
