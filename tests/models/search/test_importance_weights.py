"""Weights of sampled architectures: the closed form, also where likelihoods underflow."""

import math

import numpy as np
import pytest

from models.search.algorithms.gradient import importance_weights


@pytest.mark.parametrize(("beta", "eta"), [(1.0, 0.0), (0.05, 10.0), (0.3, 3.0)])
def test_importance_weights_are_the_closed_form(beta: float, eta: float) -> None:
    nll, excess, images = [0.61, 0.58, 0.70], [0.0, 0.2, 0.05], 16
    terms = [
        math.exp(-images * loss) ** beta * math.exp(-eta * over)
        for loss, over in zip(nll, excess, strict=True)
    ]
    expected = [term / sum(terms) for term in terms]
    found = importance_weights(nll, excess, images, beta, eta)
    np.testing.assert_allclose(found, expected, rtol=1e-12)


def test_importance_weights_survive_likelihoods_that_underflow() -> None:
    found = importance_weights([5.0, 5.1], [0.0, 0.0], 100_000, 1.0, 0.0)
    np.testing.assert_allclose(found, [1.0, 0.0], atol=1e-12)
