"""Calls on the nodes of a Ray cluster: the same files as with threads, and a node that dies costs no row."""

from __future__ import annotations

import threading
import time

import dspy
import pytest
from loopback import chat, serving, too_many
from ray_cluster import ray_cluster
from scripted import two_stage_rule

from optimizers.jobs.jsonlines import read_lines
from optimizers.labelling.collect import collect
from optimizers.settings.load import load_config
from programs import TwoStage
from programs.lms import lm, ray_pool
from programs.lms.ray_pool import lm_on_nodes

QUESTIONS = [
    dspy.Example(id=str(number), question=f"Where is {number}?", context="", answer="Rome").with_inputs("question", "context")
    for number in range(60)
]


@pytest.fixture(scope="module")
def cluster():
    pytest.importorskip("ray")
    with ray_cluster(2) as found:
        yield found


def slow(body):
    time.sleep(0.2)
    return chat(two_stage_rule(body["messages"][-1]["content"]))


def options(address):
    return {"api_base": address, "api_key": "k", "num_retries": 0}


@pytest.mark.slow
def test_samples_are_those_of_threads(cluster, home, tmp_path):
    with serving(slow) as (address, bodies):
        here = collect(TwoStage(), QUESTIONS[:10], folder=tmp_path / "here", lm=lm("openai/m", **options(address)), threads=10)
        there = lm_on_nodes("openai/m", cluster.address, **options(address))
        nodes = collect(TwoStage(), QUESTIONS[:10], folder=tmp_path / "nodes", lm=there, threads=10)
        assert here.done == nodes.done == 10 and len(bodies) == 40
        again = collect(TwoStage(), QUESTIONS[:10], folder=tmp_path / "here", lm=there, threads=10)
        assert again.done == 10 and len(bodies) == 40, "the calls on file are those of the same LM"
    predictions = [
        {line["example"]: line["prediction"] for line in read_lines(tmp_path / name / "samples.jsonl")} for name in ("here", "nodes")
    ]
    assert predictions[0] == predictions[1]
    calls = [sorted(line["key"] for line in read_lines(tmp_path / name / "traces.jsonl")) for name in ("here", "nodes")]
    assert calls[0] == calls[1]


@pytest.mark.slow
def test_a_model_of_the_package_answers_on_a_node(cluster, tiny_model):
    here, there = lm(tiny_model, max_tokens=6), lm_on_nodes(tiny_model, cluster.address, max_tokens=6)
    assert there("Where is it?") == here("Where is it?")


@pytest.mark.slow
def test_what_a_server_says_is_passed_on(cluster, home, monkeypatch):
    refusal = 400, {}, {"error": {"message": "no such model", "type": "invalid_request_error"}}
    with serving(lambda body: refusal) as (address, _), pytest.raises(dspy.LMError, match="no such model"):
        lm_on_nodes("openai/m", cluster.address, **options(address))("Why?")
    monkeypatch.setattr("programs.lms.rate_limits.TOTAL_SECONDS", 0.0)
    with serving(lambda body: too_many(Retry_After="9999")) as (address, _), pytest.raises(dspy.LMRateLimitError):
        lm_on_nodes("openai/m", cluster.address, **options(address))("Why?")


@pytest.mark.slow
def test_another_cluster_than_the_first_is_refused(cluster, home):
    from ray.cluster_utils import Cluster

    port = cluster.address.rpartition(":")[2]
    same = [cluster.address, "auto", f"localhost:{port}"]
    pools = [ray_pool.pool(address) for address in same]
    assert {one._ray.get_runtime_context().gcs_address for one in pools} == {cluster.address}
    assert pools[0] is pools[1] is pools[2], "each would start a process a node, with the models in it once more"
    other = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "object_store_memory": 80_000_000, "include_dashboard": False})
    try:
        assert other.address != cluster.address
        with pytest.raises(ValueError, match=rf"ray='{other.address}' is another Ray cluster than '{cluster.address}'.*own"):
            lm_on_nodes("openai/m", other.address, api_base="http://127.0.0.1:1/v1", api_key="k")
    finally:
        other.shutdown()


