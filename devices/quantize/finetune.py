"""Quantisation-aware fine-tuning, used when post-training quantisation loses too much accuracy.

A fine-tuned network has other weights, so it is no step of the equivalence checks. Its int8 files
are compared with the float32 file of the trained network, as all int8 files are; the difference
includes both rounding and fine-tuning.
Axes: N images, C channels, H height, W width, K classes.
"""

from __future__ import annotations

from torch import nn

from core.checkpoint import Checkpoint
from core.files import write_bytes
from data.dataset import SPLITS
from devices.device import Activations, WeightBits
from devices.quantize.result import FLOAT32, QAT, FinetunedResult, Variant
from devices.quantize.settings import FinetuneParams
from devices.quantize.variants import Work, build_int8, calibrate_variant
from models.nets.equalization import equalise
from models.nets.evaluate import fold_batch_norms
from models.nets.fake_quantization import Rounding, fake_quantize, remove_rounding
from models.nets.onnx_export import to_onnx
from models.training.history import recorded_steps
from models.training.learning import Images, learn_with_checkpoints
from models.training.loop import Run
from models.training.objective import Objective, supervised_step

ROUNDING: dict[Activations, Rounding] = {
    "uint8": "affine",
    "int8_asymmetric": "affine",  # same quantisation steps, shifted zero point
    "int8": "symmetric",
    "weights_only": "weights",
}
"""Fake-quantisation mode of each int8 activation scheme."""


def build_finetuned(
    work: Work, network: nn.Module, checkpoint: Checkpoint
) -> tuple[list[Variant], FinetunedResult]:
    """Fine-tune the network, and quantise the result with every calibration method."""
    train, val, test = (work.splits[name] for name in SPLITS)
    images = Images(work.info, train, val, test)
    family = work.target.backend.activations, work.weight_bits
    tuned, run = finetune(network, images, work.params.finetune, family, checkpoint)
    source = Variant(name=f"{FLOAT32}-{QAT}", precision=FLOAT32, method=QAT, source=FLOAT32)
    write_bytes(work.path(source), to_onnx(tuned, work.info.image_shape))
    calibrated = calibrate_variant(work, source)
    assert calibrated is not None  # fine-tuning is only tried for runtimes with int8
    variants = [
        variant.model_copy(update={"method": QAT, "base_method": variant.method, "source": FLOAT32})
        for variant in build_int8(work, source, calibrated)
    ]
    accuracy = {str(name): images.accuracy(tuned, name) for name in SPLITS[1:]}
    history = tuple(dict(row) for row in recorded_steps(run))
    return variants, FinetunedResult(file=source.file, accuracy=accuracy, history=history)


def finetune(
    network: nn.Module,
    images: Images,
    params: FinetuneParams,
    family: tuple[Activations, WeightBits],
    checkpoint: Checkpoint,
) -> tuple[nn.Module, Run]:
    """Fine-tune a copy of a network for int8, on the training split.

    `family` is the activation scheme of the int8 files and the bit width of their weights.

    Returns:
        The fine-tuned float32 network, with batch norms folded into convolutions and without
        fake quantisation; and the training run.
    """
    original, tuned = fold_batch_norms(network), fold_batch_norms(network)
    equalise(tuned)
    learner = fake_quantize(tuned, ROUNDING[family[0]], family[1])
    stream = images.stream(params)
    objective = Objective(
        len(images.info.classes),
        params.label_smoothing,
        distill_weight=params.distill_weight,
        temperature=params.temperature,
        teacher=original,
    )
    run = Run(learner, params.recipe(stream.steps_per_epoch))
    learn = supervised_step(learner, objective)
    learn_with_checkpoints("fine-tune", run, stream.at, learn, checkpoint)
    remove_rounding(tuned)
    return tuned.eval(), run
