import json
import os
import subprocess

import pytest
from dvc.lock import make_lock

from pipelines.graph import GraphError, find_root, read_graph
from pipelines.plan import NEVER, make_plan, restrict_to_devices
from tests.support import ROOT, Repository


def test_the_graph_is_read_from_dvc(toy: Repository):
    graph = read_graph(toy.root)
    assert graph.devices == ("a", "b")
    assert graph["bundle@a"].upstreams == {"probe@a", "train"}
    assert graph["release"].upstreams == {"bundle@a", "bundle@b"}
    assert graph["probe@a"].meta.exclusive
    assert graph["probe@a"].meta.first
    assert graph["source"].meta.retries == 1
    assert graph["bundle@b"].outs == ("out/bundle/b",)
    assert graph["bundle@b"].params == ("devices.b",)
    order = list(graph.stages)
    assert all(order.index(name) < order.index(s.name) for s in graph for name in s.upstreams)


def test_ancestors_follow_the_edges(toy: Repository):
    graph = read_graph(toy.root)
    assert graph.with_ancestors(["probe@a"]) == {"probe@a", "source"}


def test_an_unknown_stage_is_named_with_the_nearest(toy: Repository):
    with pytest.raises(GraphError, match=r"no stage 'relase'.*'release'"):
        read_graph(toy.root)["relase"]


def test_an_unknown_key_in_meta_is_refused(toy: Repository):
    file = toy.root / "dvc.yaml"
    file.write_text(file.read_text().replace("retries: 1", "retrys: 1"))
    with pytest.raises(GraphError, match=r"retrys: unknown key.*'retries'"):
        read_graph(toy.root)


def test_a_broken_dvc_yaml_is_a_graph_error(toy: Repository):
    (toy.root / "dvc.yaml").write_text("stages: [")
    with pytest.raises(GraphError, match=r"dvc\.yaml"):
        read_graph(toy.root)


def test_outside_a_repository_the_message_has_the_fix(tmp_path):
    with pytest.raises(GraphError, match="Run the command inside the cloned folder"):
        find_root(tmp_path)


def test_stages_that_never_ran_have_that_reason(toy: Repository):
    found = make_plan(toy.root).stale
    assert found["source"] == [NEVER]
    assert found["bundle@a"] == [NEVER]


def test_a_changed_param_makes_its_stages_stale_and_names_itself(finished_toy: Repository):
    toy = finished_toy
    assert make_plan(toy.root).stale == {}
    toy.change({"devices": {"b": {"width": 3}}})
    found = make_plan(toy.root).stale
    assert list(found) == ["probe@b", "bundle@b", "release"]
    assert (
        found["probe@b"] == ["devices.b.size modified"] or "devices.b modified" in found["probe@b"]
    )
    assert found["release"] == ["after bundle@b"]


def test_a_plan_for_one_device_leaves_the_others_alone(toy: Repository):
    plan = restrict_to_devices(make_plan(toy.root), ["a"])
    assert set(plan.stale) == {"source", "train", "probe@a", "bundle@a"}


def test_the_release_follows_one_device_if_the_others_are_up_to_date(finished_toy: Repository):
    finished_toy.change({"devices": {"a": {"width": 5}}})
    plan = restrict_to_devices(make_plan(finished_toy.root), ["a"])
    assert list(plan.stale) == ["probe@a", "bundle@a", "release"]


def test_an_unknown_device_is_named_with_the_nearest(toy: Repository):
    toy.change({"devices": {"desktop": {"width": 1}}})
    with pytest.raises(GraphError, match=r"no device 'desktp'. Did you mean 'desktop'"):
        restrict_to_devices(make_plan(toy.root), ["desktp"])


@pytest.mark.slow
def test_a_change_behind_a_link_to_a_file_or_to_the_whole_folder_makes_stale(tmp_path):
    """DVC must follow the links that an image folder may have (data.image_walk)."""
    root, outside = tmp_path / "repository", tmp_path / "outside"
    (outside / "alpha").mkdir(parents=True)
    (outside / "alpha" / "0.png").write_text("0")
    (tmp_path / "1.png").write_text("1")
    (outside / "alpha" / "1.png").symlink_to(tmp_path / "1.png")
    root.mkdir()
    (root / "images").symlink_to(outside)
    (root / "params.yaml").write_text("{}")
    (root / "dvc.yaml").write_text("stages: {look: {cmd: echo, deps: [images]}}")
    subprocess.run(["git", "init", "--quiet"], cwd=root, check=True)
    repository = Repository(root)
    assert repository.dvc("init", "--quiet")[0] == 0
    for change in (tmp_path / "1.png", outside / "alpha" / "0.png", outside / "alpha" / "2.png"):
        assert repository.dvc("repro", "--quiet")[0] == 0
        assert make_plan(root).stale == {}
        change.write_text("changed")
        assert make_plan(root).stale == {"look": ["images modified"]}


def test_the_graph_is_read_while_dvc_runs_and_without_its_locks(finished_toy: Repository):
    toy = finished_toy
    rwlock = toy.root / ".dvc/tmp/rwlock"
    writer = {"pid": os.getpid(), "cmd": "dvc repro"}
    rwlock.write_text(json.dumps({"write": {str(toy.root / "out/train"): writer}}))
    before = rwlock.read_bytes()
    with make_lock(str(toy.root / ".dvc/tmp/lock"), tmp_dir=str(toy.root / ".dvc/tmp")):
        plan = make_plan(toy.root)
    assert "train" not in plan.stale
    assert plan.graph["train"].outs == ("out/train",)
    assert rwlock.read_bytes() == before


def test_a_budget_is_checked_by_a_measurement_that_needs_no_training():
    graph = read_graph(ROOT)
    for device in graph.devices:
        profile = graph[f"profile@{device}"]
        assert profile.meta.first
        assert graph.with_ancestors([profile.name]) == {"fetch", "prepare", profile.name}
