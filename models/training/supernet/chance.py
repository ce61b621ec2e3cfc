"""Whether the networks of a trained supernet are better than chance.

A supernet that learned nothing looks like any other to the later stages: they would search and rank
by noise.
"""

from __future__ import annotations

from collections.abc import Sequence

from core.errors import UserError
from models.training.chance import Chance
from models.training.learning import Images, spread
from models.training.supernet.result import SampledNetwork
from models.training.supernet.settings import SupernetParams


def require_better_than_chance(
    subnets: Sequence[SampledNetwork], images: Images, params: SupernetParams, steps: int
) -> list[str]:
    """Check that the sampled networks of a supernet are better than chance.

    After a training without labels, both their features (by a linear probe) and their classifier
    are checked, because later stages use its logits.

    Args:
        subnets: the sampled networks; none if `report_subnets` is 0.
        images: the data set.
        params: those of the training.
        steps: those of the training.

    Returns:
        Notes if nothing was checked, or the images are too few to decide.

    Raises:
        UserError: they are not; with accuracy, level of chance and the way out.
    """
    if not subnets:
        return ["supernet.report_subnets is 0: not checked whether the supernet beats chance."]
    labels_N = spread(images.val, params.report_images).labels_N
    longer = (
        f"Raise supernet.epochs (now {params.epochs:g}) or min_steps (now {params.min_steps}), or "
        f"change learning_rate (now {params.learning_rate:g})"
    )
    rows = [(f"networks after {steps:,} steps", longer, [n.val_accuracy for n in subnets])]
    if own := [n.classifier_accuracy for n in subnets if n.classifier_accuracy is not None]:
        longer = "Raise classifier_epochs or classifier_min_steps of supernet.strategy"
        rows.append(("classifiers after their steps on labels", longer, own))
    balanced = images.info.balance is not None
    notes = [
        _judge(f"{len(found)} sampled {what}", way_out, Chance.of(found, labels_N), balanced)
        for what, way_out, found in rows
    ]
    return [note for note in notes if note is not None]


def _judge(sampled: str, way_out: str, found: Chance, balanced: bool) -> str | None:
    """A note if undecided; None if better than chance.

    Networks that were trained with classes weighed alike may have fewer right than the constant
    answer and know all classes, so that this accuracy does not decide.
    """
    if found.verdict == "not better" and balanced:
        return (
            f"not checked whether the supernet beats chance: {sampled} have {found}, which with "
            f"classes of unequal size weighed alike says nothing. {way_out} if the release is held "
            "back."
        )
    if found.verdict == "not better":
        raise UserError(
            f"the supernet is no better than chance: {sampled} have {found}. Search and ranking "
            f"would follow noise. {way_out}; with other settings the training starts from the "
            f"beginning. supernet.report_subnets: 0 skips this check."
        )
    if found.verdict == "undecided":
        return (
            f"too few validation images to tell whether the supernet is better than chance: "
            f"{sampled} have {found}. Use more images, or a larger data.val_fraction."
        )
    return None
