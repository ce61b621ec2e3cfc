"""The whole graph on real digits: with Prefect, with plain DVC, repeated, changed and killed.

The tests share one repository after `netwright run`.
"""

import hashlib
import json
import shutil
import signal
import socket
import time
from pathlib import Path

import numpy as np
import psutil
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec
from PIL import Image

from devices.measure.settings import ExportParams
from pipelines.graph import read_graph
from pipelines.plan import make_plan
from pipelines.report.summary import find_imprecise, read_summaries
from tests.serving import SERVE, free_port, scheduled_run
from tests.support import Netwright, Repository, copy_repository, kill_tree

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800)]


def stale(repository: Repository) -> dict[str, list[str]]:
    """The stages that are not up to date, with the reasons."""
    return dict(make_plan(repository.root).stale)


def test_the_release_has_an_entry_per_device(finished: Repository):
    release = json.loads((finished.root / "artifacts/release/release.json").read_text())
    assert release["schema"] == "netwright/release/1"
    assert release["devices"].keys() == {"one", "rtx"}
    assert release["devices"]["one"]["latency_ms"]["measured"] > 0
    assert release["devices"]["rtx"]["latency_ms"]["measured"] is None


def test_strict_latency_holds_back_exactly_the_imprecise_latencies(
    finished: Repository, netwright: Netwright
):
    graph = read_graph(finished.root)
    summaries = read_summaries(finished.root, graph, graph.devices)
    limit = ExportParams.model_validate(finished.params["export"]).max_interval
    rough = find_imprecise(summaries, limit)
    code, output = netwright(finished.root, "run", "--strict-latency")
    assert code == (3 if rough else 0), output
    assert ("--strict-latency holds back" in output) == bool(rough)
    for name, reason in rough.items():
        assert f"{name}: {reason}" in output


def test_the_fleet_has_both_devices_and_sharing_would_change_their_trainings(finished: Repository):
    fleet = json.loads((finished.root / "artifacts/fleet/fleet.json").read_text())
    assert fleet["devices"].keys() == {"one", "rtx"}
    assert sorted(name for users in fleet["shared"].values() for name in users) == ["one", "rtx"]
    assert "All devices together" in (finished.root / "artifacts/release/report.html").read_text()
    finished.change({"fleet": {"share": True}})
    try:
        why = stale(finished)
    finally:
        finished.change({"fleet": {"share": False}})
    assert {name for name, reasons in why.items() if not reasons[0].startswith("after ")} == {
        "race", "fleet",
        *(f"{kind}@{name}" for kind in ("train", "bundle") for name in ("one", "rtx")),
    }  # fmt: skip
    assert "artifacts/choice/share-true/one.json" in str(why["train@one"])


def test_a_run_with_nothing_to_do_runs_no_stage_and_imports_nothing_heavy(
    finished: Repository, netwright: Netwright
):
    assert netwright(finished.root, "run")[0] == 0  # the current params have passed the checks
    lock = (finished.root / "dvc.lock").read_bytes()
    page = finished.root / "artifacts/release/report.html"
    before = page.stat().st_mtime_ns
    program = (
        "import atexit, sys; sys.argv = ['netwright', 'run']\n"
        "heavy = ('torch', 'scipy', 'sklearn', 'matplotlib', 'prefect', 'onnx', 'onnxruntime')\n"
        "atexit.register(lambda: print('heavy:', [m for m in heavy if m in sys.modules]))\n"
        "from pipelines.__main__ import main; main()"
    )
    child = finished.start("-c", program)
    output, _ = child.communicate(timeout=300)
    assert child.returncode == 0, output
    assert "Everything is fresh: no stage had to run." in output
    assert "heavy: []" in output
    assert "started" not in output
    assert "one.tar.gz" in output, "the table is still shown"
    assert (finished.root / "dvc.lock").read_bytes() == lock
    assert page.stat().st_mtime_ns == before, "nothing on it changed"


