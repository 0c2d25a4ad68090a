"""The report in a real browser: wide and narrow, light and dark."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from cloudlet_deploy.smoke import report
from tests.unit.smoke_campaigns import KNEE_DOOR, full
from tests.unit.test_smoke_report import evil_campaign

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

CHROMIUM = Path("/usr/bin/chromium")
_QUIET = (
    *("--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync"),
)
_SIZES = [(1440, 900), (375, 812)]

pytestmark = pytest.mark.skipif(
    not CHROMIUM.exists(), reason="Chromium is missing: apt-get install chromium"
)


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    with api.sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=CHROMIUM, args=[*_QUIET])
        yield started
        started.close()


@pytest.fixture(scope="module")
def reports(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A long report with a comparison, and one in which every string is an enemy's."""
    there = tmp_path_factory.mktemp("reports")
    before = full(replace(KNEE_DOOR, service=0.6), seed=2)
    return {
        "full": report.write(there / "full", full(), before).report,
        "evil": report.write(there / "evil", evil_campaign(), evil_campaign()).report,
    }


@pytest.fixture(params=_SIZES, ids=["wide", "narrow"])
def size(request: pytest.FixtureRequest) -> tuple[int, int]:
    found: tuple[int, int] = request.param
    return found


@pytest.fixture(params=["light", "dark"])
def scheme(request: pytest.FixtureRequest) -> str:
    found: str = request.param
    return found


class Seen:
    """A page that is open, and all that it said and asked for."""

    def __init__(self, browser: Browser, path: Path, size: tuple[int, int], scheme: str) -> None:
        self.context = browser.new_context(
            viewport={"width": size[0], "height": size[1]},
            color_scheme="dark" if scheme == "dark" else "light",
        )
        self.page: Page = self.context.new_page()
        self.said: list[str] = []
        self.asked: list[str] = []
        self.page.on("console", lambda message: self.said.append(message.text))
        self.page.on("pageerror", lambda error: self.said.append(str(error)))
        self.page.on("dialog", lambda dialog: self.said.append(dialog.message))
        self.page.on("request", lambda request: self.asked.append(request.url))
        self.page.goto(path.as_uri(), wait_until="load")


@pytest.mark.parametrize("name", ["full", "evil"])
def test_the_page_is_quiet_and_fits(
    browser: Browser, reports: dict[str, Path], size: tuple[int, int], scheme: str, name: str
) -> None:
    seen = Seen(browser, reports[name], size, scheme)
    # Of a file there is one request, of anything else none.
    assert seen.asked == [reports[name].as_uri()]
    assert seen.said == []
    width = seen.page.evaluate("[document.documentElement.scrollWidth, innerWidth]")
    assert width[0] <= width[1]
    past = seen.page.evaluate(
        """() => [...document.querySelectorAll("body *")]
            .filter(one => !one.closest(".scroll") && !one.closest("svg"))
            .filter(one => getComputedStyle(one).clipPath === "none")
            .filter(one => one.closest("thead") === null)
            .filter(one => one.getBoundingClientRect().right > innerWidth + 1)
            .map(one => one.outerHTML.slice(0, 80))"""
    )
    assert past == []
    seen.context.close()


def test_every_figure_is_seen(
    browser: Browser, reports: dict[str, Path], size: tuple[int, int], scheme: str
) -> None:
    seen = Seen(browser, reports["full"], size, scheme)
    figures = seen.page.locator("figure svg")
    assert figures.count() == 10
    for index in range(figures.count()):
        figures.nth(index).scroll_into_view_if_needed()
        box = figures.nth(index).bounding_box()
        assert box is not None and box["width"] > 280 and box["height"] > 200
        assert figures.nth(index).is_visible()
    # The smallest text of a figure is still large enough to be read.
    least = seen.page.evaluate(
        """() => Math.min(...[...document.querySelectorAll("figure svg text")]
            .map(one => one.getBoundingClientRect().height))"""
    )
    assert least > 8
    seen.context.close()


def test_text_and_lines_stand_out_from_the_page(
    browser: Browser, reports: dict[str, Path], scheme: str
) -> None:
    seen = Seen(browser, reports["full"], _SIZES[0], scheme)
    ratios = seen.page.evaluate(
        """() => {
            const light = colour => {
                const [r, g, b] = colour.match(/[\\d.]+/g).slice(0, 3).map(v => v / 255)
                    .map(v => v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4);
                return 0.2126 * r + 0.7152 * g + 0.0722 * b;
            };
            const probe = document.body.appendChild(document.createElement("i"));
            const of = name => {
                probe.style.color = `var(--${name})`;
                return light(getComputedStyle(probe).color);
            };
            const ratio = (a, b) => {
                const [low, high] = [of(a), of(b)].sort((x, y) => x - y);
                return (high + 0.05) / (low + 0.05);
            };
            const found = {};
            for (const name of ["ink", "soft", ...[1, 2, 3, 4, 5, 6].map(n => `series-${n}`)])
                found[name] = ratio(name, "card");
            for (const name of ["good", "bad", "warn"])
                found[name] = ratio(name, `${name}-back`);
            return found;
        }"""
    )
    # WCAG: 4.5 for text, 3 for lines and marks.
    least = {name: 3.0 if name.startswith("series") else 4.5 for name in ratios}
    assert {name: ratio for name, ratio in ratios.items() if ratio < least[name]} == {}
    seen.context.close()


def test_wide_tables_scroll_in_their_own_box(browser: Browser, reports: dict[str, Path]) -> None:
    seen = Seen(browser, reports["full"], _SIZES[1], "light")
    box = seen.page.locator("#points .scroll")
    inside = box.evaluate("one => [one.scrollWidth, one.clientWidth]")
    assert inside[0] > inside[1]
    box.focus()
    box.evaluate("one => one.scrollTo(9999, 0)")
    left = seen.page.locator("#points tbody th").first.bounding_box()
    assert left is not None and 0 <= left["x"] < 60, "the name of the point stays in sight"
    seen.context.close()


def test_demands_are_read_without_scrolling_on_a_phone(
    browser: Browser, reports: dict[str, Path]
) -> None:
    seen = Seen(browser, reports["full"], _SIZES[1], "light")
    tags = seen.page.locator("#demands .tag")
    assert tags.count() == 5
    for index in range(5):
        box = tags.nth(index).bounding_box()
        assert box is not None and box["x"] + box["width"] <= 375
    assert "wanted:" in seen.page.evaluate(
        """getComputedStyle(document.querySelector("#demands [data-is]"), "::before").content
           + document.querySelector("#demands [data-is]").dataset.is"""
    )
    seen.context.close()
