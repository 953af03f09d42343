"""Which folders lie on a file system of another machine, where changes are not told."""

from __future__ import annotations

import os
import re
from pathlib import Path

_MOUNTS = Path("/proc/self/mounts")  # on Linux; elsewhere there is none, and no answer

# File systems whose files other machines, or programs beside the mount, change unseen.
NETWORK = frozenset(
    {"nfs", "nfs4", "cifs", "smb3", "smbfs", "ncpfs", "afs", "9p", "virtiofs", "vboxsf"}
    | {"ceph", "glusterfs", "lustre", "beegfs", "gpfs", "ocfs2", "gfs2", "davfs", "drvfs"}
    | {"fuse.sshfs", "fuse.rclone", "fuse.s3fs", "fuse.davfs2", "fuse.curlftpfs"}
    | {"fuse.gvfsd-fuse", "fuse.glusterfs", "fuse.ceph", "fuse.vmhgfs-fuse", "fuse.gcsfuse"}
)


def network_type(folder: str, mounts: Path | None = None) -> str | None:
    """The type of the network file system that a folder, or one below it, lies on, if any.

    `mounts` is a table as /proc/self/mounts, which it is by default.
    """
    try:
        lines = (mounts or _MOUNTS).read_bytes().splitlines()
    except OSError:
        return None
    types = dict(map(_place_and_type, lines))  # of two at one place the later one is seen
    holders = [place for place in types if _holds(place, folder)]
    below = [place for place in types if _holds(folder, place)]
    seen = [types[place] for place in [*sorted(holders, key=len)[-1:], *below]]
    return next((kind for kind in seen if kind in NETWORK), None)


def _place_and_type(line: bytes) -> tuple[str, str]:
    _, place, kind, *_ = line.split(b" ")
    # A space in a place is written as \040, and so are a few others.
    plain = re.sub(rb"\\([0-7]{3})", lambda code: bytes([int(code[1], 8)]), place)
    return os.fsdecode(plain), os.fsdecode(kind)


def _holds(folder: str, path: str) -> bool:
    return path == folder or path.startswith(folder.rstrip("/") + "/")
