"""`sbom.cdx.json`: software bill of materials of a bundle, as CycloneDX 1.6 (ECMA-424).

Components are the network, the bundle's other files, and the packages that `run.py` needs. Equal
content gives equal bytes: there is no date, and the serial number is derived from the rest.
"""

from __future__ import annotations

import hashlib
import importlib.metadata
import json
import uuid
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from devices.runtimes.registry import backend

if TYPE_CHECKING:
    from bundles.manifest import Content
    from data.dataset import DatasetInfo

RUNTIME_OF_PORTABLE = "onnxruntime"
_LONGEST_NAME = 100
"""Some packages put the whole licence text into the name field."""
_NAMESPACE = uuid.uuid5(uuid.NAMESPACE_OID, "netwright/bundle")


def sbom(content: Content, info: DatasetInfo, files: Mapping[str, bytes]) -> bytes:
    """Return the SBOM of the files, all but the manifest and the SBOM itself."""
    of_model = {*content.model.files, content.model.portable}
    entries = {name: _file(name, files[name]) for name in sorted(files)}
    packages = packages_of(content)
    references = {package.name: package.purl for package, _ in packages}
    document: dict[str, Any] = {
        "$schema": "http://cyclonedx.org/schema/bom-1.6.schema.json",
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "version": 1,
        "metadata": _metadata(content),
        "components": [
            {
                **_network(content, info),
                "hashes": entries[content.model.entry]["hashes"],
                "components": [entries[name] for name in entries if name in of_model],
            },
            *(entries[name] for name in entries if name not in of_model),
            *(_library(package, scope) for package, scope in packages),
        ],
        "dependencies": [
            {"ref": "bundle", "dependsOn": ["network", *sorted(references.values())]},
            *(
                {"ref": p.purl, "dependsOn": sorted(references[name] for name in p.requires)}
                for p, _ in packages
            ),
        ],
    }
    document["serialNumber"] = serial_number(document)
    return (json.dumps(document, indent=2, sort_keys=True, allow_nan=False) + "\n").encode()


def serial_number(document: Mapping[str, Any]) -> str:
    """Return the serial number of an SBOM, derived from its other fields."""
    rest = {key: value for key, value in document.items() if key != "serialNumber"}
    plain = json.dumps(rest, sort_keys=True, separators=(",", ":"))
    return f"urn:uuid:{uuid.uuid5(_NAMESPACE, plain)}"


def listed_hashes(document: Mapping[str, Any]) -> dict[str, str]:
    """Return SHA-256 by name of every file that an SBOM lists."""
    parts = [*document["components"]]
    parts += [file for part in parts for file in part.get("components", ())]
    return {part["name"]: part["hashes"][0]["content"] for part in parts if part["type"] == "file"}


def packages_of(content: Content) -> list[tuple[Package, str]]:
    """Return packages with their scope: `optional` if only the portable file needs them."""
    runtime = backend(content.device.backend).package
    needed = closure(["numpy", content.model.details.get("provider", runtime)])
    portable = closure([RUNTIME_OF_PORTABLE])
    only_portable = [(package, "optional") for package in portable if package not in needed]
    return [(package, "required") for package in needed] + only_portable


def _metadata(content: Content) -> dict[str, Any]:
    tool = {"type": "application", "name": "netwright", "version": content.versions["netwright"]}
    return {
        "lifecycles": [{"phase": "build"}],
        "tools": {"components": [tool]},
        "component": {
            "type": "application",
            "bom-ref": "bundle",
            "name": content.name,
            "version": content.architecture_id,
            "description": f"An image classifier for the device '{content.name}'.",
        },
    }


def _network(content: Content, info: DatasetInfo) -> dict[str, Any]:
    """Return the network's component, without its files."""
    accuracy = content.accuracy
    metric = {
        "type": "top-1 accuracy",
        "value": f"{accuracy.delivered:g}",
        "slice": f"test split; {accuracy.measured_on}",
    }
    card = {
        "modelParameters": {
            "approach": {"type": "supervised"},
            "task": "image classification",
            "architectureFamily": "convolutional network",
            "modelArchitecture": content.architecture_short,
            "datasets": [{"type": "dataset", "name": info.name}],
            "inputs": [{"format": f"float32 image (1, {', '.join(map(str, info.image_shape))})"}],
            "outputs": [{"format": f"float32 logits (1, {len(info.classes)})"}],
        },
        "quantitativeAnalysis": {"performanceMetrics": [metric]},
    }
    return {
        "type": "machine-learning-model",
        "bom-ref": "network",
        "name": f"{content.name} {content.precision}",
        "version": content.architecture_id,
        "modelCard": card,
    }


def _file(name: str, content: bytes) -> dict[str, Any]:
    hashes = [{"alg": "SHA-256", "content": hashlib.sha256(content).hexdigest()}]
    return {"type": "file", "bom-ref": f"file:{name}", "name": name, "hashes": hashes}


def _library(package: Package, scope: str) -> dict[str, Any]:
    found: dict[str, Any] = {
        "type": "library",
        "bom-ref": package.purl,
        "name": package.name,
        "purl": package.purl,
        "scope": scope,
    }
    optional = {"version": package.version, "licenses": package.licences}
    return found | {key: value for key, value in optional.items() if value}


@dataclass(frozen=True)
class Package:
    """One distribution.

    Attributes:
        version: None if it is not installed.
        licences: as SPDX expression or text, in CycloneDX's form.
        requires: names of required packages.
    """

    name: str
    version: str | None
    licences: list[dict[str, Any]]
    requires: tuple[str, ...]

    @property
    def purl(self) -> str:
        """The package's URL."""
        return f"pkg:pypi/{self.name}{'' if self.version is None else f'@{self.version}'}"


def closure(roots: Iterable[str]) -> list[Package]:
    """Return distributions, or those of modules, with their transitive dependencies here."""
    found: dict[str, Package] = {}
    pending = [_distribution(root) for root in roots]
    while pending:
        name = pending.pop()
        if name not in found:
            found[name] = _package(name)
            pending.extend(found[name].requires)
    return [found[name] for name in sorted(found)]


def _distribution(root: str) -> str:
    """Return the distribution of this name, or else the one that provides this module."""
    try:
        importlib.metadata.distribution(root)
    except importlib.metadata.PackageNotFoundError:
        holders = importlib.metadata.packages_distributions().get(root, [root])
        return canonicalize_name(sorted(holders)[0])
    return canonicalize_name(root)


def _package(name: str) -> Package:
    try:
        found = importlib.metadata.distribution(name)
    except importlib.metadata.PackageNotFoundError:
        return Package(name, None, [], ())
    needed = [Requirement(text) for text in found.requires or ()]
    # An empty `extra` excludes optional dependencies.
    here = [r for r in needed if r.marker is None or r.marker.evaluate({"extra": ""})]
    names = tuple(sorted({canonicalize_name(requirement.name) for requirement in here}))
    return Package(name, found.version, _licences(found.metadata), names)


def _licences(metadata: importlib.metadata.PackageMetadata) -> list[dict[str, Any]]:
    if expressions := metadata.get_all("License-Expression"):
        return [{"expression": expressions[0]}]
    stated = metadata.get_all("License") or []
    short = [text for text in stated if 0 < len(text) <= _LONGEST_NAME and "\n" not in text]
    classifiers = [line.split(" :: ") for line in metadata.get_all("Classifier") or []]
    short += [parts[-1] for parts in classifiers if parts[0] == "License"]
    return [{"license": {"name": name}} for name in short[:1]]