@pytest.mark.slow
def test_a_folder_of_our_names_is_passed_over_and_a_node_without_us_told(home, tmp_path, monkeypatch):
    pytest.importorskip("ray")
    for name in ("programs", "optimizers"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "__init__.py").write_text("raise ImportError('somebody else')")
    monkeypatch.chdir(tmp_path)
    with serving(lambda body: chat("Rome")) as (address, _), ray_cluster(1) as cluster:
        asked = lm_on_nodes("openai/m", cluster.address, **options(address))
        assert asked("Where?") == ["Rome"]
        ray_pool._pools.clear()
        monkeypatch.setattr(ray_pool, "_foreign_folder", lambda: "")
        with pytest.raises(dspy.LMError, match=r"No node of .* is left.*somebody else.*Install divide-or-conquer\[ray\] there"):
            asked("Where else?")


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_rows_are_made_once_though_a_node_dies(home, tmp_path, monkeypatch):
    pytest.importorskip("ray")
    monkeypatch.setattr(ray_pool, "CALLS", 4)
    with ray_cluster(2) as cluster, serving(slow) as (address, bodies):
        there = lm_on_nodes("openai/m", cluster.address, **options(address))
        killed = threading.Event()

        def kill(done, total, failed, left):
            if done > 10 and not killed.is_set():
                killed.set()
                cluster.remove_node(cluster.list_all_nodes()[-1], allow_graceful=False)

        collected = collect(TwoStage(), QUESTIONS, folder=tmp_path, lm=there, threads=8, progress=kill)
        assert killed.is_set()
        assert collected.done == 60 and not collected.failed
        lines = [line["example"] for line in read_lines(tmp_path / "samples.jsonl")]
        assert sorted(lines) == sorted(example.id for example in QUESTIONS)
        calls = [line["key"] for line in read_lines(tmp_path / "traces.jsonl")]
        assert len(calls) == len(set(calls)) == 120
        assert 120 <= len(bodies) <= 120 + 8, "at most what the node had under way is asked again"


@pytest.mark.long
@pytest.mark.timeout(300)
def test_two_nodes_answer_twice_as_much_as_one(home, tmp_path, monkeypatch):
    pytest.importorskip("ray")
    monkeypatch.setattr(ray_pool, "CALLS", 2)
    seconds = {}
    with serving(slow) as (address, _):
        for nodes in (1, 2):
            with ray_cluster(nodes) as cluster:
                there = lm_on_nodes("openai/m", cluster.address, **options(address))
                collect(TwoStage(), QUESTIONS[:4], folder=tmp_path / f"warm{nodes}", lm=there, threads=8)
                started = time.monotonic()
                collect(TwoStage(), QUESTIONS[4:44], folder=tmp_path / str(nodes), lm=there, threads=8)
                seconds[nodes] = time.monotonic() - started
    assert seconds[1] / seconds[2] > 1.5, seconds


def test_no_cluster_is_told(home):
    pytest.importorskip("ray")
    with pytest.raises(ValueError, match=r"No Ray cluster at '127\.0\.0\.1:1'.*refused"):
        lm_on_nodes("openai/m", "127.0.0.1:1")


@pytest.mark.parametrize("address", ["localhost", "ray://127.0.0.1:10001", "http://127.0.0.1:8265", "host:port", "localhost:99999", ""])
def test_what_is_no_address_is_told(home, address):
    pytest.importorskip("ray")
    with pytest.raises(ValueError, match=r"an address is 'auto' or HOST:PORT"):
        lm_on_nodes("openai/m", address)


@pytest.mark.slow
def test_what_listens_and_is_no_cluster_is_told(home, monkeypatch):
    pytest.importorskip("ray")
    monkeypatch.setattr(ray_pool, "_PROBE_SECONDS", 8.0)
    with serving(slow) as (address, _):
        place = address.split("/")[2]
        with pytest.raises(ValueError, match=rf"No Ray cluster at '{place}'.*Start one"):
            lm_on_nodes("openai/m", place)
        monkeypatch.setenv("RAY_ADDRESS", place)
        with pytest.raises(ValueError, match=r"No Ray cluster at 'auto'.*Start one"):
            lm_on_nodes("openai/m", "auto")


def test_a_run_on_a_cluster_is_the_same_run():
    from optimizers.settings.views import run_settings

    assert load_config("embedded", {"ray": "auto"}).ray == "auto"
    assert "ray" not in run_settings(load_config("embedded"))
