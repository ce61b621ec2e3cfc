"""The race's output, of races whose trainings are a formula."""

import json
from pathlib import Path

import pytest

from core.errors import UserError
from models.search.choice import Choice
from models.search.race.contest import Contest
from models.search.race.ledger import Ledger, RacedNetworks
from models.search.race.networks import RacedWeights
from models.search.race.race import Race
from models.search.race.result import RacedDevice, RaceRecord, RaceResult, Side
from models.search.race.store import Store
from models.search.rank.certificate import CertificateRecord
from models.space.architecture import Architecture
from models.space.costs import flops
from tests.races import Formula, contest, networks, runner

NETWORKS = networks(10)
ORDER = {network.id: number for number, network in enumerate(NETWORKS)}
GAP = 0.1


def by_number(network: Architecture, repeat: int, steps: int) -> float:
    return ORDER[network.id] * GAP + 1 / steps + 0.01 * repeat


def side(budget: float | None = 1e7) -> Side:
    return Side(
        lambda network: {"flops": flops(network), "latency_ms": None},
        "flops",
        budget,
        "supernet_accuracy",
    )


def result(root: Path, race: Race, earlier: Ledger | None = None) -> RaceResult:
    sides = {one.device: side() for one in race.contests}
    return RaceResult(race, Store(root / ".race.states", "recipe"), earlier, sides, 0, 50)


def written(root: Path, fleet: list[Contest], **params: object) -> Path:
    """The output of a race in a folder."""
    race = runner(root, Formula(by_number), **params).run(fleet)
    result(root, race).write(root / "race", root / "choices")
    return root / "race"


@pytest.fixture(scope="module")
def out(tmp_path_factory: pytest.TempPathFactory) -> Path:
    fleet = [
        contest("one", NETWORKS[:4], controls=NETWORKS[7:9]),
        contest("two", NETWORKS[2:6]),
    ]
    return written(tmp_path_factory.mktemp("result"), fleet, repeats=1)


