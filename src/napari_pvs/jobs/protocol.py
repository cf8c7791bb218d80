"""What napari and its processes say to each other: requests, messages, answers.

A process is started with a folder. It reads its request from ``request.json`` there, leaves arrays
in the folder and writes one JSON object a line to stdout: `Progress`, `Phase` and `Row` while it
works, `Done` or `Failed` last. Both ends use the models of this module, and nothing else.
"""

import json
import os
import traceback
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal, Protocol

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter

from napari_pvs.errors import InputError
from napari_pvs.evaluation.compare import SubjectScore
from napari_pvs.inference.config import SegmentConfig
from napari_pvs.network.device import Device
from napari_pvs.study.bids import StudySubject
from napari_pvs.training.config import TrainingConfig
from napari_pvs.training.runs.status import History, Measures

REQUEST = "request.json"
Number = int | float | str
ImageName = Literal["t1", "t2", "brain"]


class Request(BaseModel):
    """What a process is asked for; each kind names the types of its answer and rows."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    verb: str
    answers: ClassVar[Any]
    rows: ClassVar[Any] = None


@dataclass(frozen=True)
class Nothing:
    """The answer of a job whose rows say it all."""


@dataclass(frozen=True)
class Loaded:
    """A scan was loaded.

    Attributes
    ----------
    notes
        What is doubtful about the scan or its label, a sentence each.
    subject
        The study's subject, as it is now; None outside a study.
    """

    notes: tuple[str, ...]
    subject: StudySubject | None = None


@dataclass(frozen=True)
class Features:
    """Columns that describe the PVS of the synthetic subject, by name."""

    features: dict[str, list[Number]]


@dataclass(frozen=True)
class Segmented:
    """What a segmentation found; its arrays are in the folder.

    Attributes
    ----------
    threshold
        Smallest probability of a PVS.
    box
        Start and stop along X, Y, Z of the voxels that a threshold can choose.
    count, volume_mm3
        PVS of the mask.
    weights_id, weights
        First 12 digits of the weights' SHA-256, and their name; a baseline's name twice.
    notes
        What the user should know.
    config
        Of results that were opened: how they were made.
    """

    threshold: float
    box: tuple[tuple[int, int], tuple[int, int], tuple[int, int]]
    count: int
    volume_mm3: float
    weights_id: str
    weights: str
    notes: tuple[str, ...] = ()
    config: SegmentConfig | None = None


@dataclass(frozen=True)
class SegmentedSubject:
    """How segmenting one subject of ``total`` went.

    ``count`` and ``volume_mm3`` are None where it was not: ``why`` says why, and is empty where
    these weights have segmented it before.
    """

    name: str
    total: int
    count: int | None = None
    volume_mm3: float | None = None
    why: str = ""


@dataclass(frozen=True)
class Changes:
    """How a new mask differs from the one before: PVS added and removed, volumes in mm³."""

    added: int
    removed: int
    before_mm3: float
    now_mm3: float


@dataclass(frozen=True)
class Improved:
    """A segmentation with newer weights.

    Attributes
    ----------
    segmented
        What it found.
    dsc
        Of the weights on validation; None where even newer ones have replaced them.
    changes
        Against the mask before; None where there was none.
    """

    segmented: Segmented
    dsc: float | None
    changes: Changes | None


@dataclass(frozen=True)
class Subjects:
    """The subjects of a study, and what is said of those that cannot be used."""

    subjects: tuple[StudySubject, ...]
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Count:
    """PVS of one label file, or why it could not be read."""

    name: str
    count: int = 0
    volume_mm3: float = 0.0
    error: str | None = None


@dataclass(frozen=True)
class Table:
    """A table as tab-separated text, empty where there is nothing; and who is not in it."""

    tsv: str
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class PlannedRun:
    """What a training run would use and cost, a sentence each; ``refused`` says why it cannot.

    As `training.plan.Plan`, which needs torch.
    """

    use: str
    cost: str
    refused: str = ""


@dataclass(frozen=True)
class RunRow:
    """One training run.

    Attributes
    ----------
    name
        Of its folder.
    cells
        Its row of the table of `training.runs.compare`.
    history
        Its curves.
    best
        What its best validation found; None before the first.
    """

    name: str
    cells: tuple[str, ...]
    history: History
    best: Measures | None


@dataclass(frozen=True)
class Header:
    """Headings of the cells of the rows."""

    header: tuple[str, ...]


class LoadScan(Request):
    """Load a scan from files, or from volumes that were stored in the folder.

    ``labels`` are label files by name; one that cannot be used is left out, and a note says why.
    """

    verb: Literal["load scan"] = "load scan"
    answers: ClassVar[Any] = Loaded
    t1: Path | None = None
    t2: Path | None = None
    brain: Path | None = None
    stored: tuple[ImageName, ...] = ()
    labels: dict[str, Path] = {}


class LoadSubject(Request):
    """Load the scan and the label of a study's subject."""

    verb: Literal["load subject"] = "load subject"
    answers: ClassVar[Any] = Loaded
    study: Path
    subject: str


