"""`sbom.cdx.json`: software bill of materials of a bundle, as CycloneDX 1.6 (ECMA-424).

Components are the network, the bundle's other files, and the packages that `run.py` needs. Equal
content gives equal bytes: there is no date, and the serial number is derived from the rest.
"""

from __future__ import annotations

import hashlib
import json
import uuid
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from bundles.build.packages import Package, closure
from devices.runtimes.registry import backend

if TYPE_CHECKING:
    from bundles.manifest import Content
    from data.dataset import DatasetInfo

RUNTIME_OF_PORTABLE = "onnxruntime"
_NAMESPACE = uuid.uuid5(uuid.NAMESPACE_OID, "netwright/bundle")


def sbom(content: Content, info: DatasetInfo, files: Mapping[str, bytes]) -> bytes:
    """Return the SBOM file.

    Args:
        content: content of the manifest.
        info: the data set.
        files: the bundle's files by name, except the manifest and the SBOM.
    """
    hashes = {name: hashlib.sha256(data).hexdigest() for name, data in files.items()}
    needed, only_portable = packages_of(content)
    references = {package.name: _purl(package) for package in (*needed, *only_portable)}
    document: dict[str, Any] = {
        "$schema": "http://cyclonedx.org/schema/bom-1.6.schema.json",
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "version": 1,
        "metadata": _metadata(content),
        "components": [
            _network(content, info, hashes),
            *(_file(name, hashes[name]) for name in sorted(set(hashes) - _model_files(content))),
            *(_library(package, "required") for package in needed),
            *(_library(package, "optional") for package in only_portable),
        ],
        "dependencies": [
            {"ref": "bundle", "dependsOn": ["network", *sorted(references.values())]},
            *(
                {"ref": _purl(p), "dependsOn": sorted(references[name] for name in p.requires)}
                for p in (*needed, *only_portable)
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
    """Return SHA-256 by name of every file that an SBOM lists.

    Raises:
        LookupError, TypeError: it was not written by `sbom`.
    """
    parts = [*document["components"]]
    parts += [file for part in parts for file in part.get("components", ())]
    return {part["name"]: part["hashes"][0]["content"] for part in parts if part["type"] == "file"}


def packages_of(content: Content) -> tuple[list[Package], list[Package]]:
    """Return packages for the delivered file, and those needed only for the portable file."""
    runtime = backend(content.device.backend).package
    module = content.model.details.get("provider", runtime)
    needed = closure(["numpy", module])
    names = {package.name for package in needed}
    portable = closure([RUNTIME_OF_PORTABLE])
    return needed, [package for package in portable if package.name not in names]


def _metadata(content: Content) -> dict[str, Any]:
    tool = {"type": "application", "name": "netwright", "version": content.versions["netwright"]}
    described = f"An image classifier for the device '{content.name}'."
    return {
        "lifecycles": [{"phase": "build"}],
        "tools": {"components": [tool]},
        "component": {
            "type": "application",
            "bom-ref": "bundle",
            "name": content.name,
            "version": content.architecture_id,
            "description": described,
        },
    }


def _network(content: Content, info: DatasetInfo, hashes: Mapping[str, str]) -> dict[str, Any]:
    entry, accuracy = content.model.entry, content.accuracy
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
        "quantitativeAnalysis": {
            "performanceMetrics": [
                {
                    "type": "top-1 accuracy",
                    "value": f"{accuracy.delivered:g}",
                    "slice": f"test split; {accuracy.measured_on}",
                }
            ]
        },
    }
    return {
        "type": "machine-learning-model",
        "bom-ref": "network",
        "name": f"{content.name} {content.precision}",
        "version": content.architecture_id,
        "hashes": _sha256(hashes[entry]),
        "modelCard": card,
        "components": [_file(name, hashes[name]) for name in sorted(_model_files(content))],
    }


def _model_files(content: Content) -> set[str]:
    return {*content.model.files, content.model.portable}


def _file(name: str, sha256: str) -> dict[str, Any]:
    return {"type": "file", "bom-ref": f"file:{name}", "name": name, "hashes": _sha256(sha256)}


def _library(package: Package, scope: str) -> dict[str, Any]:
    found: dict[str, Any] = {
        "type": "library",
        "bom-ref": _purl(package),
        "name": package.name,
        "purl": _purl(package),
        "scope": scope,
    }
    if package.version is not None:
        found["version"] = package.version
    if package.expression is not None:
        found["licenses"] = [{"expression": package.expression}]
    elif package.licence is not None:
        found["licenses"] = [{"license": {"name": package.licence}}]
    return found


def _purl(package: Package) -> str:
    version = "" if package.version is None else f"@{package.version}"
    return f"pkg:pypi/{package.name}{version}"


def _sha256(value: str) -> list[dict[str, str]]:
    return [{"alg": "SHA-256", "content": value}]