def test_everything_is_written(out: Path) -> None:
    files = {str(file.relative_to(out)) for file in out.rglob("*") if file.is_file()}
    finalists = [NETWORKS[n].id for n in (0, 1, 2, 3)]
    assert files == {
        "ledger.json", "race.json", "one.png", "two.png",
        "certificates/one.json", "certificates/two.json",
        *(f"networks/{name}.{kind}" for name in finalists for kind in ("json", "safetensors")),
    }  # fmt: skip
    assert (out / "one.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.slow
def test_the_same_race_is_written_to_the_same_bytes(out: Path, tmp_path: Path) -> None:
    fleet = [
        contest("one", NETWORKS[:4], controls=NETWORKS[7:9]),
        contest("two", NETWORKS[2:6]),
    ]
    again = written(tmp_path, fleet, repeats=1)
    for file in out.rglob("*.*"):
        assert (again / file.relative_to(out)).read_bytes() == file.read_bytes(), file.name


def device(out: Path, name: str) -> RacedDevice:
    return RaceRecord.read(out).devices[name]


def test_the_record_has_every_network_the_winner_first(out: Path) -> None:
    one = device(out, "one")
    assert one.winner == NETWORKS[0].id
    ids = [row.architecture_id for row in one.networks]
    assert ids == [NETWORKS[n].id for n in (0, 1, 2, 3, 7, 8)]
    assert [len(row.rungs) for row in one.networks] == [3, 3, 3, 2, 1, 1]
    assert [row.origins for row in one.networks][-2:] == [("control",)] * 2
    assert one.networks[0].costs == {"flops": flops(NETWORKS[0]), "latency_ms": None}
    assert RaceRecord.read(out).rungs == (4, 8, 16)
    assert RaceRecord.read(out).seed_noise == pytest.approx(0.01)
    # The other device took it to the end, and through a rung that was not compared here.
    assert [row.steps for row in one.networks[3].rungs] == [4, 16]


def test_the_winner_is_the_choice_with_its_reason(out: Path) -> None:
    choice = Choice.read(out.parent / "choices" / "one.json")
    assert choice.architecture == NETWORKS[0]
    assert choice.reason == device(out, "one").reason
    assert choice.reason == (
        "the best of 6 networks in 3 rungs of its training, with an NLL of 0.0625 on the "
        "validation images, 0.1000 below the second"
    )
    assert choice.supernet_accuracy == 0.25


def test_the_lead_over_random_networks_is_told_with_its_interval(out: Path) -> None:
    one, two = device(out, "one"), device(out, "two")
    assert one.lead is not None
    assert one.lead.points == pytest.approx(100 * 0.75 / 4)
    assert (one.lead.controls, one.lead.steps) == (2, 4)
    assert one.statement.startswith(
        "The selected network is ahead of random in the band by 18.75 points ("
    )
    assert one.statement.endswith("after 4 of 16 steps.")
    assert two.lead is None
    assert two.statement == ("No random network of the band was trained, so the lead is not known.")


def test_a_tie_is_explained(tmp_path: Path) -> None:
    def close(network: Architecture, repeat: int, steps: int) -> float:
        return 1 + ORDER[network.id] / 1000 + 0.01 * repeat

    one = contest("one", NETWORKS[:4], preference=lambda network: (-ORDER[network.id],))
    race = runner(tmp_path, Formula(close), repeats=1).run([one])
    found = result(tmp_path, race).record().devices["one"]
    assert found.tie
    assert found.winner == NETWORKS[1].id
    assert found.networks[0].architecture_id == NETWORKS[1].id
    assert found.reason == (
        "one of the two best of 4 networks in 3 rungs of its training: their NLLs on the "
        "validation images differ by 0.0010, less than two trainings of one network do (0.0100), "
        "and it costs less"
    )


def test_the_certificate_orders_a_devices_networks_by_their_first_rung(out: Path) -> None:
    found = CertificateRecord.read(out / "certificates" / "one.json")
    assert found.num_architectures == 6
    assert set(found.tau) == {"supernet_accuracy", "depth", "flops", "parameters", "random"}
    # In this formula the supernet's score is the NLL itself: the order is exactly reversed.
    assert found.tau["supernet_accuracy"].value == -1
    assert [one.architecture_id for one in found.truth] == [
        NETWORKS[n].id for n in (0, 1, 2, 3, 7, 8)
    ]
    assert "4 of 16 steps" in found.evidence
    assert "ahead of random in the band by 18.75 points" in found.statement


def test_a_single_network_has_a_certificate_without_evidence(tmp_path: Path) -> None:
    out = written(tmp_path, [contest("one", NETWORKS[:1])])
    found = CertificateRecord.read(out / "certificates" / "one.json")
    assert {value for tau in found.tau.values() for value in (tau.value, tau.low)} == {None}
    assert "no evidence" in found.statement
    assert device(out, "one").reason.startswith("the best of 1 networks in 3 rungs")


def test_only_networks_whose_weights_are_there_can_be_shared(out: Path, tmp_path: Path) -> None:
    """Of an earlier ledger's finalists, only the winner is trained again for its weights."""
    earlier = Ledger.read(out)
    assert set(RacedNetworks.read(out).finished) == {NETWORKS[n].id for n in (0, 1, 2, 3)}
    one = contest("one", NETWORKS[:4])
    race = runner(tmp_path, Formula(by_number), earlier).run([one])
    result(tmp_path, race, earlier).write(tmp_path / "race", tmp_path / "choices")
    assert set(RacedNetworks.read(tmp_path / "race").finished) == {NETWORKS[0].id}
    with pytest.raises(UserError, match=rf"lacks network {NETWORKS[1].id}"):
        _ = RacedWeights(tmp_path / "race" / "networks", NETWORKS[1]).network
    content = json.loads((tmp_path / "race" / "ledger.json").read_text())
    assert all(row["reused"] for row in content["entries"] if row["repeat"] == 0)


def test_trained_controls_can_be_shared(tmp_path: Path) -> None:
    fleet = [contest("one", NETWORKS[:4], controls=NETWORKS[7:8])]
    out = written(tmp_path, fleet, finish_controls=True)
    assert set(RacedNetworks.read(out).finished) == {NETWORKS[n].id for n in (0, 1, 7)}
