"""Registry of data sources. To add one, add a module and an entry in `SOURCES`."""

from __future__ import annotations

from collections.abc import Mapping

from data.sources.base import Source
from data.sources.digits import Digits
from data.sources.fashion_mnist import FashionMnist
from data.sources.folder import ImageFolder
from data.sources.listing import ImageList
from data.sources.parquet import Parquet
from data.sources.webdataset import WebDataset

SOURCES: Mapping[str, Source] = {
    source.name: source
    for source in (
        FashionMnist(),
        Digits(),
        ImageFolder(),
        ImageList(),
        Parquet(),
        WebDataset(),
    )
}
