"""What the tests of runs share: folders of runs that were never trained."""

import pytest

from napari_pvs.training.config import TrainingConfig
from napari_pvs.training.runs.events import EventLog


@pytest.fixture
def study(tmp_path):
    return tmp_path / "study"


@pytest.fixture
def make_run(study):
    """Function that writes a run folder with events ``(kind, values)``."""

    def make(name, *events, **values):
        run = study / "derivatives" / "runs" / name
        run.mkdir(parents=True)
        config = TrainingConfig(study=study, epochs=4, steps=10, **values)
        (run / "config.json").write_text(config.model_dump_json())
        log = EventLog(run / "events.jsonl")
        for kind, said in events:
            log.write(kind, **said)
        return run

    return make