class ReadMask(Request):
    """Read a label file on the grid of the scan in a folder."""

    verb: Literal["read mask"] = "read mask"
    answers: ClassVar[Any] = Loaded
    scan: Path
    path: Path


class MakeSample(Request):
    """Make the synthetic subject."""

    verb: Literal["make sample"] = "make sample"
    answers: ClassVar[Any] = Features


class Segment(Request):
    """Segment the scan in a folder; in a study the mask is saved as a draft of the subject."""

    verb: Literal["segment"] = "segment"
    answers: ClassVar[Any] = Segmented
    scan: Path
    config: SegmentConfig
    study: Path | None = None
    subject: str | None = None


class OpenResults(Request):
    """Open what the command line wrote for the scan in a folder: results, or a probability map."""

    verb: Literal["open results"] = "open results"
    answers: ClassVar[Any] = Segmented
    scan: Path
    path: Path


class SegmentStudy(Request):
    """Segment all subjects of a study that these weights have not segmented yet."""

    verb: Literal["segment study"] = "segment study"
    answers: ClassVar[Any] = Nothing
    rows: ClassVar[Any] = SegmentedSubject
    study: Path
    config: SegmentConfig


class Improve(Request):
    """Segment again with newer weights, and compare with the mask ``before`` in the folder."""

    verb: Literal["improve"] = "improve"
    answers: ClassVar[Any] = Improved
    segment: Segment


class ListSubjects(Request):
    """List the subjects of a study."""

    verb: Literal["list subjects"] = "list subjects"
    answers: ClassVar[Any] = Subjects
    study: Path


class CountPvs(Request):
    """Count the PVS of label files, by name."""

    verb: Literal["count PVS"] = "count PVS"
    answers: ClassVar[Any] = Nothing
    rows: ClassVar[Any] = Count
    labels: dict[str, Path]


class ScoreStudy(Request):
    """Score the newest prediction of each subject of a study against its label."""

    verb: Literal["score study"] = "score study"
    answers: ClassVar[Any] = Table
    rows: ClassVar[Any] = SubjectScore
    study: Path


class PlanRun(Request):
    """Tell what a training run would use and cost."""

    verb: Literal["plan run"] = "plan run"
    answers: ClassVar[Any] = PlannedRun
    config: TrainingConfig


class ReadRuns(Request):
    """Read the training runs of a study."""

    verb: Literal["read runs"] = "read runs"
    answers: ClassVar[Any] = Header
    rows: ClassVar[Any] = RunRow
    study: Path


class ServeClicks(Request):
    """Keep a network ready for clicks on the scan in a folder; see `jobs.clicks`."""

    verb: Literal["serve clicks"] = "serve clicks"
    answers: ClassVar[Any] = Nothing
    scan: Path
    weights: Path | None = None
    device: Device = "auto"


_KINDS: dict[str, type[Request]] = {
    kind.model_fields["verb"].default: kind for kind in Request.__subclasses__()
}


