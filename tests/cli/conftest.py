"""Shared by the tests of verbs."""

import pytest

from napari_pvs import cli


@pytest.fixture
def refused(capsys):
    """Run what is refused, and return the sentence."""

    def call(*arguments):
        with pytest.raises(SystemExit) as ended:
            cli.main([str(a) for a in arguments])
        assert ended.value.code == 2
        said = capsys.readouterr().err
        assert said.count("\n") == 1
        return said

    return call
