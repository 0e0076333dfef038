"""The viewer over HTTP: what it lists, shows and compares, of good folders and bad ones; and whom it answers."""

import html
import json
import os
import re
import shutil
import socket
import time
from collections import Counter
from pathlib import Path

import httpx
import pytest
from ugly_runs import SCRIPT, UGLY, make_ugly, rewrite

from optimizers import Viewer
from optimizers.evaluation.statistics import paired_comparison
from optimizers.viewer.pages import NotFoundError, Pages
from optimizers.viewer.places import find
from optimizers.viewer.summaries import summary


@pytest.fixture
def site(runs):
    """A client of a viewer that serves the copy."""
    viewer = Viewer(runs, port=0)
    with httpx.Client(base_url=viewer.start(), timeout=60) as client:
        yield client
    viewer.stop()


def get(site, path, **params):
    answer = site.get(path, params=params)
    assert answer.status_code == 200, answer.text
    return answer.text


def listed(runs):
    return {name: summary(place) for name, place in find(runs).places.items()}


def crawled(site, each=3):
    """Pages that links lead to, by their address: of each sort some for every job."""
    seen, waiting, sorts = {}, ["/"], Counter()
    while waiting:
        path = waiting.pop(0)
        sort = path.partition("?")[0], httpx.URL(path).params.get("job")
        if path not in seen and sorts[sort] < each:
            sorts[sort] += 1
            seen[path] = site.get(path)
            links = re.findall(r'href="([^"]+)"', seen[path].text) if sort[0] != "/report" else []
            waiting += [html.unescape(link) for link in links]
    return seen


def test_every_kind_of_job_is_listed_with_what_it_says(recorded):
    found = listed(recorded)
    assert {name: job.kind for name, job in found.items()} == {kind: kind for kind in ("run", "experiment", "compile", "improve", "study")}
    assert {job.state for job in found.values()} == {"finished"} and not any(job.troubles for job in found.values())
    assert {(job.task, job.teacher) for job in found.values()} == {("jsonl", "openai/scripted")}
    assert re.fullmatch(r"\d{4}-\d\d-\d\d \d\d:\d\d", found["run"].changed)
    metrics = json.loads((recorded / "run" / "metrics.json").read_text())
    shown = {score.what: score.value for score in found["run"].scores}
    assert shown["teacher+teacher"] == f"{100 * metrics['conditions']['teacher+teacher']['score']:.1f}%" and "S_D-R+teacher" in shown
    assert [score.what for score in found["study"].scores] == ["trial 0, the recipe"]
    assert all(found[kind].scores and found[kind].reports for kind in found)
    assert find(recorded).others == {"tiny": "a model, no job"}


def test_the_list_shows_it_and_finds_by_words(site):
    page = get(site, "/")
    for word in ("experiment", "compile", "improve", "study", "finished", "openai/scripted", "report.html", "study.html"):
        assert word in page
    assert ">study</a>" in get(site, "/", words="STUDY") and ">improve</a>" not in get(site, "/", words="study")
    assert ">run</a>" not in get(site, "/", kind="experiment")


def test_each_report_is_served_and_runs_no_script(site):
    for job, file in (("run", "report.html"), ("study", "study.html"), ("compile", "compiled.html"), ("improve", "improve.html")):
        answer = site.get("/report", params={"job": job, "file": file})
        assert answer.status_code == 200 and "<h2" in answer.text
        assert (
            "script-src" not in answer.headers["content-security-policy"]
            and "default-src 'none'" in answer.headers["content-security-policy"]
        )


def as_html(text):
    return html.escape(text).replace("&#x27;", "&#39;").replace("&quot;", "&#34;")


def test_no_folder_breaks_a_page_runs_its_markup_or_is_written_to(runs, site):
    make_ugly(runs)

    def state():
        return {path: (path.stat().st_mtime_ns, path.stat().st_size) for path in runs.rglob("*")}

    before = state()
    seen = crawled(site)
    assert len(seen) > 100
    assert not {path: answer.text[-400:] for path, answer in seen.items() if answer.status_code != 200}
    pages = "".join(answer.text for path, answer in seen.items() if not path.startswith("/report"))
    assert as_html(SCRIPT) in pages and as_html(UGLY) in pages
    assert "<script" not in pages and "<img" not in pages and "<b onclick" not in pages
    assert state() == before


