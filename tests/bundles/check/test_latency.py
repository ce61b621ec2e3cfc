"""`verify` with a measurement of latency."""

from pathlib import Path

import pytest

from bundles.check.verify import Check, verify
from tests.bundles.forging import Change, saved, thorough


def measured(bundle: Path, change: Change, folder: Path) -> Check:
    """The check `latency` of a changed bundle."""
    check = verify(saved(folder, thorough(bundle, change)), latency=True).checks[-1]
    assert check.name == "latency"
    return check


def test_latency_is_measured_only_on_request_and_compared_with_the_budget(bundles, tmp_path):
    check = verify(bundles["cpu"], latency=True).checks[-1]
    assert (check.name, check.passed) == ("latency", True)
    assert "within the budget of 50 ms" in check.detail
    assert "95% interval" in check.detail
    assert "when it was built" in check.detail

    def tighter(content, files):
        content["device"]["budget"]["latency_ms"] = content["latency_ms"]["budget"] = 1e-6

    slow = measured(bundles["cpu"], tighter, tmp_path)
    assert not slow.passed
    assert "over the budget of 1e-06 ms" in slow.detail


def test_latency_is_normalised_to_the_profiles_reference(bundles, tmp_path):
    def longer(content, files):
        content["latency_ms"]["reference"]["ms"] = 1e6

    slow = measured(bundles["cpu"], longer, tmp_path)
    assert not slow.passed, "a machine's own milliseconds would be within the budget"
    assert "over the budget of 50 ms" in slow.detail


def other_machine(content, files):
    content["latency_ms"]["reference"]["machine"]["processor"] = "another"
    content["latency_ms"]["reference"]["ms"] = 1e6


def in_milliseconds(content, files):
    other_machine(content, files)
    content["latency_ms"]["share"] = None


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (other_machine, "is not compared: the budget is 0.5 of the largest network's latency"),
        (in_milliseconds, "within the budget of 50 ms"),
    ],
)
def test_on_another_machine_latency_is_not_normalised(bundles, tmp_path, change, words):
    check = measured(bundles["cpu"], change, tmp_path)
    assert check.passed
    assert words in check.detail
    assert "not the machine of the budget (processor was 'another'" in check.detail


def huge(content, files):
    for block in content["latency_ms"]["reference"]["architecture"]["blocks"]:
        for key in {"in_channels", "out_channels"} & set(block):
            block[key] *= 10**6


@pytest.mark.parametrize(
    "change",
    [
        lambda content, files: content["latency_ms"]["reference"].update(architecture={}),
        lambda content, files: content["latency_ms"]["reference"]["architecture"].update(blocks=[]),
        huge,
    ],
)
def test_a_malformed_or_huge_reference_network_is_refused(bundles, tmp_path, change):
    check = measured(bundles["cpu"], change, tmp_path)
    assert not check.passed
    assert "the manifest's reference network" in check.detail


def test_a_bundle_without_intervals_is_still_valid(bundles, tmp_path):
    def older(content, files):
        for key in ("interval", "share", "reference"):
            del content["latency_ms"][key]
        del content["device"]["budget"]["latency_share"]

    verification = verify(saved(tmp_path, thorough(bundles["cpu"], older)), latency=True)
    assert verification.passed
    assert "within the budget of 50 ms" in verification.checks[-1].detail


def test_latency_that_cannot_be_measured_is_a_failed_check_with_a_reason(bundles):
    check = verify(bundles["gpu"], latency=True).checks[-1]
    assert (check.name, check.passed) == ("latency", False)
    assert "cannot be measured. No NVIDIA GPU" in check.detail
