"""The SBOM: valid CycloneDX 1.6, complete and deterministic."""

import hashlib
import importlib.metadata
import json
import re

import jsonschema
import pytest

from bundles.build.sbom import closure
from bundles.read import read_bundle

DEVICES = ["cpu", "edge", "gpu"]

# What the published schema of CycloneDX 1.6 requires of the parts that are used here, in its own
# words; the parts it leaves open are closed, so that a misspelt key is found.
HASHES = {
    "type": "array",
    "minItems": 1,
    "items": {
        "type": "object",
        "required": ["alg", "content"],
        "additionalProperties": False,
        "properties": {
            "alg": {"const": "SHA-256"},
            "content": {"type": "string", "pattern": "^([a-fA-F0-9]{64})$"},
        },
    },
}
LICENCE = {
    "type": "object",
    "minProperties": 1,
    "maxProperties": 1,
    "additionalProperties": False,
    "properties": {
        "expression": {"type": "string"},
        "license": {
            "type": "object",
            "additionalProperties": False,
            "required": ["name"],
            "properties": {"name": {"type": "string"}},
        },
    },
}
MODEL_CARD = {
    "type": "object",
    "additionalProperties": False,
    "properties": {
        "modelParameters": {
            "type": "object",
            "additionalProperties": False,
            "properties": {
                "approach": {"properties": {"type": {"enum": ["supervised", "unsupervised"]}}},
                "task": {"type": "string"},
                "architectureFamily": {"type": "string"},
                "modelArchitecture": {"type": "string"},
                "datasets": {
                    "items": {"required": ["type"], "properties": {"type": {"const": "dataset"}}}
                },
                "inputs": {"items": {"properties": {"format": {"type": "string"}}}},
                "outputs": {"items": {"properties": {"format": {"type": "string"}}}},
            },
        },
        "quantitativeAnalysis": {
            "properties": {
                "performanceMetrics": {
                    "items": {
                        "additionalProperties": False,
                        "properties": {k: {"type": "string"} for k in ("type", "value", "slice")},
                    }
                }
            }
        },
    },
}
COMPONENT = {
    "type": "object",
    "required": ["type", "name"],
    "additionalProperties": False,
    "properties": {
        "type": {"enum": ["application", "library", "file", "machine-learning-model"]},
        "bom-ref": {"type": "string", "minLength": 1},
        "name": {"type": "string"},
        "version": {"type": "string"},
        "description": {"type": "string"},
        "scope": {"enum": ["required", "optional", "excluded"]},
        "purl": {"type": "string"},
        "hashes": HASHES,
        "licenses": {"type": "array", "items": LICENCE},
        "modelCard": MODEL_CARD,
        "components": {"type": "array", "items": {"$ref": "#/$defs/component"}},
    },
}
SCHEMA = {
    "$schema": "http://json-schema.org/draft-07/schema#",
    "$defs": {"component": COMPONENT},
    "type": "object",
    "required": ["bomFormat", "specVersion"],
    "additionalProperties": False,
    "properties": {
        "$schema": {"const": "http://cyclonedx.org/schema/bom-1.6.schema.json"},
        "bomFormat": {"const": "CycloneDX"},
        "specVersion": {"const": "1.6"},
        "serialNumber": {
            "type": "string",
            "pattern": "^urn:uuid:[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$",
        },
        "version": {"type": "integer", "minimum": 1},
        "metadata": {
            "type": "object",
            "additionalProperties": False,
            "properties": {
                "lifecycles": {"items": {"properties": {"phase": {"const": "build"}}}},
                "tools": {
                    "required": ["components"],
                    "properties": {"components": {"items": {"$ref": "#/$defs/component"}}},
                },
                "component": {"$ref": "#/$defs/component"},
            },
        },
        "components": {"type": "array", "items": {"$ref": "#/$defs/component"}},
        "dependencies": {
            "type": "array",
            "items": {
                "type": "object",
                "required": ["ref"],
                "additionalProperties": False,
                "properties": {
                    "ref": {"type": "string", "minLength": 1},
                    "dependsOn": {"type": "array", "items": {"type": "string"}},
                },
            },
        },
    },
}


