"""Quantisation-aware fine-tuning of a trained network, for where rounding alone loses too much.

A fine-tuned network is another network, however alike: it is no link of the identity chain. Its
int8 files are compared with the float32 file of the trained network, as every other int8 file is,
and what they differ by is rounding and learning together.
Axes: N images, C channels, H height, W width, K classes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from torch import nn

from data.dataset import SPLITS, SplitName
from devices.quantization import Activations, WeightBits
from models.equalization import equalise
from models.evaluate import folded
from models.fake_quantization import Rounding, fake_quantised, without_rounding
from models.onnx_export import to_onnx
from models.quantized_training import self_distilled
from models.training import Objective, Run
from stages.common.checkpoint import Checkpoint
from stages.common.files import rounded, write_bytes
from stages.common.learning import Images, history_rows, learn_with_checkpoints
from stages.quantize.candidate import FLOAT32, QAT, Form
from stages.quantize.forms import Work, calibrated, quantised
from stages.quantize.params import FinetuneParams

ROUNDING: dict[Activations, Rounding] = {
    "uint8": "affine",
    "int8_asymmetric": "affine",  # the same steps under other names
    "int8": "symmetric",
    "weights_only": "weights",
}
"""How each family of int8 files rounds."""


@dataclass(frozen=True)
class Finetuned:
    """A network that learned for int8, and its forms.

    Attributes:
        file: name of its own float32 ONNX file, from which its int8 files were made; it is not
            delivered.
        forms: its int8 files, one a calibration method.
        accuracy: top-1 of the network in float, by split.
        history: of the training.
    """

    file: str
    forms: tuple[Form, ...]
    accuracy: Mapping[SplitName, float]
    history: Sequence[Mapping[str, Any]]

    def to_json(self) -> dict[str, Any]:
        """Plain values for `quantize.json`."""
        accuracy = {name: rounded(share) for name, share in self.accuracy.items()}
        return {"file": self.file, "accuracy": accuracy, "history": list(self.history)}


def finetuned(work: Work, network: nn.Module, checkpoint: Checkpoint) -> Finetuned:
    """Fine-tune the network, and quantise the result by every method its family knows."""
    train, val, test = (work.splits[name] for name in SPLITS)
    images = Images(work.info, train, val, test)
    family = work.runtime.activations, work.weight_bits
    tuned, run = finetune(network, images, work.params.finetune, family, checkpoint)
    source = Form(f"{FLOAT32}-{QAT}", FLOAT32, QAT, FLOAT32)
    write_bytes(work.path(source), to_onnx(tuned, work.info.image_shape))
    ready = calibrated(work, source)
    assert ready is not None  # nobody fine-tunes for a runtime without int8
    forms = [
        replace(form, method=QAT, base_method=form.method, source=FLOAT32)
        for form in quantised(work, source, ready)
    ]
    accuracy = {name: images.accuracy(tuned, name) for name in SPLITS[1:]}
    return Finetuned(source.file, tuple(forms), accuracy, history_rows(run))


def finetune(
    network: nn.Module,
    images: Images,
    params: FinetuneParams,
    family: tuple[Activations, WeightBits],
    checkpoint: Checkpoint,
) -> tuple[nn.Module, Run]:
    """Fine-tune a copy of a network for int8.

    Args:
        network: trained, in float; it stays as it is.
        images: of the training split it learns on; the others it never sees.
        params: how.
        family: of int8 files that will be made of it, and the bits of their weights.
        checkpoint: where it continues from, if a run of the same inputs was killed.

    Returns:
        The same network with other weights, plain float32 ones: batch norms are folded into
        convolutions, and rounding is left to the quantiser. And the run that found them.
    """
    original, tuned = folded(network), folded(network)
    equalise(tuned)
    learner = fake_quantised(tuned, ROUNDING[family[0]], family[1])
    stream = images.stream(params)
    objective = Objective(
        len(images.info.classes),
        params.label_smoothing,
        distill_weight=params.distill_weight,
        temperature=params.temperature,
    )
    run = Run(learner, params.recipe(stream.steps_per_epoch))
    learn = self_distilled(learner, original, objective)
    learn_with_checkpoints("fine-tune", run, stream.at, learn, checkpoint)
    without_rounding(tuned)
    return tuned.eval(), run
