"""Reports of every kind of job, made anew from recorded folders and looked at in a real browser, light and dark, wide and narrow."""

import base64
import io
import tarfile
from itertools import product
from pathlib import Path
from urllib.parse import unquote

import pytest
from browser import WIDTHS, chromium, cut_off, needs_browser

from optimizers.reports import compilation, figures, improvement, study
from optimizers.reports.experiment_report import write_experiment_report
from optimizers.reports.run_report import write_report

WRITERS = {
    "run": write_report,
    "experiment": write_experiment_report,
    "compile": compilation.write_report,
    "improve": improvement.write_report,
    "study": study.write_report,
}
ARCHIVE = Path(__file__).parents[2] / "recorded" / "folders.tar.xz"

pytestmark = [needs_browser, pytest.mark.whole_figures]


@pytest.fixture(scope="module")
def pages(tmp_path_factory):
    """The address of the page of each kind."""
    folder = tmp_path_factory.mktemp("recorded")
    with tarfile.open(ARCHIVE) as archive:
        members = [one for one in archive if not one.name.endswith((".safetensors", "tokenizer.json"))]
        archive.extractall(folder, members, filter="data")
    written = {kind: write(folder / kind) for kind, write in WRITERS.items()}
    return {kind: next(path for path in files if path.suffix == ".html").as_uri() for kind, files in written.items()}


@pytest.fixture(scope="module")
def browser():
    with chromium() as opened:
        yield opened


def shown(browser, address, width, scheme):
    page = browser.new_context(viewport={"width": width, "height": 900}, color_scheme=scheme).new_page()
    page.goto(address)
    return page


def cells_that_are_too_tall(page):
    """Columns that were pressed together until their words stand upon each other."""
    return page.evaluate(
        """() => [...document.querySelectorAll("th, td:not(:first-child)")]
            .filter((one) => one.scrollHeight > 170 && one.textContent.trim().length < 200).map((one) => one.textContent)"""
    )


@pytest.mark.parametrize("kind", WRITERS)
def test_nothing_is_cut_off_and_figures_have_the_colours_of_the_page(browser, pages, kind):
    from PIL import Image

    for width, scheme in product(WIDTHS, ("light", "dark")):
        page = shown(browser, pages[kind], width, scheme)
        assert cut_off(page) == []
        assert page.evaluate("document.documentElement.scrollWidth") <= width
        back = page.evaluate("getComputedStyle(document.body).backgroundColor")
        sources = page.eval_on_selector_all("img", "all => all.map(one => one.currentSrc)")
        assert bool(sources) is (kind != "compile")
        for source in sources:
            image = Image.open(io.BytesIO(base64.b64decode(source.partition(",")[2]))).convert("RGB")
            assert "rgb({}, {}, {})".format(*image.getpixel((0, 0))) == back
            assert image.width == round((figures.NARROW if width == min(WIDTHS) else figures.WIDTH) * 180)
        assert cells_that_are_too_tall(page) == []
        alts = page.eval_on_selector_all("img", "all => all.map(one => one.alt)")
        assert all(alts)
        page.context.close()


@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("kind", WRITERS)
def test_the_contents_lead_to_every_section(browser, pages, kind, width):
    page = shown(browser, pages[kind], width, "light")
    seen = page.locator(".contents").filter(visible=True)
    assert seen.count() == 1
    if width == min(WIDTHS):
        assert not seen.get_by_role("link").first.is_visible()
        seen.locator("summary").click()
    links = seen.get_by_role("link")
    ids = page.eval_on_selector_all("h2", "all => all.map(one => one.id)")
    assert len(set(ids)) == len(ids) > 0
    assert [unquote(link.get_attribute("href")) for link in links.all()] == [f"#{name}" for name in ids]
    links.last.click()
    assert page.evaluate("[...document.querySelectorAll('h2')].pop().getBoundingClientRect().top < innerHeight")
    page.context.close()


def test_a_printed_page_is_light_has_no_contents_and_hides_no_column(browser, pages):
    page = shown(browser, pages["experiment"], 1280, "dark")
    page.emulate_media(media="print")
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
    assert page.locator(".contents").filter(visible=True).count() == 0
    assert set(page.eval_on_selector_all(".wide", "all => all.map(one => getComputedStyle(one).overflowX)")) == {"visible"}
    page.context.close()
