"""Arguments of config_set: each fault is named with set, file and value."""

from __future__ import annotations

from typing import Any

import pytest
from ansible_collections.cloudlet.deploy.plugins.plugin_utils import config_set_args as args


def checked(**more: Any) -> dict[str, Any]:
    return args.checked({"name": "demo", **more})


def one(**more: Any) -> dict[str, Any]:
    return checked(files=[{"path": "/etc/a", "content": "x", **more}])


def test_defaults_are_filled_in() -> None:
    assert one() == {
        "name": "demo",
        "state": "present",
        "directories": [],
        "files": [
            {
                "path": "/etc/a",
                "owner": None,
                "group": None,
                "mode": None,
                "content": "x",
                "secret": False,
                "restart": [],
                "reload": [],
            }
        ],
        "validate": [],
    }


@pytest.mark.parametrize("name", [None, "", "a/b", "../x", ".x", 3, "a" * 101])
def test_bad_names(name: Any) -> None:
    with pytest.raises(args.ArgumentError, match="'name' must be"):
        args.checked({"name": name})


@pytest.mark.parametrize(
    ("more", "said"),
    [
        (
            {"mode": 0o640},
            "/etc/a: 'mode' must be a quoted octal number such as \"0640\", got the number 416",
        ),
        ({"mode": "u=rw"}, "got 'u=rw'"),
        ({"mode": "0888"}, "got '0888'"),
        ({"mode": True}, "truth value"),
        ({"owner": True}, "'owner' must be a name or number, got True"),
        ({"group": ""}, "'group' must be a name or number, got ''"),
        ({"templat": "x"}, "unknown key 'templat'; did you mean 'template'?"),
        ({"zzz": 1}, "/etc/a: unknown key 'zzz'"),
        (
            {"template": "a.j2"},
            "exactly one of template, content and src, got template and content",
        ),
        ({"content": None}, "got none"),
        ({"content": {"a": 1}}, "'content' must be text, got mapping (use '| to_nice_json'"),
        ({"content": 3}, "'content' must be text, got number"),
        ({"restart": "a.service"}, "'restart' must be a list of strings, got 'a.service'"),
        ({"restart": ["bestman2"]}, "such as bestman2.service, got 'bestman2'"),
        ({"restart": ["~svc/"]}, "such as bestman2.service, got '~svc/'"),
        ({"restart": ["a/b.service"]}, "such as bestman2.service, got 'a/b.service'"),
        ({"reload": ["x@.service"]}, "got 'x@.service'"),
        ({"reload": ["*.service"]}, "got '*.service'"),
        ({"secret": "maybe"}, "'secret' must be true or false, got 'maybe'"),
    ],
)
def test_bad_file_entries(more: dict[str, Any], said: str) -> None:
    with pytest.raises(args.ArgumentError) as error:
        one(**more)
    assert said in str(error.value) and "config_set demo: /etc/a" in str(error.value)


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ({"state": "gone"}, "'state' must be present or absent, got 'gone'"),
        ({"file": []}, "unknown key 'file'; did you mean 'files'?"),
        ({"files": {"path": "/a"}}, "'files' must be a list, got mapping"),
        ({"files": ["/a"]}, "each of 'files' must be a mapping, got str"),
        ({"files": [{"path": "etc/a", "content": ""}]}, "must be absolute, got 'etc/a'"),
        ({"directories": [{"path": "/d", "secret": True}]}, "/d: unknown key 'secret'"),
        ({"directories": [{"path": "/d"}, {"path": "/x/../d/"}]}, "/d is listed twice"),
        ({"validate": ["visudo"]}, "each of 'validate' must be a mapping"),
        ({"validate": [{"argv": "visudo -c"}]}, "'validate.argv' must be a list of strings"),
        ({"validate": [{"argv": []}]}, "needs 'argv'"),
        ({"validate": [{"argv": ["visudo"]}]}, "validator visudo looks at no file"),
        ({"validate": [{"argv": ["v", "{/etc/b}"]}]}, "/etc/b, which is not a file of the set"),
        ({"validate": [{"args": ["v"]}]}, "unknown key 'args'; did you mean 'argv'?"),
    ],
)
def test_bad_sets(more: dict[str, Any], said: str) -> None:
    with pytest.raises(args.ArgumentError) as error:
        checked(**more)
    assert said in str(error.value) and "config_set demo" in str(error.value)


def test_good_values() -> None:
    entry = one(
        mode="4755",
        owner=0,
        group="www-data",
        secret="yes",
        restart=["x@a-b.service", "~svc/a.service"],
    )
    assert entry["files"][0]["owner"] == "0" and entry["files"][0]["secret"] is True
    assert checked(directories=[{"path": "//etc//x/"}])["directories"][0]["path"] == "/etc/x"


def test_validator_runs_for_the_files_it_names() -> None:
    files = [{"path": f"/etc/{name}", "content": ""} for name in "ab"]
    argv = ["v", "--in={/etc/a}:{/etc/b}", "{}"]
    [named] = checked(files=files, validate=[{"argv": argv}])["validate"]
    assert named == {"argv": argv, "paths": ["/etc/a", "/etc/b"], "uses": ["/etc/a", "/etc/b"]}
    [only] = checked(files=files, validate=[{"argv": argv, "paths": ["/etc/b"]}])["validate"]
    assert only["paths"] == ["/etc/b"]


def test_sizes() -> None:
    limit, together = args.MAX_FILE, args.MAX_SET
    assert (limit, together) == (1048576, 4194304)
    args.check_size("demo", [(f"/{n}", limit) for n in range(4)])
    with pytest.raises(args.ArgumentError, match=r"demo: /big has 1048577 bytes.*builtin\.copy"):
        args.check_size("demo", [("/ok", 1), ("/big", limit + 1)])
    with pytest.raises(args.ArgumentError, match="with /last the set has 4194305 bytes"):
        args.check_size("demo", [*((f"/{n}", limit) for n in range(4)), ("/last", 1)])
