"""The viewer as people use it: in a real browser, at both widths, in light and dark."""

import re
import signal

import pytest
from browser import WIDTHS, chromium, cut_off, needs_browser
from command_line import command
from ugly_runs import UGLY, make_ugly, rewrite

pytestmark = needs_browser


@pytest.fixture
def address(runs):
    """Of a viewer that the command line started."""
    make_ugly(runs)
    rewrite(runs / UGLY / "predictions" / "S_D-R+teacher.jsonl", lambda line: {**line, "score": 0.0})
    process = command("view", str(runs), "--no-open", "--port", "0")
    line = process.stdout.readline()
    yield re.search(r"http://127\.0\.0\.1:\d+", line)[0]
    process.send_signal(signal.SIGINT)
    output = process.communicate(timeout=30)[0]
    assert process.returncode == 0 and "Traceback" not in output, output


def test_from_the_list_to_a_prompt(address):
    with chromium() as browser:
        page = browser.new_page()
        wrong = []
        page.on("console", lambda message: wrong.append(message.text) if message.type == "error" else None)
        page.on("pageerror", lambda error: wrong.append(str(error)))
        page.goto(address)
        page.get_by_label("Compare run", exact=True).check()
        page.get_by_label(f"Compare {UGLY}", exact=True).check()
        page.get_by_role("button", name="Compare the two that are marked").click()
        assert page.locator("h1").inner_text().splitlines() == ["A: run", f"B: {UGLY}"]
        row = page.get_by_role("row").filter(has_text="S_D-R+teacher")
        assert "+100.0" in row.inner_text()
        row.get_by_role("link", name="4").first.click()
        assert page.locator("article").count() == 4
        page.locator("article a").first.click()
        card = page.locator("article").first
        assert "right" in card.inner_text() and "wrong" in page.locator("article").filter(has_text=f"of {UGLY}").inner_text()
        summary = card.locator("summary", has_text="Stage decompose")
        assert not card.get_by_text("Max subquestions").is_visible()
        summary.click()
        assert card.get_by_text("Max subquestions").is_visible()
        page.get_by_role("link", name="Next").click()
        page.get_by_role("link", name="Questions").click()
        page.get_by_label("Condition").select_option("teacher+teacher")
        page.get_by_label("Text").fill("<SCRIPT>")
        page.get_by_label("Answer").select_option("right")
        page.get_by_role("button", name="Show").click()
        assert not wrong


def test_markup_of_others_is_not_run(address):
    with chromium() as browser:
        page = browser.new_page()
        page.goto(address)
        page.get_by_role("link", name=UGLY).click()
        page.get_by_role("link", name="teacher+teacher", exact=True).click()
        page.locator("article a").first.click()
        assert "<script>" in page.locator("h1").inner_text()
        assert "hacked" not in page.title() and page.locator("script, img").count() == 0


def paths(page):
    """A page of each sort, reached by its links."""
    page.get_by_role("link", name="run", exact=True).click()
    yield "job"
    page.get_by_role("link", name="Questions").click()
    yield "answers"
    page.locator("article a").first.click()
    for summary in page.locator("article").first.locator("summary").all():
        summary.click()
    yield "question"
    page.goto(page.url.split("/question")[0] + "/compare?job=run&job=experiment&set=teacher%2Bteacher&set=jsonl%2Fteacher%2Bteacher")
    yield "compare"
    page.goto(page.url.split("/compare")[0] + "/job?job=gone")
    yield "error"


@pytest.mark.parametrize("width", WIDTHS)
def test_nothing_is_cut_off_and_dark_is_dark(address, width):
    with chromium() as browser:
        for scheme, background in (("light", "rgb(255, 255, 255)"), ("dark", "rgb(22, 24, 27)")):
            page = browser.new_page(viewport={"width": width, "height": 900}, color_scheme=scheme)
            page.goto(address)
            assert cut_off(page) == []
            for name in paths(page):
                page.wait_for_load_state()
                assert cut_off(page) == [], name
                assert page.evaluate("document.documentElement.scrollWidth <= document.documentElement.clientWidth"), name
                assert page.evaluate("getComputedStyle(document.body).backgroundColor") == background
