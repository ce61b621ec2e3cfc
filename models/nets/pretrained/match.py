"""Copying weights into a supernet by names, with a report of what matched.

Axes: O outputs, I inputs.
"""

from __future__ import annotations

import torch
from torch import Tensor

from core.artifact import Record
from core.errors import UserError
from models.nets.pretrained.weights import HEAD, Named, Weights, by_place, fit_images, places
from models.nets.supernet import Supernet
from models.space.space import SearchSpace

LEAST_MATCHED = 0.25
"""Share of a supernet's tensors that must be copied entirely; with fewer, weights do not fit."""
LEAST_USED = 0.75
"""Share of one network's tensors that the space must have."""


class StartReport(Record):
    """What a supernet started from."""

    source: str
    tensors: int
    """Of the supernet."""
    whole: int
    """Tensors that were copied entirely."""
    partly: tuple[str, ...]
    """Tensors of which the source has only the first channels; the rest is random."""
    random: tuple[str, ...]
    """Tensors that the source lacks, such as the last layer of other classes."""
    unused: tuple[str, ...]
    """Tensors of the source that the space lacks."""

    def describe(self) -> str:
        """One line."""
        text = f"started from {self.source}: {self.whole} of {self.tensors} tensors copied"
        parts = [
            f"{len(names)} {what} ({_some(names)})"
            for what, names in (
                ("partly", self.partly),
                ("random", self.random),
                ("not used", self.unused),
            )
            if names
        ]
        return "; ".join([text, *parts]) + "."


@torch.no_grad()
def start_from(
    supernet: Supernet,
    space: SearchSpace,
    weights: Weights,
    mean: tuple[float, ...],
    std: tuple[float, ...],
) -> StartReport:
    """Copy weights into a supernet of `space`, in place.

    A smaller tensor takes the first channels and a kernel's centre. A larger kernel is padded with
    zeros, which computes the same. The last layer is copied only for as many classes.
    `mean` and `std` are the normalisation of the images that the supernet will see.

    Raises:
        UserError: too few names match, so that the supernet would start mostly random.
    """
    found = fit_images(weights, mean, std)
    targets = by_place(supernet.state_dict(), places(space))
    used, partly, random, whole = set(), [], [], 0
    for name, target in targets.items():
        source = _source_of(name, found)
        if source is None or not _fits(name, target, found[source]):
            random.append(name)
            continue
        used.add(source)
        if _copy(target, found[source]):
            whole += 1
        else:
            partly.append(name)
    report = StartReport(
        source=weights.source,
        tensors=len(targets),
        whole=whole,
        partly=tuple(partly),
        random=tuple(random),
        unused=tuple(name for name in found if name not in used),
    )
    lost = weights.preset is not None and len(used) < LEAST_USED * len(found)
    if lost or whole < LEAST_MATCHED * len(targets):
        raise UserError(
            f"supernet.start_from: {weights.source} does not fit space '{space.name}': "
            f"{whole} of {len(targets)} tensors match (missing: {_some(report.random)}; partly: "
            f"{_some(report.partly)}; not used: {_some(report.unused)}). Choose the "
            f"space of these weights with space.file, or set start_from: none."
        )
    return report


def _source_of(name: str, found: Named) -> str | None:
    """The source tensor for a name: its own, else that of the block's other batch norms."""
    if name in found:
        return name
    block, is_norm, rest = name.partition(".norms.")
    if not is_norm:
        return None
    statistic = rest.rpartition(".")[2]
    if (only := f"{block}.norm.{statistic}") in found:
        return only
    others = [
        n for n in found if n.startswith(f"{block}.norms.") and n.rpartition(".")[2] == statistic
    ]
    return max(others, key=lambda n: (found[n].numel(), n), default=None)


def _fits(name: str, target: Tensor, source: Tensor) -> bool:
    """Whether copying makes sense: as many axes, and the same classes in the last layer."""
    if name.startswith(f"{HEAD}.") and ".linear." in name and target.shape[0] != source.shape[0]:
        return False
    return target.dim() == source.dim()


def _copy(target: Tensor, source: Tensor) -> bool:
    """Copy the common channels and the centre of the kernel; whether all channels are covered."""
    channels = tuple(
        slice(0, min(have, new))
        for have, new in zip(target.shape[:2], source.shape[:2], strict=True)
    )
    part, taken = target[channels], source[channels]
    if target.dim() == 4:
        have, new = part.shape[2], taken.shape[2]
        if have > new:
            part.zero_()
        border = abs(have - new) // 2
        inner = (..., *(slice(border, border + min(have, new)),) * 2)
        part, taken = (part[inner], taken) if have > new else (part, taken[inner])
    part.copy_(taken)
    return all(have <= new for have, new in zip(target.shape[:2], source.shape[:2], strict=True))


def _some(names: tuple[str, ...]) -> str:
    return ", ".join(names[:3]) + (", ..." if len(names) > 3 else "") if names else "none"
