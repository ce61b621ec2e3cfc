"""Build the precision candidates of a trained network and choose the one to deliver."""

from __future__ import annotations

from pathlib import Path

from core.checkpoint import Checkpoint
from data.dataset import SPLITS, DatasetInfo, read_split
from data.stream import eval_batches
from devices.device import Device
from devices.measure.inference import BATCH
from devices.measure.reference import read_machine
from devices.measure.target import open_target
from devices.quantize.build import build_candidates, choose_candidate
from devices.quantize.result import QuantizeResult
from devices.quantize.settings import QuantizeParams
from devices.quantize.variants import Work
from models.nets.evaluate import logits
from models.nets.subnet import Subnet


def quantize(
    settings: QuantizeParams,
    name: str,
    device: Device,
    data: Path,
    model: Subnet,
    profile: Path,
    out: Path,
    checkpoint: Checkpoint,
) -> QuantizeResult:
    """Build, evaluate and measure the candidates; their ONNX files are written to `out`.

    Raises:
        EquivalenceError: the chosen candidate is not equivalent to the network.
        UserError: no candidate meets the accuracy budget.
    """
    target = open_target(name, device)
    target.backend.check(device)
    clear_folder(out)
    splits = {str(split): read_split(data, split) for split in SPLITS}
    bits = target.backend.weight_bits(read_machine(profile))
    work = Work(out, target, splits, DatasetInfo.read(data), settings, bits)
    work.logits[None] = logits(model.eval(), eval_batches(splits["test"], work.info, BATCH))
    built = build_candidates(work, model, checkpoint)
    return choose_candidate(work, built, profile)


def clear_folder(folder: Path) -> None:
    """Create the folder and delete files left by an interrupted run."""
    folder.mkdir(parents=True, exist_ok=True)
    for file in (folder / QuantizeResult.FILE, *folder.glob("*.onnx"), *folder.glob(".*.tmp")):
        file.unlink(missing_ok=True)
