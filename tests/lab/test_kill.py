"""An apply that is killed, in whatever way and at whatever moment, is finished by the next one.

The door goes from one configuration to another and back. On each way an apply is stopped at an
exact moment, the door is looked at (was that moment really hit? is every file old or new?),
something is killed, and the next apply must leave the door as an apply that nobody disturbed.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import pytest

from cloudlet_deploy import lab as labs
from tests.lab.conftest import DOOR, TestLab, set_values
from tests.lab.killing import STATE, UNIT, Apply, Rig, Sight
from tests.lab.processes import await_gone

pytestmark = pytest.mark.lab

#: Five files differ, one of which only the first configuration has.
SETTINGS: dict[str, dict[str, Any]] = {
    "first": {
        "bestman_fs_concurrency": 40,
        "bestman_container_threads": 256,
        "bestman_heap_mb": 512,
        "bestman_sudo": True,
    },
    "second": {
        "bestman_fs_concurrency": 41,
        "bestman_container_threads": 300,
        "bestman_heap_mb": 400,
        "bestman_sudo": False,
    },
}
DIFFERENT = 5
ONLY_DOOR = ("--limit", DOOR, "--component", "bestman")
PLAIN_DOOR = ("--limit", DOOR, "--tags", "bestman")

_SET = f"{STATE}/sets/bestman"
JOURNAL = rf"^os\.rename .* {_SET}/journal\.json"
STAGED = r"^open \S*/\.cloudlet-[0-9a-f]{8}-"
KEPT = rf"^os\.mkdir {_SET}/generations/\d"
SWAP = rf"^os\.rename \S*/\.cloudlet-\S+ (?!{STATE})|^os\.remove /etc/sudoers\.d/cloudlet-bestman2"
MANIFEST = rf"^os\.rename .* {_SET}/manifest\.json"
END = rf"^os\.remove {_SET}/journal\.json"
RELOAD = "^subprocess.Popen .*systemctl daemon-reload"
RESTART = f"^subprocess.Popen .*systemctl restart {UNIT}"
SHOW = "^subprocess.Popen .*systemctl show"


@dataclass(frozen=True)
class Moment:
    """Where a module waits (before the call that the last step matches), and what is so then.

    ``swapped``: files that are new. ``staged``: files that wait to be renamed, or None where
    that is of no interest. ``unit``: the service runs with the "old" configuration, is "coming"
    with the new one, or is "new".
    """

    name: str
    steps: tuple[str, ...]
    journal: str | None = None
    staged: int | None = 0
    swapped: int = DIFFERENT
    committed: bool = True
    unit: str = "old"


def before_swap(number: int, steps: int | None = None) -> Moment:
    """Before file ``number`` is renamed, or removed; counted by this call from the one before."""
    return Moment(
        f"swap {number}",
        (SWAP,) * (steps or number),
        "commit",
        staged=None,
        swapped=number - 1,
        committed=False,
    )


STAGING = (
    Moment("no journal", (JOURNAL,), None, 0, 0, False),
    Moment("staging journal", (STAGED,), "staging", 0, 0, False),
    Moment("half staged", (STAGED,) * 3, "staging", 2, 0, False),
    Moment("staged", (KEPT,), "staging", None, 0, False),
    Moment("before the commit journal", (JOURNAL, JOURNAL), "staging", None, 0, False),
)
RECORDING = (
    Moment("before the manifest", (MANIFEST,), "commit", committed=False),
    Moment("before the end of the journal", (END,), "commit"),
)
RESTARTING = (
    Moment("before the daemon-reload", (RELOAD,)),
    Moment("before the restart", (RESTART,)),
    Moment("in the restart", (), unit="coming"),
)
AFTER = Moment("after the restart", (RESTART, SHOW), unit="new")
SWAPPING = tuple(before_swap(number) for number in range(1, DIFFERENT + 1))
MOMENTS = (*STAGING, *SWAPPING, *RECORDING, *RESTARTING, AFTER)
NAMED = {moment.name: moment for moment in MOMENTS}

#: How long tether may need, in seconds.
_GONE = 3.0


def other(configuration: str) -> str:
    """The one of the two that ``configuration`` is not."""
    return "second" if configuration == "first" else "first"


@dataclass
class Story:
    """The door between two configurations."""

    rig: Rig
    looks: dict[str, Sight] = field(default_factory=dict)
    paths: set[str] = field(default_factory=set)
    current: str | None = None

    def configure(self, name: str) -> None:
        set_values(self.rig.lab.site / "host_vars" / f"{DOOR}.yml", **SETTINGS[name])

    def swapped(self, sight: Sight, old: str, new: str) -> int:
        """How many of the files that differ are new; fails if one is neither old nor new."""
        found, before, after = (s.of(self.paths) for s in (sight, self.looks[old], self.looks[new]))
        torn = [p for p in self.paths if found[p] not in (before[p], after[p])]
        assert not torn
        return sum(found[p] == after[p] != before[p] for p in self.paths)

    def check_moment(self, sight: Sight, moment: Moment, before: Sight, new: str) -> None:
        """The door is where the moment says, so that what is killed is killed there."""
        assert sight.journal == moment.journal
        assert self.swapped(sight, other(new), new) == moment.swapped
        assert sight.generation == before.generation + moment.committed
        if moment.staged is not None:
            assert len([p for p in sight.staged if p.startswith("/etc")]) == moment.staged
        elif moment.journal == "staging":
            assert len([p for p in sight.staged if p.startswith("/etc")]) >= DIFFERENT - 1
        state = "activating" if moment.unit == "coming" else "active"
        assert sight.unit["ActiveState"] == state
        restarted = sight.unit["InvocationID"] != before.unit["InvocationID"]
        assert restarted == (moment.unit != "old")

    def check_done(self, before: Sight, new: str, *, generations: int = 1) -> None:
        """The door is as after an apply that nobody disturbed, and nothing is left to do."""
        sight, control = self.rig.look(), self.looks[new]
        assert sight.staged == sight.journals == []
        # No other hand was at work, so nothing is kept for its owner.
        assert sight.aside == []
        assert sight.files == control.files
        assert sight.managed == control.managed
        # Their contents but the secret key's, and the record of them.
        assert len(sight.kept) == len(sight.managed)
        assert sight.generation == before.generation + generations
        assert sight.unit["ActiveState"] == "active"
        assert sight.unit["InvocationID"] != before.unit["InvocationID"]
        assert f"-Xmx{SETTINGS[new]['bestman_heap_mb']}m" in sight.unit["command"]
        assert started(sight) >= sight.in_place
        further = self.rig.lab.apply(*ONLY_DOOR)
        assert "Nothing to do." in further.stdout + further.stderr
        self.current = new

    def check_observed(self) -> None:
        """All that the observer ever saw of a file is one of its two versions."""
        versions = {
            name: {json.dumps([path, look.files.get(path)]) for path in self.paths}
            for name, look in self.looks.items()
        }
        assert self.rig.observed <= versions["first"] | versions["second"]
        assert self.rig.observed > versions[str(self.current)]


def started(sight: Sight) -> float:
    """When the service's process started, in seconds of the host's clock."""
    told = sight.unit["ExecMainStartTimestamp"]
    return datetime.strptime(told, "%a %Y-%m-%d %H:%M:%S.%f %Z").replace(tzinfo=UTC).timestamp()


def kill_cli(rig: Rig, apply: Apply) -> None:
    """The CLI alone: what it started ends by itself, the module on the host goes on."""
    assert await_gone(apply.kill(), _GONE) == []
    assert apply.left_behind() == []


def kill_everything(rig: Rig, apply: Apply) -> None:
    """The CLI and every process that it started; the module on the host goes on."""
    assert await_gone(apply.kill_all(), _GONE) == []


def kill_session(rig: Rig, apply: Apply) -> None:
    """What runs in the run's ssh session on the host, the module too."""
    rig.kill_sessions("session")
    assert apply.process.wait(90) in (apply.unreachable, apply.failed), apply.output()


