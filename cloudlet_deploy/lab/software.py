"""The prepared homes that the image ``host`` holds beside Debian's packages.

Each is software that the roles take as it is found (``*_install: home``): the stand-ins of what
no registry has, and Hadoop, which is the real one.
"""

from __future__ import annotations

import hashlib
import importlib
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from cloudlet_deploy.errors import RunFailedError
from cloudlet_deploy.lab.podman import last_words

_STANDIN = "cloudlet_deploy.lab.standin"
HADOOP_VERSION = "3.4.3"
#: What the servers do not load, at least not for what a storage element wants of them.
_HADOOP_WITHOUT = (
    ("com.jcraft", "jsch"),
    ("org.apache.avro", "avro"),
    ("org.bouncycastle", "bcprov-jdk18on"),
    ("org.xerial.snappy", "snappy-java"),
)
#: Pinned, so that a recipe says what an image holds.
_MOUNT_REQUIRES = ("hdfs-native==0.14.7", "mfusepy==3.1.1", "typing-extensions==4.15.0")
_MOUNT_SOURCE = Path(__file__).resolve().parent / "standin" / "hdfs_mount"
_MOUNT_PROGRAM = """\
#!/bin/sh
# Lab stand-in for fuse_dfs.
PYTHONPATH=/opt/hdfs-mount/lib exec /usr/bin/python3 -m hdfs_mount "$@"
"""


@dataclass(frozen=True)
class Part:
    """One home: where it lies on a host, what decides its content, and how it is made."""

    what: str
    home: str
    digest: str
    build: Callable[[Path], None]


def parts() -> tuple[Part, ...]:
    """All homes that this installation can make; a wheel may come without the stand-ins."""
    found = [Part("fetching Hadoop", "/opt/hadoop", _digest(_pom().encode()), build_hadoop)]
    try:
        standin = importlib.import_module(_STANDIN)
    except ModuleNotFoundError:
        return tuple(found)
    sources = _digest(*(f"{p.name}\0".encode() + p.read_bytes() for p in standin.inputs()))
    found.append(Part("compiling the BeStMan stand-in", "/opt/bestman2", sources, standin.build))
    pieces = [f"{path.name}\0".encode() + path.read_bytes() for path in mount_sources()]
    mount = _digest(*pieces, " ".join(_MOUNT_REQUIRES).encode(), _MOUNT_PROGRAM.encode())
    found.append(Part("making the HDFS mount stand-in", "/opt/hdfs-mount", mount, build_mount))
    return tuple(found)


def digests() -> dict[str, str]:
    """What decides the homes, for an image's recipe."""
    return {part.home: part.digest for part in parts()}


def mount_sources() -> list[Path]:
    """The source files of the mount's stand-in."""
    return sorted(_MOUNT_SOURCE.glob("*.py"))


def build_hadoop(home: Path) -> None:
    """Hadoop's jars from Maven Central, laid out as in Apache's archive as far as it matters."""
    if shutil.which("mvn") is None:
        raise RunFailedError(
            "The lab's Hadoop is fetched with Maven, which is not installed.",
            next_step="apt-get install maven",
        )
    jars = home / "share" / "hadoop" / "common" / "lib"
    jars.mkdir(parents=True)
    with tempfile.TemporaryDirectory(prefix="cloudlet-lab.") as scratch:
        pom = Path(scratch, "pom.xml")
        pom.write_text(_pom())
        _run(
            ["mvn", "--batch-mode", "--quiet", "--file", str(pom), "dependency:copy-dependencies",
             "-DincludeScope=runtime", f"-DoutputDirectory={jars}"],
            "Maven cannot fetch Hadoop",
        )  # fmt: skip
    for name in ("common", "hdfs"):
        own = home / "share" / "hadoop" / name
        own.mkdir(exist_ok=True)
        for jar in jars.glob(f"hadoop-{name}-*.jar"):
            jar.rename(own / jar.name)
    # Apache's archive has the web pages here; Maven has none, and the servers want the place.
    for name in ("datanode", "hdfs", "secondary"):
        page = home / "share" / "hadoop" / "hdfs" / "webapps" / name / "index.html"
        page.parent.mkdir(parents=True)
        page.write_text("HDFS from Maven Central: its web pages are not part of it.\n")


def build_mount(home: Path) -> None:
    """The stand-in's code, and its libraries from PyPI beside it."""
    library = home / "lib"
    _run(
        [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check",
         "--no-deps", "--no-compile", "--only-binary=:all:", f"--target={library}",
         *_MOUNT_REQUIRES],
        "pip cannot fetch the libraries of the HDFS mount",
    )  # fmt: skip
    package = library / "hdfs_mount"
    package.mkdir()
    for path in mount_sources():
        shutil.copyfile(path, package / path.name)
    program = home / "bin" / "hdfs-mount"
    program.parent.mkdir()
    program.write_text(_MOUNT_PROGRAM)
    program.chmod(0o755)


def _pom() -> str:
    without = "".join(
        f"<exclusion><groupId>{group}</groupId><artifactId>{name}</artifactId></exclusion>"
        for group, name in _HADOOP_WITHOUT
    )
    wanted = "".join(
        f"<dependency><groupId>org.apache.hadoop</groupId><artifactId>{name}</artifactId>"
        f"<version>{HADOOP_VERSION}</version><exclusions>{without}</exclusions></dependency>"
        for name in ("hadoop-common", "hadoop-hdfs", "hadoop-hdfs-client")
    )
    return (
        '<project xmlns="http://maven.apache.org/POM/4.0.0"><modelVersion>4.0.0</modelVersion>'
        "<groupId>lab</groupId><artifactId>hadoop</artifactId><version>1</version>"
        f"<packaging>pom</packaging><dependencies>{wanted}</dependencies></project>"
    )


def _digest(*pieces: bytes) -> str:
    digest = hashlib.sha256()
    for piece in pieces:
        digest.update(hashlib.sha256(piece).digest())
    return digest.hexdigest()


def _run(argv: list[str], failure: str) -> None:
    done = subprocess.run(argv, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise RunFailedError(
            f"{failure}: {last_words(done.stdout + done.stderr)}",
            next_step="See that this machine reaches Maven Central and PyPI, then try again.",
        )
