"""A real headless browser for what people look at: Debian's Chromium, driven by Playwright."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

WIDTHS = (1280, 390)
"""Pixels: a laptop and a telephone."""


def executable() -> str | None:
    """Where a Chromium is: `CHROMIUM`, or the first on the path."""
    return os.environ.get("CHROMIUM") or next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)


needs_browser = pytest.mark.skipif(executable() is None, reason="no Chromium on this machine: apt install chromium, or set CHROMIUM")


@contextmanager
def chromium() -> Iterator[Browser]:
    """A headless browser, closed at the end."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        # Root in a container has no sandbox of its own.
        browser = playwright.chromium.launch(executable_path=executable(), args=["--no-sandbox"])
        try:
            yield browser
        finally:
            browser.close()


def cut_off(page: Page) -> list[str]:
    """What reaches beyond the right edge of the page and lies in no box that scrolls: tag and text of each."""
    return page.evaluate(
        """() => {
            const scrolls = (element) => {
                for (let box = element; box && box !== document.body; box = box.parentElement) {
                    if (["auto", "scroll", "hidden"].includes(getComputedStyle(box).overflowX)) return true;
                }
                return false;
            };
            return [...document.body.querySelectorAll("*")]
                .filter((one) => one.getBoundingClientRect().right > document.documentElement.clientWidth + 1 && !scrolls(one))
                .map((one) => `${one.tagName} ${(one.textContent || "").trim().slice(0, 60)}`);
        }"""
    )