def test_what_is_wrong_with_a_folder_is_said(runs, site):
    make_ugly(runs)
    jobs = listed(runs)
    assert jobs["torn metrics"].state == "damaged" and "metrics.json is not valid JSON" in jobs["torn metrics"].troubles[0]
    assert "schema 'list'" in jobs["list metrics"].troubles[0]
    assert "config.toml is no valid TOML" in jobs["torn config"].troubles[0]
    assert jobs["begun"].state == "begun"
    assert jobs["odd study"].state == "damaged" and "another form" in jobs["odd study"].troubles[0]
    assert any(name.startswith("not-utf8-") for name in jobs)
    others = find(runs).others
    assert others["empty"] == "empty" and others["photos"].startswith("no job")
    page = get(site, "/")
    assert "empty: empty" in page and "metrics.json is not valid JSON" in page


def test_a_running_job_is_told_from_one_that_was_killed(runs):
    log = runs / "run" / "log.txt"
    lines = log.read_text().splitlines(keepends=True)
    log.write_text("".join(line for line in lines if " report: " not in line and "evaluate: ended" not in line))
    long_ago = time.time() - 3600
    for path in (runs / "run").rglob("*"):
        os.utime(path, (long_ago, long_ago))
    assert (listed(runs)["run"].state, listed(runs)["run"].why) == (
        "stopped",
        "left in the stage evaluate, and no process is at work there",
    )
    if Path("/proc").exists():
        with log.open():
            assert listed(runs)["run"].state == "stopped", "it is only read"
        with log.open(), log.open("a"):
            assert (listed(runs)["run"].state, listed(runs)["run"].why) == ("running", "stage evaluate")
    log.write_text(log.read_text() + "2026-11-29 04:00:00,000 INFO divide_or_conquer: evaluate: ended after 1.0 s\n")
    with log.open("a") as file:
        file.write("2026-11-29 04:00:00,000 ERROR divide_or_conquer: ValueError: the disk is full\n")
    assert (listed(runs)["run"].state, listed(runs)["run"].why) == ("stopped", "ValueError: the disk is full")


def answers(runs, **params):
    return Pages(runs).answers({"job": "run", **params}).values


def test_answers_are_found_by_condition_verdict_state_and_words(runs):
    path = runs / "run" / "predictions" / "teacher+teacher.jsonl"
    changed = iter(
        [{"score": 0.0}, {"score": 0.5, "reasoning": 'She said "NOTHING" at all'}, {"score": None, "error": "LMTimeoutError: late"}, {}]
    )
    rewrite(path, lambda line: {**line, **next(changed)})
    mine = {"set": "teacher+teacher"}
    assert answers(runs, **mine)["total"] == 4
    assert {verdict: answers(runs, **mine, verdict=verdict)["total"] for verdict in ("right", "wrong", "partly right", "unscored")} == {
        "right": 1, "wrong": 1, "partly right": 1, "unscored": 1
    }  # fmt: skip
    assert answers(runs, **mine, state="failed")["rows"][0].verdict == "unscored"
    assert answers(runs, state="cut_off")["total"] == 4 and answers(runs, state="cut_off", set="student0+teacher")["total"] == 4
    assert answers(runs, words='said "nothing"')["total"] == 1 and answers(runs, words="no such words")["total"] == 0
    assert answers(runs, **mine, words="number 8")["rows"][0].id == "9"
    with pytest.raises(NotFoundError, match="no answers 'nobody'"):
        answers(runs, set="nobody")


def test_a_page_holds_a_part_of_many_answers(runs, site):
    path = runs / "run" / "predictions" / "teacher+teacher.jsonl"
    line = json.loads(path.read_text().splitlines()[0])
    path.write_text("".join(json.dumps({**line, "id": f"q{n}", "question": f"Which is number {n}?"}) + "\n" for n in range(3010)))
    (runs / "run" / "metrics.json").unlink()
    page = get(site, "/answers", job="run", set="teacher+teacher")
    assert page.count("<article") == 25 and "3,010 answers" in page and "Page 1 of 121" in page and 'rel="prev"' not in page
    last = get(site, "/answers", job="run", set="teacher+teacher", page="999999999999999999999")
    assert last.count("<article") == 10 and "Which is number 3009?" in last and 'rel="next"' not in last
    assert get(site, "/answers", job="run", set="teacher+teacher", words="number 2900?").count("<article") == 1


