"""From login to microscope in a real browser."""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest
import testinfra
from playwright.sync_api import Browser, sync_playwright
from testinfra.host import Host
from visitor import HOME, IDP, PORTAL, SITE, address

CHROMIUM = "/usr/bin/chromium"
#: Screenshots of the last run, for a person to look at.
SHOTS = SITE.parent / "screenshots"
TYPED = "/srv/microscope/typed"


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    names = ", ".join(f"MAP {host} {address(host)}" for host in (PORTAL, IDP))
    quiet = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
             "--disable-background-networking", "--disable-component-update", "--disable-sync",
             f"--host-resolver-rules={names}"]  # fmt: skip
    with sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=CHROMIUM, args=quiet)
        yield started
        started.close()


def _host(name: str) -> Host:
    return testinfra.get_host(f"ansible://{name}?ansible_inventory={SITE}", sudo=True)


def test_from_login_to_microscope(browser: Browser) -> None:
    portal, microscope = _host(PORTAL), _host("microscope.lab.test")
    SHOTS.mkdir(exist_ok=True)
    # The lab's CA is not Chromium's; what the certificate is worth is the other tests' matter.
    context = browser.new_context(ignore_https_errors=True, viewport={"width": 1000, "height": 700})
    page = context.new_page()
    page.goto(f"https://{PORTAL}/")
    page.wait_for_url(f"https://{IDP}/**")
    page.screenshot(path=SHOTS / "1-login.png")
    page.click("button[name=sub][value=alice]")
    page.wait_for_url(f"https://{PORTAL}{HOME}**")
    page.screenshot(path=SHOTS / "2-portal.png")

    page.goto(f"https://{PORTAL}{HOME}files/fs/home/alice/")
    page.fill("#name", "by-browser")
    page.fill("#content", "written from home")
    page.click("#save")
    page.wait_for_selector("text=by-browser")
    page.screenshot(path=SHOTS / "3-files.png")
    found = portal.file("/home/alice/by-browser")
    assert (found.uid, found.mode, found.content_string) == (123456, 0o600, "written from home")

    page.goto(f"https://{PORTAL}{HOME}")
    with context.expect_page() as opened:
        page.click("a.app >> text=Titan of the lab")
    screen = opened.value
    canvas = screen.wait_for_selector("canvas", timeout=30_000)
    time.sleep(2)
    canvas.click()
    screen.keyboard.type("tilt 30", delay=50)
    deadline = time.monotonic() + 15
    while "tilt 30" not in (typed := microscope.check_output(f"cat {TYPED}")):
        assert time.monotonic() < deadline, typed
        time.sleep(0.3)
    screen.screenshot(path=SHOTS / "4-microscope.png")
    context.close()