@dataclass(frozen=True)
class Progress:
    """Steps done, and steps in all."""

    done: int
    total: int
    type: Literal["progress"] = "progress"


@dataclass(frozen=True)
class Phase:
    """What the process is at, for people."""

    text: str
    type: Literal["phase"] = "phase"


@dataclass(frozen=True)
class Row:
    """One of several results; its type is the request's ``rows``."""

    value: Any
    type: Literal["row"] = "row"


@dataclass(frozen=True)
class Done:
    """The answer; its type is the request's ``answers``."""

    value: Any
    type: Literal["done"] = "done"


@dataclass(frozen=True)
class Failed:
    """Why there is no answer, in a sentence for the user."""

    text: str
    type: Literal["error"] = "error"


@dataclass(frozen=True)
class Ready:
    """The network for clicks is loaded."""

    weights_id: str
    type: Literal["ready"] = "ready"


@dataclass(frozen=True)
class Question:
    """A click on a voxel of the scan's grid."""

    id: int
    point: tuple[int, int, int]


@dataclass(frozen=True)
class Evidence:
    """The answer to a question: the probability in a box follows as ``bytes`` of float32."""

    id: int
    box: tuple[tuple[int, int], tuple[int, int], tuple[int, int]]
    bytes: int
    type: Literal["evidence"] = "evidence"


Message = Progress | Phase | Row | Done | Failed | Ready | Evidence
_MESSAGE: TypeAdapter[Message] = TypeAdapter(Annotated[Message, Field(discriminator="type")])
_QUESTION = TypeAdapter(Question)


class Say(Protocol):
    """Sends a message, and bytes that follow it."""

    def __call__(self, message: Message, raw: bytes = b"") -> None:
        """Send it."""


def write_request(folder: Path, request: Request) -> None:
    """Write a request into the folder of a process.

    Raises
    ------
    OSError
        It cannot be written.
    """
    (folder / REQUEST).write_text(request.model_dump_json(), encoding="utf-8")


def read_request(folder: Path) -> Request:
    """Read what `write_request` wrote."""
    values = json.loads((folder / REQUEST).read_text(encoding="utf-8"))
    return _KINDS[values["verb"]].model_validate(values)


def encode(message: Message) -> bytes:
    """Return a message as a line."""
    return _MESSAGE.dump_json(message) + b"\n"


def decode(line: bytes, request: Request) -> Message:
    """Return the message of a line, as an answer to a request."""
    message = _MESSAGE.validate_json(line)
    if isinstance(message, Row):
        return Row(TypeAdapter(request.rows).validate_python(message.value, strict=False))
    if isinstance(message, Done):
        return Done(TypeAdapter(request.answers).validate_python(message.value, strict=False))
    return message


def encode_question(question: Question) -> bytes:
    """Return a question as a line."""
    return _QUESTION.dump_json(question) + b"\n"


def decode_question(line: bytes) -> Question:
    """Return the question of a line."""
    return _QUESTION.validate_json(line)


def answer(folder: Path, do: Callable[[Request, Say], None]) -> int:
    """Do what the request in a folder asks, say what goes wrong, and return the exit code.

    Parameters
    ----------
    folder
        With the request.
    do
        Gets the request, and what sends messages.
    """
    # libraries that print must not disturb the lines of JSON
    out = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    warnings.simplefilter("ignore")  # those for the user travel with the scan

    def say(message: Message, raw: bytes = b"") -> None:
        out.write(encode(message) + raw)
        out.flush()

    try:
        do(read_request(folder), say)
    except InputError as error:
        say(Failed(str(error)))
        return 2
    except OSError as error:
        traceback.print_exc()
        where = error.filename or folder
        say(Failed(f"{where} cannot be used ({error.strerror}); make room or allow access."))
        return 2
    return 0


def end_with_parent() -> None:
    """End this process when stdin closes: the one that started it is gone. For a thread."""
    while os.read(0, 1024):  # sys.stdin's lock would be held at the end
        pass
    os._exit(3)