def test_only_the_last_answer_to_a_question_that_is_asked_counts(runs):
    path = runs / "run" / "predictions" / "teacher+teacher.jsonl"
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    again = [{**lines[0], "score": 0.0, "answer": "Paris"}, {**lines[0], "id": "of an earlier data file"}]
    path.write_text(path.read_text() + "".join(json.dumps(line) + "\n" for line in again) + '{"id": "torn')
    found = answers(runs, set="teacher+teacher")
    assert found["total"] == 4 and answers(runs, set="teacher+teacher", verdict="wrong")["rows"][0].answer == "Paris"


def test_lines_that_are_no_answers_are_told_and_answers_that_come_later_are_seen(runs, site):
    path = runs / "run" / "predictions" / "teacher+teacher.jsonl"
    first, *others = path.read_text().splitlines(keepends=True)
    path.write_text(first + "garbage\n" + "".join(others[:-1]))
    page = get(site, "/job", job="run")
    assert "teacher+teacher: 1 line is no answer, the first is line 2" in page
    assert get(site, "/answers", job="run", set="teacher+teacher").count("<article") == 3
    with path.open("a") as file:
        file.write(others[-1])
    assert get(site, "/answers", job="run", set="teacher+teacher").count("<article") == 4


def question(runs, job, of, at=0):
    pages = Pages(runs)
    row = pages.answers({"job": job, "set": of}).values["rows"][at]
    return pages.question({"job": job, "set": of, "question": row.key}).values


ANSWERED = {
    "run": ("single-stage", "teacher+teacher", "S_D-R+teacher", "labels"),
    "experiment": ("jsonl/teacher+teacher", "jsonl/jsonl/rows=6/S_D-R+teacher", "labels of jsonl"),
    "improve": ("round 0, dev", "labels of rounds"),
    "study": ("trial 0", "labels"),
}


@pytest.mark.parametrize("job", ANSWERED)
def test_prompts_and_replies_are_those_that_were_sent(recorded, job):
    """The prompts are not on file; what is shown has the hash that is, so that it is what was sent to the letter."""
    for of in ANSWERED[job]:
        found = question(recorded, job, of)
        card = found["cards"][0]
        assert card.answers.name == of
        stages = {one.stage: one for one in card.exchanges}
        assert set(stages) == ({"answer"} if of == "single-stage" else {"decompose", "solve"})
        for one in stages.values():
            assert found["question"].question in one.messages[-1].text and one.record["text"]
        if "decompose" in stages:
            assert stages["decompose"].record["text"].splitlines() == [step for step, _ in card.reply.steps]
            assert ("Max subquestions: 3" in stages["decompose"].messages[-1].text) and "Who is it?" in stages["solve"].messages[-1].text


def test_a_prompt_that_does_not_have_the_hash_on_file_is_not_shown(runs):
    rewrite(runs / "run" / "predictions" / "calls.jsonl", lambda call: {**call, "prompt": "0" * 16})
    card = question(runs, "run", "teacher+teacher")["cards"][0]
    assert [(one.messages, one.record) for one in card.exchanges] == [((), {}), ((), {})]


def test_what_was_asked_for_another_question_is_not_shown_as_this_ones(runs):
    """As controls give a solver another question's subquestions."""
    other = {"subquestions": ["How old is it?"], "decomposition": "How old is it?"}
    rewrite(runs / "run" / "predictions" / "teacher+teacher.jsonl", lambda line: {**line, **other})
    stages = {one.stage: one for one in question(runs, "run", "teacher+teacher")["cards"][0].exchanges}
    assert not stages["decompose"].record and not stages["solve"].record


def test_compiled_prompts_are_found(runs):
    from optimizers.reports.prompts import Asked, _Form, _written

    shutil.copy(runs / "compile" / "program.json", runs / "run" / "teacher_program.json")
    state = json.loads((runs / "run" / "teacher_program.json").read_text())
    line = {"question": "Where does nobody live?", "context": ""}
    prompts = _written(_Form.of("decompose", Asked(line, {}, state))).values()
    assert any(len(one.messages) > 2 and state["decompose"]["demos"][0]["question"] in one.messages[1].text for one in prompts)