def test_plain_dvc_killed_in_the_middle_gives_the_same_hashes_from_the_same_latency_tables(
    finished: Repository, tmp_path: Path
):
    other = copy_repository(tmp_path / "other", finished.root)
    start_from_the_same_tables(finished, other)
    command = ("repro", "search@one")
    state = other.root / "artifacts/.supernet.partial/state.pt"
    child = other.start("-m", "dvc", *command)
    until = time.monotonic() + 300
    while not state.is_file():
        assert child.poll() is None, child.communicate()[0]
        assert time.monotonic() < until
        time.sleep(0.001)
    kill_tree(child.pid)
    child.communicate()
    assert state.is_file(), "the stage ended before it was killed"
    code, text = other.dvc(*command, timeout=600)
    assert code == 0, text
    assert "Running stage 'search@one'" in text
    assert not state.exists()
    ours, theirs = finished.hashes(), other.hashes()
    assert {"artifacts/supernet", "artifacts/search/one"} <= theirs.keys()
    assert {path: ours[path] for path in theirs} == theirs


def start_from_the_same_tables(source: Repository, target: Repository) -> None:
    """Copy images and latency tables to `target`, as `dvc pull` would: lock, files, cache."""
    done = {"fetch", "prepare", "profile@one", "profile@rtx"}
    target.lock({name: row for name, row in source.locked.items() if name in done})
    for name in ("raw", "data", "profile"):
        shutil.copytree(source.root / "artifacts" / name, target.root / "artifacts" / name)
    # Without `runs`: with the run cache DVC would not run the stages to compare.
    cache = Path(".dvc/cache/files")
    shutil.copytree(source.root / cache, target.root / cache)


def test_bundles_verify_and_predict(finished: Repository, tmp_path: Path, netwright: Netwright):
    for device in ("one", "rtx"):
        code, output = netwright(finished.root, "verify", bundle_of(finished, device), "--json")
        assert code == 0, output
        assert json.loads(output)["passed"] is True
    image = tmp_path / "image.png"
    Image.fromarray(np.zeros((20, 30, 3), np.uint8)).save(image)
    code, output = netwright(finished.root, "predict", bundle_of(finished, "one"), str(image))
    assert code == 0, output
    name, label, probability = output.split()
    assert name == str(image)
    assert label in "0123456789"
    assert 0 < float(probability) <= 1


def bundle_of(repository: Repository, device: str) -> str:
    return str(repository.root / f"artifacts/bundle/{device}/{device}.tar.gz")


