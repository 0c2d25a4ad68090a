"""Stand-in for a FUSE client of HDFS (``fuse_dfs``): a mount over the library hdfs-native.

It exists because no package registry has ``fuse_dfs``. It takes options of the same names, so
that one systemd unit fits both. ``python3 -m hdfs_mount -o OPTIONS MOUNT_POINT`` runs it; it
runs on lab hosts, with hdfs-native and mfusepy beside it, and nothing here imports the rest of
cloudlet-deploy.
"""
