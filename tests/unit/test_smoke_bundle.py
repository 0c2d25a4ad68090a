"""What comes back from a load host."""

from __future__ import annotations

import io
import tarfile
from pathlib import Path

from cloudlet_deploy.smoke import bundle


def test_only_operations_come_out_of_a_load_hosts_archive(tmp_path: Path) -> None:
    packed, into = tmp_path / "host.tar", tmp_path / "a" / "results"
    into.mkdir(parents=True)
    with tarfile.open(packed, "w") as archive:
        for name in ("output/1.csv.gz", "../../2.csv.gz", f"{tmp_path}/3.csv.gz", "output/log"):
            info = tarfile.TarInfo(name)
            info.size, info.mode = 4, 0o4777
            archive.addfile(info, io.BytesIO(b"rows"))
        for name, kind in (("4.csv.gz", tarfile.SYMTYPE), ("5.csv.gz", tarfile.DIRTYPE)):
            info = tarfile.TarInfo(name)
            info.type, info.linkname = kind, "/etc/passwd"
            archive.addfile(info)
    bundle.unpack(packed, into)
    assert {path.name for path in into.iterdir()} == {"1.csv.gz", "2.csv.gz", "3.csv.gz"}
    assert {path.read_bytes() for path in into.iterdir()} == {b"rows"}
    assert not any(path.stat().st_mode & 0o7111 for path in into.iterdir())
    assert sorted(tmp_path.rglob("*.gz")) == sorted(into.iterdir())
