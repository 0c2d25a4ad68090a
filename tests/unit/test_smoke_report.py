"""The page has every section, says what is incomplete, and shows a server's text as text."""

from __future__ import annotations

import io
import os
import re
import subprocess
import sys
import xml.etree.ElementTree as ET
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import pytest
from PIL import Image

from cloudlet_deploy.errors import RunFailedError
from cloudlet_deploy.smoke import document, plots, report, words
from cloudlet_deploy.smoke.analysis import analyse
from cloudlet_deploy.smoke.types import (
    Campaign,
    Endpoint,
    Failure,
    GeneratorLoad,
    HostFacts,
    Kind,
    Recovery,
    SettingInForce,
)
from tests.unit.smoke_campaigns import (
    PAPER_DOOR,
    SYNTHETIC,
    Door,
    campaign,
    encoded,
    full,
    point,
    quick,
    simulate,
)

EVIL = "<script>alert(1)</script><img src=x onerror=alert(2)>\"'`&{{7*7}}\u202e\x1b[31m\x00\udc80"


class Page(HTMLParser):
    """What a browser would make of the page: its elements and its text."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self._silent = False
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        self._silent = tag == "style"

    def handle_endtag(self, tag: str) -> None:
        self._silent = False

    def handle_data(self, data: str) -> None:
        self.text += "" if self._silent else data

    @property
    def flat(self) -> str:
        """The text with single spaces."""
        return " ".join(self.text.split())

    def ids(self) -> list[str]:
        """Every id, in order."""
        return [found for _tag, attrs in self.tags if (found := attrs.get("id"))]


def page_of(given: Campaign, baseline: Campaign | None = None, *, drawn: bool = False) -> Page:
    now, before = analyse(given), analyse(baseline) if baseline else None
    return Page(report.page(now, before, plots.figures(now, before) if drawn else ()))


def evil_campaign() -> Campaign:
    """A campaign in which every string comes from an enemy."""
    first = replace(
        quick().points[0],
        failures={Failure.STATUS: 3, EVIL: 1},
        examples={Failure.STATUS: EVIL, EVIL: EVIL},
        incomplete=EVIL,
        generators=(GeneratorLoad(EVIL, EVIL, 0.99, 0.99),),
    )
    return replace(
        campaign([first], recovery=Recovery(None, 60.0, 9, EVIL), run_id=EVIL),
        site=EVIL,
        profile=EVIL,
        doors=(Endpoint(EVIL, 8443, EVIL),),
        transfer_servers=(Endpoint(EVIL, 2811, EVIL),),
        settings=(SettingInForce(EVIL, EVIL, EVIL, EVIL),),
        hosts=(HostFacts(EVIL, (EVIL,), 1, 1, EVIL, EVIL),),
        remarks=(EVIL,),
        incomplete=EVIL,
        problems=(EVIL,),
    )


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> tuple[report.Paths, Campaign]:
    given = full()
    directory = tmp_path_factory.mktemp("report") / "new" / "deep"
    return report.write(directory, given, full(seed=2, run_id="before")), given


def test_what_was_written_is_all_there(written: tuple[report.Paths, Campaign]) -> None:
    paths, given = written
    assert document.load(paths.campaign) == given
    assert paths.points.read_text().startswith("number,kind,entries,clients")
    names = {path.name for path in paths.plots}
    wanted = ["rate", "rate-by-size", "time-by-size", "time-against-size"]
    figures = {f"{kind}-{name}" for kind in ("srm", "gridftp") for name in wanted}
    figures |= {"ping-rate", "ping-time-by-size"}
    assert names == {f"{name}.{kind}" for name in figures for kind in ("svg", "png")}
    here = {path.name for path in paths.report.parent.iterdir()}
    assert here == {"report.html", "campaign.json", "points.csv", "plots"}, "no leftovers"


def test_figures_are_pictures(written: tuple[report.Paths, Campaign]) -> None:
    for path in written[0].plots:
        if path.suffix == ".png":
            with Image.open(io.BytesIO(path.read_bytes())) as picture:
                assert picture.width > 600 and len(picture.convert("L").getcolors() or []) > 20
        else:
            root = ET.fromstring(path.read_text(encoding="utf-8"))
            texts = ["".join(one.itertext()) for one in root.iter() if one.tag.endswith("}text")]
            assert any("(" in text or "clients" in text for text in texts)
            assert len(path.read_bytes()) < 60_000


def test_the_page_needs_nothing_else(written: tuple[report.Paths, Campaign]) -> None:
    text = written[0].report.read_text(encoding="utf-8")
    page = Page(text)
    assert {tag for tag, _attrs in page.tags}.isdisjoint({"script", "img", "iframe", "object"})
    for _tag, attrs in page.tags:
        for name in ("src", "href", "xlink:href"):
            assert (attrs.get(name) or "#").startswith(("#", "data:,"))
    assert not re.search(r"@import|url\((?!#)", text)
    assert "default-src 'none'" in text


def test_every_section_is_there(written: tuple[report.Paths, Campaign]) -> None:
    page = Page(written[0].report.read_text(encoding="utf-8"))
    order = ["verdict", "remarks", "demands", "figures", "points", "comparison", "laws", "errors"]
    order += ["generators", "settings", "hosts", "method"]
    found = page.ids()
    assert [one for one in found if one in order] == order
    assert len(found) == len(set(found)), "the ids of several figures must not meet"
    assert sum(tag == "figure" for tag, _attrs in page.tags) == 10
    for said in (
        "The door carries 1,000 clients that list 10 entries each",
        "recovered",
        "Not to be told apart from the baseline",
        "bestman_container_threads",
        "BeStMan 2.3 (stand-in)",
        SYNTHETIC,
        "coordinated omission",
        "A new session for each operation",
        "first 20 s are not counted",
        "cold caches",
        "connect to srm.example.org:8443: refused",
        "nothing listens, or the accept queue is full",
        "R² >0.999",
    ):
        assert said in page.flat, said
    assert "incomplete" not in found and "Incomplete" not in page.flat


def test_an_incomplete_run_says_so_first() -> None:
    given = replace(quick(), incomplete="interrupted by the user")
    page = page_of(given)
    sections = [attrs.get("id") for tag, attrs in page.tags if tag == "section"]
    assert sections[0] == "incomplete"
    assert "did not come to its end: interrupted by the user." in page.flat
    assert "does not hold" in page.flat


def test_a_lost_worker_is_named_at_the_top() -> None:
    given = quick()
    lost = replace(given.points[2], incomplete="worker-2 was lost")
    page = page_of(replace(given, points=(*given.points[:2], lost)))
    assert "500 clients, 10 entries: worker-2 was lost." in page.flat
    assert page.ids()[0] == "incomplete"


def test_strings_of_an_enemy_are_text_and_nothing_else(tmp_path: Path) -> None:
    paths = report.write(tmp_path, evil_campaign(), evil_campaign())
    text = paths.report.read_text(encoding="utf-8")
    page = Page(text)
    tags = {tag for tag, _attrs in page.tags}
    assert tags.isdisjoint({"script", "img"})
    assert not any(name.startswith("on") for _tag, attrs in page.tags for name in attrs)
    assert page.flat.count("<script>alert(1)</script>") > 15
    assert page.flat.count("{{7*7}}") > 15
    assert not re.search("[\x00-\x08\x0b-\x1f\u202e]", text)
    assert document.load(paths.campaign) == evil_campaign()


def test_a_text_without_end_is_cut() -> None:
    assert words.clean("x" * 10_000_000) == "x" * 400 + "…"
    assert words.clean("a\u202eb\x1b[0m\ud800") == "a\ufffdb\ufffd[0m\ufffd"
    assert words.clean("Ünïcode & spaces ok") == "Ünïcode & spaces ok"


def test_a_campaign_without_points_has_a_page(tmp_path: Path) -> None:
    given = replace(campaign([]), hosts=(), settings=(), remarks=(), doors=())
    paths = report.write(tmp_path, given)
    page = Page(paths.report.read_text(encoding="utf-8"))
    assert "No point was measured." in page.flat
    assert "Not read in this run." in page.flat
    assert paths.plots == ()


def test_a_door_that_served_nothing_has_a_page(tmp_path: Path) -> None:
    dead = [
        replace(one, successes=0, total=encoded([]), connect=encoded([]),
                authentication=encoded([]), operation=encoded([]), per_second=(0,) * 20,
                failures={Failure.REFUSED: 9})
        for one in quick().points
    ]  # fmt: skip
    page = Page(report.write(tmp_path, campaign(dead)).report.read_text(encoding="utf-8"))
    assert "does not carry 50 clients: 100 % of their listings failed" in page.flat
    assert page.flat.count("nothing succeeded") == 5


def test_load_hosts_that_were_busy_stand_out() -> None:
    given = quick()
    loads = (GeneratorLoad("worker-1", "load1", 0.97, 0.5),)
    page = page_of(replace(given, points=(replace(given.points[0], generators=loads),)))
    assert "cautions" in page.ids()
    assert "The load host load1 was the bottleneck" in page.flat
    assert ("details", {"open": None}) in page.tags


def test_the_papers_line_is_drawn_and_does_not_squash_the_data() -> None:
    for door, clients, said in (
        (PAPER_DOOR, (200, 1000, 2000), "is the dashed line"),
        (Door(slots=2000, service=0.1), (50, 100, 200), "is the dashed line"),
        (Door(slots=1, service=1), (100, 200, 400), "is off this scale"),
    ):
        points = [simulate(replace(point(n), warm_up=60.0), door) for n in clients]
        plot = plots.figures(analyse(campaign(points)))[0]
        assert said in plot.caption
        root = ET.fromstring(plot.svg)
        texts = ["".join(one.itertext()) for one in root.iter() if one.tag.endswith("}text")]
        top = max(float(t.replace(",", "")) for t in texts if re.fullmatch(r"[\d,.]+", t)
                  and float(t.replace(",", "")) not in clients and _is_value(root, t))  # fmt: skip
        best = max(one.successes / one.window for one in points)
        assert best / 3 < top < 4 * best


def _is_value(root: ET.Element, text: str) -> bool:
    """Whether it is a label of the value axis: those end at the same place, right-aligned."""
    return any(
        "".join(one.itertext()) == text and "end" in one.get("style", "")
        for one in root.iter()
        if one.tag.endswith("}text")
    )


def test_beyond_the_papers_trouble_it_is_marked() -> None:
    points = [simulate(replace(point(n), window=20.0), PAPER_DOOR) for n in (1000, 3000)]
    plot = plots.figures(analyse(campaign(points)))[0]
    assert "paper: trouble beyond 2,500" in plot.svg
    assert "outside this figure" not in plot.caption


def test_gridftp_and_ping_have_no_line_of_the_papers() -> None:
    points = [simulate(replace(point(9, 0, Kind.PING), window=20.0), Door())]
    assert all("paper" not in plot.svg for plot in plots.figures(analyse(campaign(points))))


def test_the_same_campaign_gives_the_same_bytes() -> None:
    now = analyse(quick())
    once, again = plots.figures(now), plots.figures(now)
    assert once == again
    assert report.page(now, None, once) == report.page(now, None, again)


def test_every_colour_of_a_figure_follows_the_page() -> None:
    for plot in plots.figures(analyse(full())):
        assert not re.search(r"#[0-9a-f]{6}", plots.inline(plot).replace('href="#', ""))


def test_a_place_that_cannot_be_written_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(RunFailedError, match="cannot be written") as caught:
        report.write(tmp_path / "file" / "below", quick())
    assert "permissions" in caught.value.next_step


def test_nothing_slow_is_imported_for_the_help() -> None:
    code = (
        "import sys, cloudlet_deploy.cli, cloudlet_deploy.smoke.types, cloudlet_deploy.smoke.words;"
        "print([m for m in ('numpy', 'scipy', 'matplotlib') if m in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, env=os.environ, check=True
    )
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize(
    ("said", "wanted"),
    [
        (words.duration(0.0004567), "0.457 ms"),
        (words.duration(0.9996), "1.00 s"),
        (words.duration(0.0), "0 ms"),
        (words.duration(12.34), "12.3 s"),
        (words.duration(3600), "3,600 s"),
        (words.duration(None), words.NONE),
        (words.duration(float("nan")), words.NONE),
        (words.hertz(1234.5), "1,234 Hz"),
        (words.share(0), "0 %"),
        (words.share(0.00001), "<0.01 %"),
        (words.share(0.99999), "99.99 %"),
        (words.share(1), "100 %"),
        (words.share(0.153), "15.3 %"),
        (words.change(-0.05), "\N{MINUS SIGN}5.0 %"),
    ],
)
def test_numbers_read_well(said: str, wanted: str) -> None:
    assert said == wanted
