"""Requests, messages and answers come out as they went in."""

import dataclasses
from pathlib import Path

import pytest
from pydantic import ValidationError

from napari_pvs.inference.config import SegmentConfig
from napari_pvs.jobs import protocol
from napari_pvs.jobs.protocol import (
    Done,
    Evidence,
    Failed,
    LoadScan,
    Phase,
    Progress,
    Question,
    ReadRuns,
    Ready,
    Request,
    Row,
    RunRow,
    Segment,
    Segmented,
    decode,
    decode_question,
    encode,
    encode_question,
    read_request,
    write_request,
)
from napari_pvs.jobs.tasks import TASKS
from napari_pvs.training.plan import Plan
from napari_pvs.training.runs.status import History, Measures


def test_every_request_has_a_task_but_the_one_that_stays():
    assert set(Request.__subclasses__()) - set(TASKS) == {protocol.ServeClicks}


def test_a_request_keeps_its_types(tmp_path):
    request = Segment(scan=Path("a"), config=SegmentConfig(device="cpu"), study=Path("b"))
    write_request(tmp_path, request)
    found = read_request(tmp_path)
    assert found == request
    assert isinstance(found.config, SegmentConfig)


def test_what_no_request_knows_is_refused():
    with pytest.raises(ValidationError, match="t3"):
        LoadScan(t3=Path("a"))


@pytest.mark.parametrize(
    "message",
    [Progress(1, 2), Phase("Reading …"), Failed("it is gone."), Ready("0123"), Evidence(
        1, ((0, 2), (3, 4), (5, 6)), 12)],
)  # fmt: skip
def test_messages_travel(message):
    assert decode(encode(message), LoadScan()) == message


def test_an_answer_and_a_row_have_the_types_that_the_request_names():
    segment = Segment(scan=Path("a"), config=SegmentConfig())
    found = Segmented(0.5, ((0, 1), (0, 2), (0, 3)), 3, 1.5, "0123", "tiny", ("doubtful",))
    assert decode(encode(Done(found)), segment) == Done(found)
    past = History({1: 0.5}, {1: Measures(0.6, None, 0.7)}, [(0.5, 0.4)])
    row = RunRow("run", ("run", "-"), past, past.validation[1])
    back = decode(encode(Row(row)), ReadRuns(study=Path("a"))).value
    assert back == row
    assert isinstance(back.best, Measures)
    with pytest.raises(ValidationError):
        decode(encode(Done({"nothing": "of it"})), segment)


def test_questions_travel():
    assert decode_question(encode_question(Question(3, (1, 2, 3)))) == Question(3, (1, 2, 3))


def test_a_plan_travels_whole():
    fields = [field.name for field in dataclasses.fields(Plan)]
    assert [field.name for field in dataclasses.fields(protocol.PlannedRun)] == fields
