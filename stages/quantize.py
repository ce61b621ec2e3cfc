"""Build the precision candidates of a trained network and choose the one to deliver."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from core.checkpoint import Checkpoint, inputs_fingerprint
from core.files import fingerprint
from core.process import prepare_machine
from core.settings import read_section
from data.dataset import DatasetInfo, read_split
from devices.fleet.read import pick_device
from devices.measure.reference import read_machine
from devices.measure.target import open_target
from devices.quantize.build import build_candidates, choose_candidate
from devices.quantize.evaluate import evaluate_module
from devices.quantize.result import QuantizeResult
from devices.quantize.settings import QuantizeParams
from devices.quantize.variants import Work
from devices.runtimes.registry import backend
from models.nets.subnet import Subnet
from models.nets.weights import load_into
from models.space.architecture import Architecture


def main() -> None:
    """Parse the flags, read the network and the data, write the ONNX files and `quantize.json`."""
    parser = argparse.ArgumentParser(prog="python -m stages quantize", description=__doc__)
    parser.add_argument("--params", type=Path, required=True)
    parser.add_argument("--device", required=True)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--model", type=Path, required=True)
    parser.add_argument("--profile", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    flags = parser.parse_args()
    params = read_section(flags.params, "quantize", QuantizeParams)
    device = pick_device(flags.params, flags.device)
    prepare_machine(params.finetune.threads, params.seed)
    runtime = backend(device.backend)
    runtime.check(device)
    network = read_network(flags.model)
    clear_folder(flags.out)

    splits = {name: read_split(flags.data, name) for name in ("train", "val", "test")}
    unit = runtime.for_unit(device.openvino_device)
    bits = unit.weight_bits(read_machine(flags.profile))
    work = Work(flags.out, runtime, splits, DatasetInfo.read(flags.data), params, bits)
    work.logits[None] = evaluate_module(network, splits["test"], work.info).logits_NK
    inputs = inputs_fingerprint("quantize", params.finetune, flags.data, flags.model)
    checkpoint = Checkpoint(flags.out, fingerprint(inputs, runtime.activations, bits))
    built = build_candidates(work, network, device, checkpoint)
    target = open_target(flags.device, device)
    result = choose_candidate(work, built, flags.device, device, target, flags.profile)
    result.write(flags.out)
    checkpoint.clear()


def clear_folder(folder: Path) -> None:
    """Create the folder and delete files left by an interrupted run."""
    folder.mkdir(parents=True, exist_ok=True)
    for file in (folder / QuantizeResult.FILE, *folder.glob("*.onnx"), *folder.glob(".*.tmp")):
        file.unlink(missing_ok=True)


def read_network(folder: Path) -> Subnet:
    """Load the trained network from the output folder of the stage `train`."""
    text = (folder / "architecture.json").read_text(encoding="utf-8")
    network = Subnet(Architecture.from_json(json.loads(text)))
    load_into(network, folder / "model.safetensors")
    return network.eval()