def test_the_labels_of_a_program_of_ones_own_are_read(tmp_path):
    """Its prompts are in no form of ours; what its predictors were given and said is on file."""
    call = ["lookup.predict", {"place": "Oslo", "year": 3}, {"people": ["Ann"]}]
    sample = {"example": "a", "sample": 0, "calls": [call], "prediction": {"people": ["Ann"]}, "usage": {}, "error": None}
    said = {
        "key": "00",
        "example": "a",
        "sample": 0,
        "stage": "program",
        "model": "m",
        "prompt": "0" * 16,
        "text": "It was Ann.",
        "finish": "stop",
    }
    folder = tmp_path / "own"
    folder.mkdir()
    (folder / "samples.jsonl").write_text(json.dumps(sample) + "\n")
    (folder / "traces.jsonl").write_text(json.dumps(said, separators=(",", ":")) + "\n")
    found = question(tmp_path, "own", "labels")
    assert found["question"].question == "place: Oslo; year: 3" and found["cards"][0].reply.answer == "people: Ann"
    assert [(one.stage, one.messages, one.record["text"]) for one in found["cards"][0].exchanges] == [("lookup.predict", (), "It was Ann.")]


def test_a_label_says_what_screening_made_of_it(recorded):
    said = [remark for at in range(12) for remark in question(recorded, "run", "labels", at)["cards"][0].remarks]
    assert "S_D-R, policy oracle: kept" in said and "S_D-R, policy oracle: left out, wrong answer" in said


def test_a_questions_page_has_every_condition_and_leads_to_the_next(recorded):
    pages = Pages(recorded)
    rows = pages.answers({"job": "run", "set": "S_D-R+teacher"}).values["rows"]
    found = pages.question({"job": "run", "set": "S_D-R+teacher", "question": rows[1].key}).values
    assert found["cards"][0].answers.name == "S_D-R+teacher" and len(found["cards"]) == 5
    assert (found["before"], found["behind"]) == (rows[0].key, rows[2].key)
    with pytest.raises(NotFoundError, match="No answer to this question"):
        pages.question({"job": "run", "question": "zz"})


@pytest.fixture
def second(runs):
    """A second run of the same questions: three of one condition wrong, a question of another in other words, another setting."""
    shutil.copytree(runs / "run", runs / "second")
    rewrite(runs / "second" / "predictions" / "S_D-R+teacher.jsonl", lambda line: {**line, "score": float(line["id"] == "3")})
    rewrite(
        runs / "second" / "predictions" / "teacher+teacher.jsonl",
        lambda line: {**line, "question": line["question"] + ("!" if line["id"] == "3" else "")},
    )
    config = runs / "second" / "config.toml"
    config.write_text(
        config.read_text()
        .replace("learning_rate = 0.01", "learning_rate = 0.5")
        .replace("[teacher.options]", '[teacher.options]\napi_key = "sk-very-secret"')
    )
    return runs


def test_two_runs_are_compared_on_the_questions_that_both_answered(second):
    found = Pages(second).compare(["run", "second"], []).values
    rows = {row["first"].name: row for row in found["pairs"]}
    scores = [dict(zip("abcd", values, strict=True)) for values in ([1, 1, 1, 1], [0, 0, 0, 1])]
    expected = paired_comparison(*scores)
    row = rows["S_D-R+teacher"]
    assert (row["delta"], row["wins"], row["losses"], row["n"]) == ("+75.0", "3", "0", "4") and expected.delta == 0.75
    assert row["bounds"] == f"{100 * expected.low:+.1f} to {100 * expected.high:+.1f}"
    assert rows["teacher+teacher"]["n"] == "3"
    assert float(row["p"]) == 1.0 and expected.p == 0.25, "five comparisons are read together"
    differences = {one.name: (one.first, one.second) for one in found["differences"]}
    assert differences == {"training.learning_rate": ("0.01", "0.5"), "teacher.options.api_key": ("not set", "(not shown)")}


def test_the_questions_behind_a_difference_are_a_page(second, site):
    page = get(site, "/compare", job=["run", "second"], set=["S_D-R+teacher", "S_D-R+teacher"])
    links = [html.unescape(link) for link in re.findall(r'href="(/answers[^"]+other_verdict=wrong[^"]*)"', page)]
    metrics = json.loads((second / "second" / "metrics.json").read_text())
    metrics["command"] += " --teacher.options.api_key sk-very-secret"
    (second / "second" / "metrics.json").write_text(json.dumps(metrics))
    run = get(site, "/job", job="second")
    assert links and "sk-very-secret" not in page + run and "--teacher.options.api_key (not shown)" in run
    answer = site.get(links[-1])
    assert answer.text.count("<article") == 3
    behind = site.get(html.unescape(re.search(r'href="(/question[^"]+)"', answer.text)[1])).text
    assert "of second" in behind


