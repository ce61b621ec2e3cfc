"""Two small spaces: one for enumeration, one that covers all slicing of a supernet."""

from pathlib import Path

import pytest

from models.space.space import SearchSpace

TINY = """
name: tiny
sizes: [8, 64]
stem: {operator: conv, channels: 4, stride: 2, settings: {kernel: 3}}
stages:
  - {layers: 1, stride: 1, channels: [4, 8], operators: {mbconv: {kernel: [3], expansion: [1, 2]}}}
  - {layers: 2, stride: 2, channels: [8, 12], skip: true,
     operators: {mbconv: {kernel: [3, 5], expansion: [2]}}}
head: {operator: classifier, settings: {width: 16}}
"""
SMALL = """
name: small
sizes: [8, 64]
stem: {operator: conv, channels: 8, stride: 2, settings: {kernel: 3}}
stages:
  - {layers: 2, stride: 1, channels: [8, 12], skip: true,
     operators: {mbconv: {kernel: [3, 5, 7], expansion: [1, 2, 3]}}}
  - {layers: 3, stride: 2, channels: [16, 20, 24], skip: true,
     operators: {mbconv: {kernel: [3, 5], expansion: [3, 6]}, conv: {kernel: [1, 3]}}}
head: {operator: classifier, settings: {width: 24}}
"""


def load(text: str, folder: Path) -> SearchSpace:
    file = folder / "space.yaml"
    file.write_text(text)
    return SearchSpace.load(file, (1, 12, 12), 5)


@pytest.fixture(scope="session")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> SearchSpace:
    return load(TINY, tmp_path_factory.mktemp("tiny"))


@pytest.fixture(scope="session")
def small(tmp_path_factory: pytest.TempPathFactory) -> SearchSpace:
    return load(SMALL, tmp_path_factory.mktemp("small"))
