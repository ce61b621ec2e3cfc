"""Images per second of training on the device and on the CPU, in interleaved blocks."""

from __future__ import annotations

from collections.abc import Callable

import torch

from benchmarks.gpu_check.images import learnable_images
from benchmarks.gpu_check.record import Outcome, Value
from benchmarks.gpu_check.supernet import params_of
from benchmarks.harness.presets import COMPACT
from benchmarks.harness.timing import interleaved
from models.training.loop import Recipe, Run
from models.training.supernet.settings import SupernetParams
from models.training.supernet.training import CPU, build

BATCH, BLOCKS, CALLS = 256, 3, 4
_FOREVER = 1_000_000


def check_speed(device: torch.device) -> Outcome:
    """Steps of `spos` with prepared batches; the copies to the device count."""
    params = {"CPU": params_of("spos", True)}
    devices = {"CPU": CPU}
    if device != CPU:
        for precision in ("float32", "bfloat16"):
            params[f"GPU {precision}"] = params_of("spos", True, precision)
            devices[f"GPU {precision}"] = device
    steps = {name: stepper(params[name], devices[name]) for name in params}
    times = interleaved(steps, BLOCKS, CALLS)
    values = [Value.of(f"{name} images/s", BATCH / time.seconds) for name, time in times.items()]
    for name in list(times)[1:]:
        values.append(Value.of(f"{name} over CPU", times["CPU"].over(times[name])[0]))
    return Outcome(values=tuple(values))


def stepper(params: SupernetParams, device: torch.device) -> Callable[[], None]:
    """The next step of the trainer on a device; `Run.advance` waits for the step's loss."""
    images, params = learnable_images(), params.model_copy(update={"batch": BATCH})
    strategy = build(COMPACT.load(), images, params, device)
    recipe = Recipe(_FOREVER, 0.01, window=_FOREVER)
    run = Run(strategy.supernet.train(), recipe, strategy.trainable(), strategy)
    stream = images.stream(params)
    ready = [stream.at(step) for step in range(2)]
    return lambda: run.advance(
        lambda step: ready[step % 2].to(device, torch.channels_last), strategy.learn
    )