def sbom_of(bundle):
    return json.loads(read_bundle(bundle).files["sbom.cdx.json"])


def all_components(bom):
    for component in (bom["metadata"]["component"], *bom["components"]):
        yield component
        yield from component.get("components", [])


@pytest.mark.parametrize("device", DEVICES)
def test_it_keeps_the_rules_of_the_published_schema(bundles, device):
    bom = sbom_of(bundles[device])
    jsonschema.Draft7Validator(SCHEMA).validate(bom)
    references = [component["bom-ref"] for component in all_components(bom)]
    assert len(set(references)) == len(references), "a reference names one component"
    for row in bom["dependencies"]:
        assert {row["ref"], *row["dependsOn"]} <= set(references)


@pytest.mark.parametrize("device", DEVICES)
def test_every_file_of_the_bundle_is_a_component_with_its_hash(bundles, device):
    files = read_bundle(bundles[device]).files
    listed = {c["name"]: c for c in all_components(sbom_of(bundles[device])) if c["type"] == "file"}
    assert set(listed) == set(files) - {"manifest.json", "sbom.cdx.json"}
    for name, component in listed.items():
        sha256 = hashlib.sha256(files[name]).hexdigest()
        assert component["hashes"] == [{"alg": "SHA-256", "content": sha256}]


@pytest.mark.parametrize("device", DEVICES)
def test_the_network_is_a_machine_learning_model_with_card_and_hash(bundles, device):
    bundle = read_bundle(bundles[device])
    (network,) = (
        c for c in all_components(sbom_of(bundles[device])) if c["type"] == "machine-learning-model"
    )
    manifest = bundle.manifest
    assert network["version"] == manifest.architecture_id
    assert network["hashes"][0]["content"] == manifest.files[manifest.model.entry]
    (metric,) = network["modelCard"]["quantitativeAnalysis"]["performanceMetrics"]
    assert float(metric["value"]) == pytest.approx(manifest.accuracy.delivered, rel=1e-5)


@pytest.mark.parametrize(
    ("device", "needed", "optional"),
    [
        ("cpu", {"numpy", "onnxruntime"}, set()),
        ("edge", {"numpy", "openvino"}, {"onnxruntime"}),
        ("gpu", {"numpy", "tensorrt-rtx-cu12"}, {"onnxruntime"}),
    ],
)
def test_the_packages_that_run_py_needs_are_listed_as_installed(bundles, device, needed, optional):
    libraries = [c for c in sbom_of(bundles[device])["components"] if c["type"] == "library"]
    by_scope = {
        scope: {c["name"] for c in libraries if c["scope"] == scope}
        for scope in ("required", "optional")
    }
    assert needed <= by_scope["required"]
    assert optional <= by_scope["optional"]
    assert not by_scope["required"] & by_scope["optional"]
    assert "torch" not in by_scope["required"] | by_scope["optional"]
    for library in libraries:
        assert library["version"] == importlib.metadata.version(library["name"])
        assert library["purl"] == f"pkg:pypi/{library['name']}@{library['version']}"
        assert library["licenses"], "all of these say under which licence they come"


def test_serial_number_comes_from_the_content_and_there_is_no_date(bundles):
    texts = {d: read_bundle(bundles[d]).files["sbom.cdx.json"].decode() for d in DEVICES}
    assert len({json.loads(text)["serialNumber"] for text in texts.values()}) == 3
    assert not any(re.search(r"timestamp|20\d\d-\d\d-\d\dT", text) for text in texts.values())


def test_the_closure_of_a_package_holds_what_it_needs_and_not_its_options():
    found = {package.name: package for package in closure(["onnxruntime"])}
    assert {"numpy", "protobuf", "flatbuffers"} <= set(found)
    assert "sympy" not in found, "an option of onnxruntime's"
    assert set(found["onnxruntime"].requires) <= set(found)


def test_a_package_that_is_not_installed_has_no_version():
    (package,) = closure(["no-such-package"])
    assert (package.name, package.version, package.requires) == ("no-such-package", None, ())


def test_spellings_of_a_name_are_one_package():
    assert next(p.name for p in closure(["tensorrt_rtx"])) == "tensorrt-rtx-cu12"