def kill_sshd(rig: Rig, apply: Apply) -> None:
    """The sshd processes of the run alone: the module goes on without anybody to tell."""
    rig.kill_sessions("sshd")
    assert apply.process.wait(90) == apply.unreachable, apply.output()


def kill_host(rig: Rig, apply: Apply) -> None:
    """The host, as by a power cut."""
    labs.kill(rig.lab.name, DOOR)
    labs.start(rig.lab.name, DOOR)
    assert apply.process.wait(90) == apply.unreachable, apply.output()


KINDS = {
    "CLI": kill_cli,
    "all of the CLI": kill_everything,
    "session": kill_session,
    "sshd": kill_sshd,
    "host": kill_host,
}


@pytest.fixture(scope="module")
def story(lab: TestLab, tmp_path_factory: pytest.TempPathFactory) -> Story:
    """Both configurations applied undisturbed, as the controls of all that follows."""
    story = Story(Rig(lab, tmp_path_factory.mktemp("kill")))
    story.rig.prepare()
    story.configure("first")
    lab.apply()
    story.looks["first"] = story.rig.look()
    story.configure("second")
    lab.apply(*ONLY_DOOR)
    story.looks["second"] = story.rig.look()
    story.current = "second"
    story.paths = {path for look in story.looks.values() for path in look.managed}
    assert story.swapped(story.looks["second"], "first", "second") == DIFFERENT
    return story