def test_an_experiment_is_compared_with_a_run_and_a_run_with_itself(recorded):
    found = Pages(recorded).compare(["run", "experiment"], []).values
    names = {row["first"].name: row["second"].name for row in found["pairs"]}
    assert names["teacher+teacher"] == "jsonl/teacher+teacher" and names["S_D-R+teacher"] == "jsonl/jsonl/S_D-R+teacher"
    assert all(row["n"] == "4" for row in found["pairs"])
    picked = Pages(recorded).compare(["run", "run"], ["single-stage", "teacher+teacher"]).values["picked"]
    assert picked["n"] == "4" and "no difference can be shown" in picked["words"]
    with pytest.raises(NotFoundError, match="3 are chosen"):
        Pages(recorded).compare(["run", "study", "improve"], [])


@pytest.mark.parametrize("host", ["evil.example", "evil.example:8010", "127.0.0.1.evil.example", ""])
def test_another_host_is_refused(site, host):
    """A page that points its own name to this machine would else read the runs."""
    assert site.get("/", headers={"Host": host}).status_code == 400
    assert site.get("/", headers={"Host": "localhost:1"}).status_code == 200


def test_addresses_lead_nowhere_but_to_what_was_found(runs, site):
    (runs.parent / "secret.html").write_text("secret")
    (runs / "run" / "report.html").unlink()
    (runs / "run" / "report.html").symlink_to(runs.parent / "secret.html")
    (runs / "run" / "predictions" / "link.jsonl").symlink_to(runs / "study" / "evaluations.jsonl")
    wanted = [("../runs/run", "metrics.json"), ("..", "secret.html"), ("run", "../../secret.html"), ("run", "config.toml")]
    for job, file in [*wanted, ("run", "report.html"), (str(runs / "run"), "report.html"), ("run\0", "report.html")]:
        answer = site.get("/report", params={"job": job, "file": file})
        assert answer.status_code == 404 and "secret" not in answer.text.replace("secret.html", "")
    for path in ("/../../etc/passwd", "/%2e%2e/secret.html", "/static/../../secret.html", "/job?job=../run"):
        assert site.get(path).status_code == 404
    assert ">link<" not in get(site, "/job", job="run") and ">teacher+<wbr>teacher<" in get(site, "/job", job="run")
    assert site.post("/job").status_code == 405


def test_a_link_in_a_circle_has_an_end(runs):
    (runs / "a loop").symlink_to(runs, target_is_directory=True)
    (runs / "run" / "loop").symlink_to(runs / "run", target_is_directory=True)
    (runs / "another name").symlink_to(runs / "run", target_is_directory=True)
    found = find(runs)
    assert set(found.places) == {"run", "experiment", "compile", "improve", "study"} and set(found.others) == {"tiny"}


def test_one_run_may_be_named_itself(runs):
    assert list(find(runs / "run").places) == ["run"]


def test_a_taken_port_is_told_or_another_one_found(runs, monkeypatch):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(ValueError, match=f"Cannot listen at 127.0.0.1, port {port}"):
            Viewer(runs, port=port).start()
        monkeypatch.setattr("optimizers.viewer.server.PORT", port)
        viewer = Viewer(runs)
        url = viewer.start()
        assert httpx.get(url).status_code == 200 and not url.endswith(f":{port}")
        with pytest.raises(RuntimeError, match="started already"):
            viewer.start()
        viewer.stop()


def test_what_is_missing_is_named(runs, monkeypatch):
    with pytest.raises(ValueError, match="does not exist: name the folder"):
        Viewer(runs / "nowhere")
    with pytest.raises(ValueError, match="is no folder"):
        Viewer(runs / "questions.jsonl")
    monkeypatch.setitem(__import__("sys").modules, "uvicorn", None)
    with pytest.raises(ImportError, match=r"pip install 'divide-or-conquer\[serve\]'"):
        Viewer(runs)
