"""Which generations a rollback brings back, judged from what the hosts report."""

from __future__ import annotations

from typing import Any

import pytest

from cloudlet_deploy.errors import RunFailedError, UsageError
from cloudlet_deploy.run.generations import Choice, Generation, History, go_to, histories, undo_last

A, B, C, R = (f"20261123T10{minute}00Z-abcdef" for minute in range(10, 14))


def generation(number: int, run: str | None, **more: Any) -> Generation:
    values = {"same_as": None, "undoes": None, "before": number - 1, "changed": ("/etc/a",)}
    return Generation(number=number, time=float(number), run=run, **{**values, **more})


def history(name: str, *runs: str | None, host: str = "door", **more: Any) -> History:
    """A set whose generations were made by ``runs``, in that order."""
    made = tuple(generation(number, run) for number, run in enumerate(runs, start=1))
    return History(host, name, len(runs), more.pop("position", len(runs)), made, **more)


def back(name: str, *runs: str, to: int, undoes: str, **more: Any) -> History:
    """The same, rolled back to generation ``to``."""
    before = history(name, *runs)
    last = generation(len(runs) + 1, R, same_as=to, undoes=undoes)
    return History("door", name, last.number, to, (*before.generations, last), **more)


def steps(choice: Choice) -> list[tuple[str, int, int]]:
    return [(step.name, step.present, step.wanted) for step in choice.steps]


def test_the_last_run_is_undone_wherever_it_made_generations() -> None:
    found = [
        history("bestman", A, B),
        history("grid_trust", A),
        history("grid_trust", A, B, host="data1"),
        history("gridftp", A, host="data1"),
    ]
    choice = undo_last(found)
    assert choice.undoes == B and not choice.continues
    assert choice.targets() == {
        "door": {"bestman": {"to": 1, "from": 2}},
        "data1": {"grid_trust": {"to": 1, "from": 2}},
    }


def test_the_next_rollback_goes_back_one_run_more() -> None:
    choice = undo_last([back("bestman", A, B, C, to=2, undoes=C), history("storage", A, A)])
    assert (choice.undoes, steps(choice)) == (B, [("bestman", 4, 1)])


def test_what_a_killed_rollback_left_comes_first() -> None:
    committing = back("bestman", A, B, C, to=2, undoes=C, unfinished=True, journal=True)
    untouched = history("gridftp", A, B, C, host="data1")
    choice = undo_last([committing, untouched])
    assert choice.continues and choice.undoes == C
    assert steps(choice) == [("gridftp", 3, 2), ("bestman", 4, 2)]
    only_restart = back("bestman", A, B, C, to=2, undoes=C, unfinished=True)
    choice = undo_last([only_restart])
    assert (steps(choice), choice.hosts, choice.undoes) == ([], ("door",), C)


def test_first_generations_stay() -> None:
    choice = undo_last([history("bestman", A, B), history("gridftp", B, host="data2")])
    assert steps(choice) == [("bestman", 2, 1)]
    assert [one.host for one in choice.stays] == ["data2"]
    assert undo_last([history("bestman", A), history("gridftp", None)]).hosts == ()
    assert undo_last([]) == Choice()


def test_a_change_by_no_run_is_not_guessed_at() -> None:
    with pytest.raises(UsageError, match=r"generation 3 of bestman on door.*by no run"):
        undo_last([history("bestman", A, B, None), history("gridftp", A, B)])
    assert undo_last([history("bestman", None, B)]).undoes == B


def test_a_generation_that_is_not_kept_is_named() -> None:
    whole = history("bestman", A, B, C)
    pruned = History("door", "bestman", 3, 3, whole.generations[2:])
    with pytest.raises(RunFailedError, match=r"generation 2, which is not kept.*there are 3"):
        undo_last([pruned])
    with pytest.raises(RunFailedError, match=r"no generation 7: bestman on door has 1, 2, 3"):
        go_to([whole, history("bestman", A, host="data1")], 7)
    assert steps(go_to([whole], 1)) == [("bestman", 3, 1)]


def test_only_the_components_that_were_asked_for() -> None:
    told = {"set": "bestman", "generation": 1, "position": 1, "unfinished": False}
    reports = {
        "door": {"sets": [{**told, "journal": False, "generations": []}]},
        "new": {"sets": []},
    }
    assert [one.name for one in histories(reports)] == ["bestman"]
    with pytest.raises(UsageError, match="gridftp") as error:
        histories(reports, ["gridftp"])
    assert "bestman" in error.value.next_step
    assert histories({"new": {"sets": []}}, ["gridftp"]) == ()
