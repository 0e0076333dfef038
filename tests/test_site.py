"""The documentation as a site: built without a warning, whole in a browser at both widths, and asking nobody else for anything."""

import functools
import http.server
import subprocess
import sys
import threading

import pytest
from browser import WIDTHS, chromium, cut_off, needs_browser
from links import ROOT

pytest.importorskip("mkdocs", reason="the extra docs is not installed")
pytestmark = pytest.mark.slow
SHOWN = ("index", "own_data", "concepts", "settings", "results", "improve", "paper", "log", "api/optimizers")


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    folder = tmp_path_factory.mktemp("site")
    built = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", folder], cwd=ROOT, capture_output=True, text=True
    )
    assert built.returncode == 0, built.stderr
    return folder


@pytest.fixture(scope="module")
def address(site):
    class Silent(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *_):
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Silent, directory=site)) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


def test_public_names_are_in_the_api_pages(site):
    import optimizers
    import programs

    for package in (optimizers, programs):
        text = (site / "api" / f"{package.__name__}.html").read_text()
        left_out = [name for name in package.__all__ if f"#{package.__name__}.{name}" not in text and f'.{name}"' not in text]
        assert not left_out


@needs_browser
def test_pages_are_whole_at_both_widths_and_ask_nobody_else(address):
    asked = []
    with chromium() as browser:
        for width in WIDTHS:
            page = browser.new_page(viewport={"width": width, "height": 900})
            page.on("request", lambda request: asked.append(request.url))
            for name in SHOWN:
                page.goto(f"{address}/{name}.html")
                page.wait_for_function("document.readyState === 'complete'")
                assert not cut_off(page), (width, name)
                assert page.evaluate("[...document.images].every((image) => image.naturalWidth > 0)"), name
    assert not [url for url in asked if not url.startswith((address, "blob:", "data:"))]


@needs_browser
def test_the_search_finds_a_setting_by_a_part_of_its_name(address):
    with chromium() as browser:
        page = browser.new_page()
        page.goto(f"{address}/index.html?q=abstentions")
        links = "[...document.querySelectorAll('.md-search-result__link')]"
        page.wait_for_function(f"{links}.some((link) => link.href.endsWith('#screening'))", timeout=20_000, polling=100)
