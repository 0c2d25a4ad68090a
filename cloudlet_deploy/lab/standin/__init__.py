"""Stand-ins: lab replacements for software that no package registry has.

The BeStMan stand-in is Java, compiled here into a *prepared home* of the layout that the role
``bestman`` installs: ``lib/*.jar``, ``conf/WEB-INF`` and ``properties``. It needs nothing but a
Java 17 runtime. It says in its log and in srmPing that it is a stand-in.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
import zipfile
from pathlib import Path

from cloudlet_deploy.errors import RunFailedError, UsageError

#: Debian packages that :func:`build` needs; their dependencies bring the other jars.
BUILD_PACKAGES = ("openjdk-17-jdk-headless", "libjglobus-gss-java")
#: The one Debian package that running the home needs.
RUNTIME_PACKAGE = "openjdk-17-jre-headless"
#: Where Debian keeps the jars of its Java libraries.
JAR_DIRECTORY = Path("/usr/share/java")

#: Jars that are copied into the home: GSI, its cryptography, and what these log through.
_JARS = (
    "jglobus-gss.jar",
    "jglobus-jsse.jar",
    "jglobus-ssl-proxies.jar",
    "bcprov.jar",
    "commons-codec.jar",
    "commons-io.jar",
    "commons-logging.jar",
    "log4j-1.2.jar",
)
_SOURCE = Path(__file__).resolve().parent / "bestman"
_HOME_FILES = {
    "web.xml": "conf/WEB-INF/web.xml",
    "server-config.wsdd": "conf/WEB-INF/server-config.wsdd",
    "log4j.properties": "properties/log4j.properties",
}
# The earliest time that a zip archive can hold: equal sources give equal bytes.
_ZIP_TIME = (1980, 1, 1, 0, 0, 0)
_FILE_TIME = 315532800
_NEXT_STEP = "apt-get install " + " ".join(BUILD_PACKAGES)


def inputs() -> list[Path]:
    """The files of ours that determine the result of :func:`build`, sorted.

    The JDK and the library jars determine it too; they come with the distribution.
    """
    sources = [path for path in _SOURCE.rglob("*") if path.is_file()]
    return sorted([Path(__file__).resolve(), *sources])


def build(destination: Path, *, jar_directory: Path = JAR_DIRECTORY) -> None:
    """Make the prepared home of the BeStMan stand-in in ``destination``.

    ``destination`` is made, or must be empty. Equal sources, JDK and jars give equal bytes.
    Raises :class:`RunFailedError` when the JDK or a jar is missing or does not compile the
    sources, and :class:`UsageError` when ``destination`` holds something.
    """
    if destination.exists() and (not destination.is_dir() or any(destination.iterdir())):
        raise UsageError(
            f"{destination} is not an empty directory", next_step="name a new or empty directory"
        )
    javac = shutil.which("javac")
    if javac is None:
        raise RunFailedError("javac is not installed (JDK 17 or newer)", next_step=_NEXT_STEP)
    jars = [jar_directory / name for name in _JARS]
    missing = [str(jar) for jar in jars if not jar.is_file()]
    if missing:
        raise RunFailedError(
            f"jars for the BeStMan stand-in are missing: {', '.join(missing)}",
            next_step=_NEXT_STEP,
        )
    library = destination / "lib"
    library.mkdir(parents=True)
    with tempfile.TemporaryDirectory(prefix="cloudlet-standin-") as scratch:
        classes = Path(scratch)
        _compile(javac, jars, classes)
        _pack(classes, library / "cloudlet-standin.jar")
    for jar in jars:
        shutil.copyfile(jar, library / jar.name)
    for name, target in _HOME_FILES.items():
        path = destination / target
        path.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(_SOURCE / "home" / name, path)
    _normalize(destination)


def _compile(javac: str, jars: list[Path], classes: Path) -> None:
    sources = [str(path) for path in inputs() if path.suffix == ".java"]
    argv = [javac, "--release", "17", "-encoding", "UTF-8", "-proc:none", "-g:source,lines"]
    argv += ["-cp", ":".join(map(str, jars)), "-d", str(classes), *sources]
    done = subprocess.run(argv, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise RunFailedError(
            f"{javac} does not compile the BeStMan stand-in:\n{done.stderr.strip()}",
            next_step=f"use JDK 17 or newer: {_NEXT_STEP}",
        )


def _pack(classes: Path, jar: Path) -> None:
    """Write a jar whose bytes depend on the classes alone."""
    manifest = "Manifest-Version: 1.0\r\nImplementation-Title: cloudlet-deploy lab stand-in\r\n\r\n"
    with zipfile.ZipFile(jar, "w", zipfile.ZIP_DEFLATED) as archive:
        _add(archive, "META-INF/MANIFEST.MF", manifest.encode())
        for path in sorted(classes.rglob("*.class")):
            _add(archive, path.relative_to(classes).as_posix(), path.read_bytes())


def _add(archive: zipfile.ZipFile, name: str, content: bytes) -> None:
    entry = zipfile.ZipInfo(name, _ZIP_TIME)
    entry.compress_type = zipfile.ZIP_DEFLATED
    entry.external_attr = 0o644 << 16
    archive.writestr(entry, content)


def _normalize(home: Path) -> None:
    """Modes and times that do not depend on the umask or the clock."""
    for path in [home, *sorted(home.rglob("*"))]:
        path.chmod(0o755 if path.is_dir() else 0o644)
        os.utime(path, (_FILE_TIME, _FILE_TIME))
