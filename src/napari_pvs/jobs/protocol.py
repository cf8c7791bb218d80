"""How napari and its processes communicate: requests, messages, answers.

A process is started with a folder. It reads its request from ``request.json`` there, leaves arrays
in the folder, and writes one JSON object per line to stdout: `Progress`, `Phase` and `Row` while it
is working, `Done` or `Failed` at the end. Both sides use the models in this module and nothing
else.
"""

import json
import os
import traceback
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal, Protocol, Unpack

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter

from napari_pvs.burden.count import Burden
from napari_pvs.errors import InputError
from napari_pvs.evaluation.compare import SubjectScore
from napari_pvs.inference.config import SegmentConfig
from napari_pvs.network.device import Device
from napari_pvs.scans.choices import REGISTER, Register
from napari_pvs.study.bids import StudySubject
from napari_pvs.training.config import TrainingConfig
from napari_pvs.training.runs.status import History, Measures

REQUEST = "request.json"
Number = int | float | str
ImageName = Literal["t1", "t2", "brain", "lesions"]


@dataclass(frozen=True)
class Nothing:
    """The answer of a job whose results are all in its rows."""


class Request(BaseModel):
    """What a process is asked to do.

    Each kind is declared with its name in ``request.json``, the type of its answer and, if it sends
    several results, the type of these: ``class ReadRuns(Request, verb="read runs", ...)``.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", defer_build=True)  # docks open sooner

    verb: ClassVar[str]
    answers: ClassVar[Any]
    rows: ClassVar[Any]

    def __init_subclass__(
        cls, *, verb: str, answers: Any = Nothing, rows: Any = None, **more: Unpack[ConfigDict]
    ) -> None:
        super().__init_subclass__(**more)
        cls.verb, cls.answers, cls.rows = verb, answers, rows
        _KINDS[verb] = cls


_KINDS: dict[str, type[Request]] = {}


@dataclass(frozen=True)
class Loaded:
    """A scan was loaded.

    Attributes
    ----------
    notes
        Sentences on what is doubtful about the scan or its label.
    subject
        The study's subject in its current state; None outside a study.
    """

    notes: tuple[str, ...]
    subject: StudySubject | None = None


@dataclass(frozen=True)
class Features:
    """Columns describing the PVS of the synthetic subject, by name."""

    features: dict[str, list[Number]]


@dataclass(frozen=True)
class Segmented:
    """The result of a segmentation; its arrays are in the folder.

    Attributes
    ----------
    threshold
        Smallest probability of a PVS voxel.
    box
        Start and stop along X, Y, Z of the voxels that any threshold can select.
    count, volume_mm3
        Of the PVS in the mask.
    weights_id, weights
        Id and name of the weights; for a baseline, both are the method's name.
    notes
        What the user should know.
    excluded_by_place
        How many components were left out for their place.
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
    excluded_by_place: int = 0
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
    """How a new mask differs from the previous one: PVS added and removed, volumes in mm³."""

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
        The result.
    dsc
        Of the weights in validation; None if even newer ones have replaced them.
    changes
        Compared with the previous mask; None if there was none.
    """

    segmented: Segmented
    dsc: float | None
    changes: Changes | None


@dataclass(frozen=True)
class Subjects:
    """The subjects of a study, and sentences about those that cannot be used."""

    subjects: tuple[StudySubject, ...]
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Count:
    """The PVS in one label file, or why it could not be read."""

    name: str
    count: int = 0
    volume_mm3: float = 0.0
    error: str | None = None


@dataclass(frozen=True)
class Table:
    """A table as tab-separated text, empty if it has no rows, and notes on who is not in it."""

    tsv: str
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class PlannedRun:
    """What a training run would use and cost, in a sentence each, or why it is refused.

    Has the fields of `training.plan.Plan`, whose module needs torch.
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
        Name of its folder.
    cells
        Its row in the table of `training.runs.compare`.
    history
        Its curves.
    best
        Its best validation; None before the first.
    """

    name: str
    cells: tuple[str, ...]
    history: History
    best: Measures | None


@dataclass(frozen=True)
class Header:
    """Column titles for the cells of the rows."""

    header: tuple[str, ...]


class LoadScan(Request, verb="load scan", answers=Loaded):
    """Load a scan from files, or from volumes ``stored`` in the folder.

    ``labels`` are label files by name; one that cannot be used is left out, with a note saying why,
    and so is a map of lesions.
    """

    t1: Path | None = None
    t2: Path | None = None
    brain: Path | None = None
    lesions: Path | None = None
    stored: tuple[ImageName, ...] = ()
    labels: dict[str, Path] = {}
    register_t2: Register = REGISTER


class LoadSubject(Request, verb="load subject", answers=Loaded):
    """Load the scan and the label of a study's subject.

    Where a ``rater`` is given, only this rater's own final label.
    """

    study: Path
    subject: str
    rater: str | None = None
    register_t2: Register = REGISTER


class ReadMask(Request, verb="read mask", answers=Loaded):
    """Read a label file on the grid of the scan in a folder."""

    scan: Path
    path: Path


class MakeSample(Request, verb="make sample", answers=Features):
    """Make the synthetic subject."""


class Segment(Request, verb="segment", answers=Segmented):
    """Segment the scan in a folder; in a study the mask is saved as a draft of the subject."""

    scan: Path
    config: SegmentConfig
    study: Path | None = None
    subject: str | None = None


class OpenResults(Request, verb="open results", answers=Segmented):
    """Open what the command line wrote for the scan in a folder: results, or a probability map."""

    scan: Path
    path: Path


class SegmentStudy(Request, verb="segment study", rows=SegmentedSubject):
    """Segment all subjects of a study that these weights have not segmented yet."""

    study: Path
    config: SegmentConfig


class Improve(Request, verb="improve", answers=Improved):
    """Segment again with newer weights, and compare with the mask ``before`` in the folder."""

    segment: Segment


class ListSubjects(Request, verb="list subjects", answers=Subjects):
    """List the subjects of a study."""

    study: Path


class CountPvs(Request, verb="count PVS", rows=Count):
    """Count the PVS of label files, by name."""

    labels: dict[str, Path]


class FindRegions(Request, verb="find regions", answers=Loaded):
    """Register the template to the scan in a folder; its regions are left in the job's folder."""

    scan: Path


