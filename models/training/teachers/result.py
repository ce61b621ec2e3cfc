"""The teacher stage's output: the teacher, and its logits for every training image.

Axes: N images, K classes.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from core.errors import UserError
from core.files import FileFormatError, read_json, rounded, write_array, write_bytes
from data.dataset import Split, SplitName
from data.stream import eval_batches
from models.nets.evaluate import accuracy, logits
from models.training.chance import Chance
from models.training.history import History
from models.training.learning import Images
from models.training.objective import Objective
from models.training.settings import TrainParams
from models.training.teachers import SOURCES
from models.training.teachers.base import OpenOnnx, Result, TeacherRecord

LOGITS = "train_logits.npy"


@dataclass(frozen=True)
class EvaluatedTeacher:
    """A teacher with its logits.

    Attributes:
        files: from which it is loaded, by name.
        logits_NK: of the training images, without augmentation.
    """

    files: Mapping[str, bytes]
    record: TeacherRecord
    logits_NK: npt.NDArray[np.float32]
    history: History

    def write(self, out: Path) -> None:
        """Write the teacher's files, record, logits and history."""
        for name, content in self.files.items():
            write_bytes(out / name, content)
        self.record.write(out)
        write_array(out / LOGITS, self.logits_NK)
        self.history.write(out)


def evaluate_teacher(found: Result, data: Images) -> EvaluatedTeacher:
    """Evaluate a teacher on validation and test images, and on every training image.

    Raises:
        FileFormatError: its number of outputs is not the number of classes.
    """
    splits: dict[SplitName, float | None] = {}
    held_out: dict[SplitName, Split] = {"val": data.val, "test": data.test}
    for name, split in held_out.items():
        batches = eval_batches(split, data.info, found.batch)
        splits[name] = rounded(accuracy(found.teacher, batches))
    logits_NK = logits(found.teacher, eval_batches(data.train, data.info, found.batch))
    if logits_NK.shape != (len(data.train), len(data.classes)):
        raise FileFormatError(
            f"the teacher has {logits_NK.shape[1]} outputs per image, but the data set has "
            f"{len(data.classes)} classes."
        )
    record = found.record.model_copy(update={"accuracy": splits})
    return EvaluatedTeacher(found.files, record, logits_NK, History.of(found.run))


def learned_nothing(record: TeacherRecord, data: Images) -> str | None:
    """Why the teacher's soft labels are noise; None if it is better than chance.

    An external network whose classes have another order looks like this, too. With classes of
    unequal size weighed alike, the accuracy does not tell.
    """
    right = None if data.info.balance is not None else record.accuracy.get("val")
    found = None if right is None else Chance.of([right], data.val.labels_N)
    if found is None or found.verdict != "not better":
        return None
    way_out = "Raise teacher.epochs or teacher.min_steps, or change teacher.learning_rate."
    if record.source != "space":
        way_out = (
            f"Check that its outputs have the order of the data set's classes, with "
            f"'{data.classes[0]}' first, and that teacher.source.input is what it was trained on."
        )
    return f"the teacher is no better than chance: it has {found}. {way_out}"


@dataclass(frozen=True)
class StoredTeacher:
    """A teacher in the stage's output folder."""

    folder: Path
    record: TeacherRecord

    @classmethod
    def read(cls, folder: Path) -> StoredTeacher:
        """Read the record of a teacher of any source.

        Raises:
            FileFormatError: it is missing or malformed, or of another version.
        """
        file = folder / TeacherRecord.FILE
        source = read_json(file, TeacherRecord.SCHEMA).get("source")
        for kind in SOURCES:
            if kind.entry() == source:
                return cls(folder, kind.record_type.read(folder))
        raise FileFormatError(f"{file}: unknown source {source!r}. Run the stage teacher.")

    def logits(self, data: Images) -> npt.NDArray[np.float32]:
        """Its logits (N, K) for every training image.

        Raises:
            FileFormatError: they are missing, or of another data set.
        """
        file = self.folder / LOGITS
        if not file.is_file():
            raise FileFormatError(f"{file}: no such file; run the teacher stage.")
        logits_NK: npt.NDArray[np.float32] = np.load(file, allow_pickle=False)
        wanted = (len(data.train), len(data.classes))
        if logits_NK.shape != wanted or logits_NK.dtype != np.float32:
            raise FileFormatError(
                f"{file} is {logits_NK.dtype} {logits_NK.shape}, not float32 {wanted}; "
                "run the teacher stage on this data set."
            )
        return logits_NK

    def objective(self, params: TrainParams, data: Images, onnx: OpenOnnx) -> Objective:
        """The loss of a network's training, with the teacher's soft labels, stored or live.

        Raises:
            UserError: the teacher is no better than chance, and the loss uses it.
            FileFormatError: the soft labels are missing, or of another data set.
        """
        if params.distill_weight > 0 and (problem := learned_nothing(self.record, data)):
            raise UserError(f"{problem} With train.distill_weight: 0 the teacher is not used.")
        live = params.soft_labels == "live"
        return Objective(
            len(data.classes),
            params.label_smoothing,
            None if live else self.logits(data),
            params.distill_weight,
            params.temperature,
            self.record.load(self.folder, data.info, params.threads, onnx) if live else None,
        )
