"""Rank a search's candidates."""

from __future__ import annotations

from core.checkpoint import Checkpoint
from data.stream import eval_batches
from models.nets.supernet import Supernet
from models.search.candidates import SearchOutput
from models.search.rank.indicators import PREDICTED, Evidence
from models.search.rank.predictor import accuracy_predictor
from models.search.rank.result import Ranking, RankResult
from models.search.rank.scores import evaluate_candidates, require_available
from models.search.rank.settings import RankParams
from models.space.space import SearchSpace
from models.space.stage_features import stage_sizes
from models.training.learning import Images, spread


def rank(
    settings: RankParams,
    data: Images,
    space: SearchSpace,
    supernet: Supernet,
    search: SearchOutput,
    checkpoint: Checkpoint,
) -> RankResult:
    """Score a search's candidates on the validation images.

    Raises:
        UserError: the accuracy predictor is requested, but there is none.
    """
    predictor = accuracy_predictor(search.history, space, settings.seed)
    val = data.val if settings.images is None else spread(data.val, settings.images)
    evidence = Evidence(
        supernet,
        data.calibration(settings.recalibration_batches, settings.batch, settings.seed),
        list(eval_batches(val, data.info, settings.batch)),
        predictor if isinstance(predictor, str) else predictor.predictor,
        stage_sizes(space.groups),
    )
    require_available(evidence, settings)
    if isinstance(evidence.predictor, str):
        print(f"the indicator {PREDICTED} is not available: {evidence.predictor}")
    candidates = search.candidates.candidates
    ranked = evaluate_candidates(candidates, evidence, settings, checkpoint)
    return RankResult(
        Ranking.of(ranked, settings),
        None if isinstance(predictor, str) else predictor,
    )
