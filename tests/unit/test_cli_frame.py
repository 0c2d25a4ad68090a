"""The command line as a whole: help, errors, exit codes."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path

import click
import pytest

from cloudlet_deploy import cli
from cloudlet_deploy.cli import options as opts
from cloudlet_deploy.errors import ExitCode, LockedError

_HEAVY = ("ansible", "ansible_runner", "cryptography", "jinja2", "rich", "yaml")


@pytest.fixture(autouse=True)
def state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    return tmp_path / "cloudlet-deploy"


def _add(monkeypatch: pytest.MonkeyPatch, command: click.Command) -> None:
    """Let the command line have ``command`` as ``extra``."""
    monkeypatch.setattr(
        cli.cloudlet_deploy, "get_command", lambda ctx, name: command if name == "extra" else None
    )


def test_help_of_everything_imports_nothing_heavy() -> None:
    code = f"""
import sys
from cloudlet_deploy.cli import main, cloudlet_deploy
assert main(["--help"]) == 0
import click
for name in cloudlet_deploy.list_commands(click.Context(cloudlet_deploy)):
    assert main([name, "--help"]) == 0, name
print([name for name in {_HEAVY!r} if name in sys.modules], file=sys.stderr)
"""
    done = subprocess.run(
        [sys.executable, "-c", code], check=True, capture_output=True, text=True, timeout=30
    )
    assert done.stderr.strip() == "[]"
    for name in ("apply", "plan", "runs"):
        assert f"  {name} " in done.stdout


def test_help_answers_at_once() -> None:
    """0.3 s of processor time: the clock on the wall tells of other work on the machine."""
    code = (
        "from cloudlet_deploy.cli import main; main(['--help']);"
        "import resource, sys; u = resource.getrusage(resource.RUSAGE_SELF);"
        "print(u.ru_utime + u.ru_stime, file=sys.stderr)"
    )
    times = []
    for _ in range(3):
        done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True)
        times.append(float(done.stderr))
    assert min(times) < 0.3


@pytest.mark.parametrize(
    ("argv", "words"),
    [
        (["nosuch"], "No such command 'nosuch'"),
        (["apply"], "Missing option '-i'"),
        (["apply", "-i", "x", "--forks", "0"], "--forks"),
        (["plan", "-i", "x", "--output", "yaml"], "--output"),
        ([], "Commands:"),
    ],
)
def test_wrong_usage(argv: list[str], words: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(argv) == ExitCode.USAGE
    assert words in capsys.readouterr().err


def test_an_error_is_told_with_its_next_step_and_code(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    @click.command()
    def extra() -> None:
        raise LockedError("Run 7 [bold]holds[/bold] the lease.", next_step="Wait for it.")

    _add(monkeypatch, extra)
    assert cli.main(["extra"]) == ExitCode.LOCKED
    err = capsys.readouterr().err
    assert "error: Run 7 [bold]holds[/bold] the lease.\nnext:  Wait for it.\n" in err
    assert "Traceback" not in err


def test_an_error_in_json_is_one_document(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    @click.command()
    @opts.output_option
    def extra(output: str) -> None:
        raise LockedError("Held.", next_step="Wait.")

    _add(monkeypatch, extra)
    assert cli.main(["extra", "--output", "json"]) == ExitCode.LOCKED
    document = json.loads(capsys.readouterr().out)
    assert document["exit_code"] == ExitCode.LOCKED
    assert document["error"] == {"message": "Held.", "next_step": "Wait."}


def test_a_fault_of_ours_is_one_line_and_a_file(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], state: Path
) -> None:
    @click.command()
    def extra() -> None:
        raise ZeroDivisionError("what\never")

    _add(monkeypatch, extra)
    assert cli.main(["extra"]) == ExitCode.TASK_FAILED
    err = capsys.readouterr().err
    (kept,) = (state / "crashes").iterdir()
    assert "error: Unexpected ZeroDivisionError: what\n" in err
    assert kept.name in "".join(err.split())
    assert "Traceback" not in err
    assert "Traceback" in kept.read_text()
    assert kept.stat().st_mode & 0o777 == 0o600
    assert cli.main(["--debug", "extra"]) == ExitCode.TASK_FAILED
    assert "Traceback" in capsys.readouterr().err


@pytest.mark.parametrize("error", [KeyboardInterrupt(), click.Abort()])
def test_interrupt(
    error: BaseException, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    @click.command()
    def extra() -> None:
        raise error

    _add(monkeypatch, extra)
    assert cli.main(["extra"]) == ExitCode.INTERRUPTED
    assert "Interrupted" in capsys.readouterr().err


def test_options_become_one_frozen_value(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[object] = []

    @click.command()
    @opts.ansible_options
    @opts.component_option
    @opts.yes_option
    @opts.output_option
    def extra(
        options: opts.AnsibleOptions, components: tuple[str, ...], yes: bool, output: str
    ) -> ExitCode:
        seen.extend((options, components, yes, output))
        return ExitCode.PENDING

    _add(monkeypatch, extra)
    argv = (
        "extra -i a -i b -l door -e x=1 -e @f -u me --private-key k -f 9 -K -J -vv "
        "--vault-password-file p --vault-id l@s --become-password-file w "
        "--component java --component bestman --yes"
    )
    assert cli.main(argv.split()) == ExitCode.PENDING
    assert seen == [
        opts.AnsibleOptions(
            inventory=(Path("a"), Path("b")),
            limit="door",
            extra_vars=("x=1", "@f"),
            ask_vault_pass=True,
            vault_password_files=(Path("p"),),
            vault_ids=("l@s",),
            verbosity=2,
            user="me",
            private_key=Path("k"),
            forks=9,
            ask_become_pass=True,
            become_password_file=Path("w"),
        ),
        ("java", "bestman"),
        True,
        "table",
    ]


def test_a_closed_pipe_ends_quietly() -> None:
    code = "import sys; from cloudlet_deploy.cli import main; sys.exit(main(['--help']))"
    with subprocess.Popen(
        [sys.executable, "-c", f"import time; time.sleep(0.3); {code}"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    ) as process:
        assert process.stdout and process.stderr
        process.stdout.close()
        started = time.monotonic()
        assert process.stderr.read() == b""
        process.wait(timeout=10)
        assert time.monotonic() - started < 10
