"""The teacher stage: a teacher network and its logits for every training image."""

from __future__ import annotations

from pathlib import Path

from core.checkpoint import Checkpoint
from core.progress import note_line
from devices.runtimes.onnxruntime.session import OnnxRuntimeSession
from models.nets.supernet import Supernet
from models.space.space import SearchSpace
from models.training.learning import Images
from models.training.teachers.base import Inputs
from models.training.teachers.result import EvaluatedTeacher, evaluate_teacher, learned_nothing
from models.training.teachers.settings import TeacherParams


def teacher(
    settings: TeacherParams,
    data: Images,
    space: SearchSpace,
    supernet: Supernet,
    file: Path,
    checkpoint: Checkpoint,
) -> EvaluatedTeacher:
    """Train or load a teacher, and evaluate it on every image.

    Raises:
        FileFormatError: its number of outputs is not the number of classes.
        UserError: it does not fit the data set.
    """
    inputs = Inputs(data, space, supernet, file, OnnxRuntimeSession)
    found = evaluate_teacher(settings.source.teach(inputs, settings, checkpoint), data)
    if (problem := learned_nothing(found.record, data)) is not None:
        print(note_line(problem), flush=True)
    return found