class MakeReport(Request, verb="make report"):
    """Write the page of the mask ``mask`` in the job's folder.

    ``regions`` is the folder of those of the scan; without it the template is registered.
    ``weights`` made the mask, so that their training can be compared with the scan.
    """

    scan: Path
    out: Path
    name: str
    origin: dict[str, str] = {}
    regions: Path | None = None
    weights: Path | None = None


class CountStudy(Request, verb="count study", answers=Table, rows=Burden):
    """Count the PVS of each subject of a study; a row for all of a subject's PVS.

    The answer is the table with all regions; ``regions`` as for `burden.files.count_study`.
    """

    study: Path
    regions: str


class ScoreStudy(Request, verb="score study", answers=Table, rows=SubjectScore):
    """Score the newest prediction of each subject of a study against its label."""

    study: Path


class PlanRun(Request, verb="plan run", answers=PlannedRun):
    """Say what a training run would use and cost."""

    config: TrainingConfig


class ReadRuns(Request, verb="read runs", answers=Header, rows=RunRow):
    """Read the training runs of a study."""

    study: Path


class ServeClicks(Request, verb="serve clicks"):
    """Keep a network ready for clicks on the scan in a folder; see `jobs.clicks`."""

    scan: Path
    weights: Path | None = None
    device: Device = "auto"


@dataclass(frozen=True)
class Progress:
    """Steps done, and the total."""

    done: int
    total: int
    type: Literal["progress"] = "progress"


@dataclass(frozen=True)
class Phase:
    """What the process is doing, for the user to read."""

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
    """The answer to a question; ``bytes`` bytes of float32 probabilities in the box follow."""

    id: int
    box: tuple[tuple[int, int], tuple[int, int], tuple[int, int]]
    bytes: int
    type: Literal["evidence"] = "evidence"


Message = Progress | Phase | Row | Done | Failed | Ready | Evidence


@cache
def _adapter(kind: Any) -> TypeAdapter[Any]:
    """Return what reads and writes a type."""
    return TypeAdapter(kind)


def _messages() -> TypeAdapter[Message]:
    return _adapter(Annotated[Message, Field(discriminator="type")])


class Say(Protocol):
    """Sends a message, optionally followed by raw bytes."""

    def __call__(self, message: Message, raw: bytes = b"") -> None:
        """Send a message."""


def write_request(folder: Path, request: Request) -> None:
    """Write a request into the folder of a process.

    Raises
    ------
    OSError
        It cannot be written.
    """
    text = json.dumps({"verb": request.verb, "request": request.model_dump(mode="json")})
    (folder / REQUEST).write_text(text, encoding="utf-8")


def read_request(folder: Path) -> Request:
    """Read what `write_request` wrote."""
    values = json.loads((folder / REQUEST).read_text(encoding="utf-8"))
    return _KINDS[values["verb"]].model_validate(values["request"])


def encode(message: Message) -> bytes:
    """Return a message as a line."""
    return _messages().dump_json(message) + b"\n"


def decode(line: bytes, request: Request) -> Message:
    """Return the message of a line, as an answer to a request."""
    message = _messages().validate_json(line)
    if isinstance(message, Row):
        return Row(_adapter(request.rows).validate_python(message.value, strict=False))
    if isinstance(message, Done):
        return Done(_adapter(request.answers).validate_python(message.value, strict=False))
    return message


def encode_question(question: Question) -> bytes:
    """Return a question as a line."""
    return _adapter(Question).dump_json(question) + b"\n"


def decode_question(line: bytes) -> Question:
    """Return the question of a line."""
    found: Question = _adapter(Question).validate_json(line)
    return found


def answer(folder: Path, do: Callable[[Request, Say], None]) -> int:
    """Handle the request in a folder, report any error, and return the exit code.

    Parameters
    ----------
    folder
        Contains the request.
    do
        Called with the request and a function that sends messages.
    """
    # libraries that print must not disturb the JSON lines, so their stdout becomes stderr
    out = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    warnings.simplefilter("ignore")  # warnings for the user travel with the scan

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
    """Wait, in a thread, until stdin closes because the parent is gone; then end the process."""
    while os.read(0, 1024):  # reading sys.stdin would hold its lock at exit
        pass
    os._exit(3)
