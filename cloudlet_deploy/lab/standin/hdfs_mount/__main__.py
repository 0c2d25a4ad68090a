"""``python3 -m hdfs_mount -o server=NN,port=8020,allow_other,... MOUNT_POINT``; stays in front."""

from __future__ import annotations

import argparse
import logging
import os

#: How long one call may take, in seconds.
PATIENCE = 20.0
_OURS = {"server", "port", "web_port", "ro", "patience"}
#: Options of fuse_dfs that mean nothing here; they are taken, so that a unit fits both.
_IGNORED = {"rdbuffer", "big_writes", "initchecks", "usetrash", "notrash", "rw", "private"}
_RENAMED = {"attribute_timeout": "attr_timeout"}


def options_of(text: str) -> tuple[dict[str, str], dict[str, str | bool]]:
    """(options of this program, options of FUSE) of what stands behind ``-o``."""
    ours: dict[str, str] = {}
    fuse: dict[str, str | bool] = {}
    for item in filter(None, text.split(",")):
        name, is_value, value = item.partition("=")
        if name in _OURS:
            ours[name] = value
        elif name not in _IGNORED:
            fuse[_RENAMED.get(name, name)] = value if is_value else True
    if "server" not in ours:
        raise SystemExit("hdfs-mount: -o server=HOST is missing")
    if "ro" in ours:
        fuse["ro"] = True
    return ours, fuse


def main() -> None:
    """Mount, and serve the mount until it is taken away."""
    parser = argparse.ArgumentParser(prog="hdfs-mount", description=__doc__)
    parser.add_argument("-o", dest="options", default="")
    parser.add_argument("-f", action="store_true", help="as for fuse_dfs; it stays in front anyway")
    parser.add_argument("mount_point")
    given = parser.parse_args()
    logging.basicConfig(format="%(name)s: %(message)s", level=logging.INFO)
    ours, fuse = options_of(given.options)
    # The name node takes the client's word for who it is, as it does without Kerberos.
    os.environ.setdefault("HADOOP_USER_NAME", "hdfs")

    import mfusepy  # type: ignore[import-not-found]

    from .cluster import Cluster
    from .filesystem import FileSystem

    cluster = Cluster(
        ours["server"],
        int(ours.get("port", "8020")),
        int(ours.get("web_port", "9870")),
        float(ours.get("patience", PATIENCE)),
    )
    logging.getLogger("hdfs-mount").info(
        "lab stand-in for fuse_dfs: hdfs://%s at %s", ours["server"], given.mount_point
    )
    mfusepy.FUSE(
        FileSystem(cluster, read_only="ro" in ours),
        given.mount_point,
        foreground=True,
        default_permissions=True,
        fsname="hdfs-mount-standin",
        **fuse,
    )


if __name__ == "__main__":
    main()
