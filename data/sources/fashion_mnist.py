"""Fashion-MNIST: 60,000 + 10,000 greyscale images of 28 x 28 pixels, ten classes.

Xiao, Rasul and Vollgraf, arXiv:1708.07747; MIT licence. Debian's package and the authors' server
compress the same arrays differently, so checksums are of the uncompressed content.
"""

from __future__ import annotations

import gzip
import hashlib
import struct
import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from core.errors import UserError
from data.images import resize_all
from data.mirrors import Files, Place, debian_place, folder_place, read_files, torchvision_place
from data.sources.base import Layout, Loaded, LoadOptions, OnDone, Originals, Source

TRAIN_IMAGES, TRAIN_LABELS = "train-images-idx3-ubyte.gz", "train-labels-idx1-ubyte.gz"
TEST_IMAGES, TEST_LABELS = "t10k-images-idx3-ubyte.gz", "t10k-labels-idx1-ubyte.gz"

CHECKSUMS: Mapping[str, str] = {
    TRAIN_IMAGES: "c59f468a2f672dc815687fe0f83887768d799fd8a3f3276145d20f83aa44d888",
    TRAIN_LABELS: "bad3541b69d912435c50bb6ba87bec294ff4f6a2e1246121d8633921760443d9",
    TEST_IMAGES: "5b4141f0afbad91edebe8549f8fcffe087ea10ca49f1dbef5c9a5cd8815ce37b",
    TEST_LABELS: "0402a96d92fd2663957122ceb108a494c5af83dab82d92729df917d7dec38c34",
}
"""SHA-256 of the uncompressed files."""

CLASSES = (
    "T-shirt/top",
    "Trouser",
    "Pullover",
    "Dress",
    "Coat",
    "Sandal",
    "Shirt",
    "Sneaker",
    "Bag",
    "Ankle boot",
)

_PACKAGE = "dataset-fashion-mnist"
_PACKAGE_FOLDER = "usr/share/datasets/fashion-mnist"
PLACES = (
    folder_place(Path("/", _PACKAGE_FOLDER), tuple(CHECKSUMS)),
    debian_place(_PACKAGE, _PACKAGE_FOLDER, tuple(CHECKSUMS)),
    torchvision_place("FashionMNIST", "FashionMNIST/raw", tuple(CHECKSUMS)),
)


class FashionMnist(Source):
    """Fashion-MNIST with its official test split, from the first of some locations."""

    name = "fashion-mnist"
    flips = True
    fetchable = True

    def __init__(
        self, places: Sequence[Place] = PLACES, checksums: Mapping[str, str] = CHECKSUMS
    ) -> None:
        self.places, self.checksums = places, checksums

    def fetch(self) -> Originals:
        """Fetch the four files from the first location that has them; verifies checksums."""
        tried: list[str] = []
        for place in self.places:
            try:
                files = place.get()
                self._unpack(files)
            except (UserError, OSError) as error:  # OSError: disk full, no permission
                tried.append(f"{place.name}: {error}")
            else:
                return Originals(files, place.name, tuple(tried))
        raise UserError(
            "Fashion-MNIST cannot be downloaded:\n"
            + "".join(f"  {reason}\n" for reason in tried)
            + f"Install Debian's {_PACKAGE}, or set data.path to a folder that holds "
            f"{', '.join(self.checksums)}."
        )

    def check(self, folder: Path, layout: Layout | None = None) -> None:
        """Check that the four files exist and match their checksums."""
        self._unpack(read_files(folder, tuple(self.checksums)))

    def load(self, folder: Path, options: LoadOptions, on_done: OnDone) -> Loaded:
        """Read the four files and resize the images if needed."""
        files = self._unpack(read_files(folder, tuple(self.checksums)))
        arrays = {name: _read_idx(content) for name, content in files.items()}
        images_NHW = np.concatenate([arrays[TRAIN_IMAGES], arrays[TEST_IMAGES]])
        labels_N = np.concatenate([arrays[TRAIN_LABELS], arrays[TEST_LABELS]]).astype(np.int64)
        return Loaded(
            images_NHWC=resize_all(images_NHW[..., None], options.size, on_done, options.scratch),
            labels_N=labels_N,
            classes=CLASSES,
            given={"test": np.arange(len(labels_N)) >= len(arrays[TRAIN_LABELS])},
            checksums={
                name.removesuffix(".gz"): checksum for name, checksum in self.checksums.items()
            },
        )

    def _unpack(self, files: Files) -> dict[str, bytes]:
        """Decompress the files and verify their checksums; by file name."""
        contents = {}
        for name, checksum in self.checksums.items():
            try:
                contents[name] = gzip.decompress(files[name])
            except (OSError, EOFError, zlib.error) as error:
                raise UserError(f"{name} is damaged ({error}); download it again.") from error
            found = hashlib.sha256(contents[name]).hexdigest()
            if found != checksum:
                raise UserError(
                    f"{name} does not match Fashion-MNIST: SHA-256 {found} instead of "
                    f"{checksum}; download it again."
                )
        return contents


def _read_idx(content: bytes) -> npt.NDArray[np.uint8]:
    """Read an IDX file of unsigned bytes: a header with the shape, then the values."""
    rank = content[3]
    shape = struct.unpack_from(f">{rank}I", content, 4)
    return np.frombuffer(content, np.uint8, offset=4 + 4 * rank).reshape(shape)