def test_a_damaged_bundle_is_refused(finished: Repository, tmp_path: Path, netwright: Netwright):
    content = bytearray(Path(bundle_of(finished, "one")).read_bytes())
    content[len(content) // 2] ^= 1
    bundle, image = tmp_path / "bundle.tar.gz", tmp_path / "image.png"
    bundle.write_bytes(content)
    Image.fromarray(np.zeros((16, 16), np.uint8)).save(image)
    for command in (("verify", str(bundle)), ("predict", str(bundle), str(image))):
        code, output = netwright(finished.root, *command)
        assert code == 1, output
        assert "Traceback" not in output


def test_a_file_that_is_no_image_is_wrong_use(
    finished: Repository, tmp_path: Path, netwright: Netwright
):
    (tmp_path / "text.png").write_text("not an image")
    for name in ("text.png", "missing.png"):
        path = str(tmp_path / name)
        code, output = netwright(finished.root, "predict", bundle_of(finished, "one"), path)
        assert code == 2, output
        assert name in output
        assert "Traceback" not in output


def test_a_changed_device_makes_only_its_own_branch_stale_and_the_gate_can_hold_it_back(
    finished: Repository, netwright: Netwright
):
    names = ("artifacts/release/report.html", "params.yaml", "dvc.lock")
    before = {name: (finished.root / name).read_bytes() for name in names}
    finished.change({"devices": {"rtx": {"min_accuracy": 1.0}}})
    changed = stale(finished)
    own = {name for name, reasons in changed.items() if not reasons[0].startswith("after ")}
    assert "bundle@rtx" in own
    assert all(name.endswith("@rtx") or name in {"race", "fleet", "release"} for name in own)
    # What precedes the bundle would give the same again: as `dvc commit --force` of these.
    lock = finished.locked
    for name in changed.keys() - {"bundle@rtx", "fleet", "release"}:
        tracked = lock[name].get("params", {}).get("params.yaml", {})
        if "devices" in tracked:
            tracked["devices"]["rtx"]["min_accuracy"] = 1.0
        if "devices.rtx" in tracked:
            tracked["devices.rtx"]["min_accuracy"] = 1.0
    finished.lock(lock)
    assert {name for name in stale(finished) if name.endswith("@rtx")} == {"bundle@rtx"}
    code, output = netwright(finished.root, "run", "--device", "rtx")
    assert code == 3, output
    assert "held back" in output
    assert "accuracy" in output
    for name in ("params.yaml", "dvc.lock"):
        (finished.root / name).write_bytes(before[name])
    assert finished.dvc("checkout", "--quiet", "--force", "dvc.yaml")[0] == 0
    (finished.root / names[0]).write_bytes(before[names[0]])  # not an output of a stage


def test_a_run_records_provenance_and_signs_the_bundles_that_passed(
    finished: Repository, tmp_path: Path, netwright: Netwright
):
    before = (finished.root / "params.yaml").read_bytes()
    private, public = keys(tmp_path)
    finished.change({"signing_key": str(private)})
    archive = Path(bundle_of(finished, "one"))
    signature = archive.with_name("one.tar.gz.sig")
    code, output = netwright(finished.root, "run")
    assert code == 0, output
    assert "Everything is fresh: no stage had to run." in output, "a key makes no stage stale"
    first = signature.read_bytes()
    record = json.loads(archive.with_name("one.tar.gz.provenance.json").read_text())
    assert record["schema"] == "netwright/provenance/1"
    assert record["sha256"] == hashlib.sha256(archive.read_bytes()).hexdigest()
    lock = (finished.root / "dvc.lock").read_bytes()
    assert record["dvc_lock_sha256"] == hashlib.sha256(lock).hexdigest()
    assert record["versions"]["numpy"] == np.__version__
    assert netwright(finished.root, "run")[0] == 0
    assert signature.read_bytes() == first, "a valid signature is kept"
    assert private.read_bytes() not in b"".join(
        file.read_bytes() for file in (finished.root / "artifacts/bundle").rglob("*.*")
    )
    flags = ("--public-key", str(public), "--require-signature")
    code, output = netwright(finished.root, "verify", str(archive), *flags)
    assert (code, "signed by the owner" in output) == (0, True), output
    assert netwright(finished.root, "verify", str(archive), "--require-signature")[0] == 2
    (finished.root / "params.yaml").write_bytes(before)
    assert netwright(finished.root, "run")[0] == 0
    assert not signature.exists(), "without a key the signature is removed"
    assert netwright(finished.root, "verify", str(archive), *flags)[0] == 1


def keys(folder: Path) -> tuple[Path, Path]:
    """A new elliptic-curve key pair."""
    key = ec.generate_private_key(ec.SECP256R1())
    private, public = folder / "key.pem", folder / "key.pub"
    pem = serialization.Encoding.PEM
    private.write_bytes(
        key.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    public.write_bytes(
        key.public_key().public_bytes(pem, serialization.PublicFormat.SubjectPublicKeyInfo)
    )
    return private, public


def test_a_scheduled_run_happens_and_the_server_stops_with_its_process(finished: Repository):
    removed = finished.root / "artifacts/release/release.json"
    content = removed.read_bytes()
    removed.unlink()  # so that the scheduled run has something to do
    port = free_port()
    child = finished.start("-c", SERVE, str(port))
    try:
        began = time.monotonic()
        run = scheduled_run(port, "COMPLETED", 180)
        took = time.monotonic() - began
        started = psutil.Process(child.pid).children(recursive=True)
        child.send_signal(signal.SIGINT)
        output, _ = child.communicate(timeout=60)
    finally:
        if child.poll() is None:
            kill_tree(child.pid)
    assert run["auto_scheduled"] is True
    assert removed.read_bytes() == content, output
    print(f"The scheduled run was complete {took:.0f} s after the start.")
    _, alive = psutil.wait_procs(started, timeout=20)
    assert alive == []
    assert (finished.root / ".netwright/prefect/prefect.db").is_file()


def test_a_port_that_is_taken_is_refused(finished: Repository, netwright: Netwright):
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        command = ("serve", "--cron", "0 3 * * 1", "--port", str(port))
        code, output = netwright(finished.root, *command)
    assert code == 2, output
    assert f"port {port} is in use; choose another with --port." in output
    assert "Traceback" not in output
