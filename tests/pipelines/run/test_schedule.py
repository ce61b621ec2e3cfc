from collections.abc import Mapping

from hypothesis import given
from hypothesis import strategies as st

from pipelines.graph import Graph, Stage, StageMeta
from pipelines.run.schedule import Schedule


def graph_of(upstreams: Mapping[str, set[str]], **meta: StageMeta) -> Graph:
    return Graph(
        {
            name: Stage(name, "", (), (), (), frozenset(before), meta.get(name, StageMeta()))
            for name, before in upstreams.items()
        }
    )


@st.composite
def graphs(draw: st.DrawFn) -> Graph:
    stages = {}
    for number in range(draw(st.integers(1, 12))):
        before = draw(st.sets(st.integers(0, number - 1), max_size=3)) if number else set()
        meta = StageMeta(exclusive=draw(st.booleans()), first=draw(st.booleans()))
        name = f"s{number}"
        stages[name] = Stage(name, "", (), (), (), frozenset(f"s{b}" for b in before), meta)
    return Graph(stages)


@given(graph=graphs(), jobs=st.integers(1, 4), data=st.data())
def test_any_graph_runs_to_its_end_in_order_within_the_jobs(graph, jobs, data):
    schedule = Schedule(graph, graph.stages, jobs)
    failing = data.draw(st.sets(st.sampled_from(sorted(graph.stages))))
    while not schedule.complete:
        while (stage := schedule.next()) is not None:
            assert all(schedule.outcomes[name] == "ran" for name in stage.upstreams)
            assert len(schedule.running) <= jobs
            if stage.meta.exclusive:
                assert schedule.running.keys() == {stage.name}
        name = data.draw(st.sampled_from(sorted(schedule.running)))
        schedule.finish(name, "failed" if name in failing else "ran")
    assert schedule.outcomes.keys() == graph.stages.keys()
    for stage in graph:
        lost = any(schedule.outcomes[name] != "ran" for name in stage.upstreams)
        assert (schedule.outcomes[stage.name] == "not started") == lost


def test_exclusive_stages_let_the_others_go_first_and_first_ones_do_not():
    exclusive = StageMeta(exclusive=True)
    early = StageMeta(exclusive=True, first=True)
    graph = graph_of(
        {"measure": set(), "train": set(), "probe": set()}, measure=exclusive, probe=early
    )
    schedule = Schedule(graph, graph.stages, 3)
    order = []
    while not schedule.complete:
        while (stage := schedule.next()) is not None:
            order.append(stage.name)
        schedule.finish(order[-1], "ran")
    assert order == ["probe", "train", "measure"]


def test_a_failure_stops_only_what_needs_it():
    graph = graph_of(
        {"a": set(), "b": set(), "after_a": {"a"}, "after_b": {"b"}, "end": {"after_a"}}
    )
    schedule = Schedule(graph, graph.stages, 2)
    assert {schedule.next().name, schedule.next().name} == {"a", "b"}
    schedule.finish("a", "failed")
    assert schedule.next() is None
    schedule.finish("b", "ran")
    assert schedule.next().name == "after_b"
    assert schedule.outcomes["after_a"] == schedule.outcomes["end"] == "not started"


def test_upstreams_outside_the_run_are_taken_as_done():
    graph = graph_of({"a": set(), "b": {"a"}})
    assert Schedule(graph, ["b"], 1).next().name == "b"