@pytest.fixture
def way(story: Story) -> Iterator[tuple[Sight, str]]:
    """The door before, under observation, and the configuration to bring it to."""
    if story.current is None:
        story.configure("first")
        story.rig.lab.apply(*ONLY_DOOR)
        story.current = "first"
    new = other(story.current)
    story.current = None
    story.configure(new)
    before = story.rig.look()
    with story.rig.observer(story.paths):
        yield before, new
    if story.current is not None:
        story.check_observed()


def stop_and_kill(
    story: Story, moment: Moment, kind: str, way: tuple[Sight, str], *, plain: bool = False
) -> None:
    """One apply, or ``plain`` run of its playbook, that ends by violence at ``moment``."""
    rig = story.rig
    before, new = way
    rig.arm(moment.steps)
    apply = rig.start_playbook(*PLAIN_DOOR) if plain else rig.start(*ONLY_DOOR)
    try:
        rig.await_stop(apply)
        story.check_moment(rig.look(), moment, before, new)
        KINDS[kind](rig, apply)
    finally:
        apply.kill_all()
        rig.release()
    if kind == "host":
        rig.observe(story.paths)


def check_kill(story: Story, way: tuple[Sight, str], moment: str, kind: str) -> None:
    stop_and_kill(story, NAMED[moment], kind, way)
    story.rig.lab.apply(*ONLY_DOOR)
    story.check_done(*way)


#: Ways to kill, and a moment, that the two tests at the end do not have.
REPRESENTATIVE = (
    ("before the daemon-reload", "all of the CLI"),
    ("after the restart", "sshd"),
    ("swap 2", "host"),
)


@pytest.mark.parametrize(("moment", "kind"), REPRESENTATIVE)
def test_the_next_apply_finishes(
    story: Story, way: tuple[Sight, str], moment: str, kind: str
) -> None:
    check_kill(story, way, moment, kind)


@pytest.mark.soak
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("moment", NAMED)
def test_the_next_apply_finishes_wherever_it_was_killed(
    story: Story, way: tuple[Sight, str], moment: str, kind: str
) -> None:
    if (moment, kind) in REPRESENTATIVE:
        pytest.skip("is in the short form")
    check_kill(story, way, moment, kind)


def test_the_next_apply_may_want_the_old_configuration(
    story: Story, way: tuple[Sight, str]
) -> None:
    """What was begun is finished first, so that its files are not taken for another hand's."""
    before, new = way
    stop_and_kill(story, NAMED["swap 3"], "session", way)
    story.configure(other(new))
    story.rig.lab.apply(*ONLY_DOOR)
    story.check_done(before, other(new), generations=2)


def test_an_apply_killed_at_every_step_in_turn(story: Story, way: tuple[Sight, str]) -> None:
    """By plain ansible-playbook: the plan of each apply would take longer than all the rest."""
    swaps = (before_swap(1), *(before_swap(number, 2) for number in range(2, DIFFERENT + 1)))
    for moment in (*STAGING, *swaps, *RECORDING, *RESTARTING):
        stop_and_kill(story, moment, "session", way, plain=True)
    story.rig.lab.apply(*ONLY_DOOR)
    story.check_done(*way)


def test_the_next_apply_waits_for_a_module_that_goes_on(
    story: Story, way: tuple[Sight, str]
) -> None:
    before, new = way
    rig = story.rig
    rig.arm(NAMED["swap 2"].steps)
    applies = [rig.start(*ONLY_DOOR)]
    try:
        rig.await_stop(applies[0])
        kill_cli(rig, applies[0])
        following = rig.start(*ONLY_DOOR)
        applies.append(following)
        while rig.lock_openers() < 2:
            assert following.process.poll() is None, following.output()
            time.sleep(0.5)
        story.check_moment(rig.look(), NAMED["swap 2"], before, new)
        rig.release()
        assert following.process.wait(120) == 0, following.output()
    finally:
        for apply in applies:
            apply.kill_all()
        rig.release()
    story.check_done(before, new)
