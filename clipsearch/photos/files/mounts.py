"""Which file systems folders lie on, and whether another machine changes what is on them."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from pathlib import Path

from clipsearch.photos.files.urls import is_below, joined

_MOUNTS = Path("/proc/self/mounts")  # on Linux; elsewhere there is none, and no answer
_UUIDS = Path("/dev/disk/by-uuid")  # links to disks, by what was written on them at formatting
_UNSURE = "?"  # begins the names that others may have too

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
    types = dict(map(_point_and_type, lines))  # of two at one point the later one is seen
    holders = [point for point in types if is_below(folder, point)]
    below = [point for point in types if is_below(point, folder)]
    seen = [types[point] for point in [*sorted(holders, key=len)[-1:], *below]]
    return next((kind for kind in seen if kind in NETWORK), None)


def mount_table(mounts: Path = _MOUNTS) -> bytes:
    """What is mounted where, as the system tells it; other bytes whenever that is other."""
    try:
        return mounts.read_bytes()
    except OSError:
        return b""


def mount_points(table: bytes) -> dict[str, str]:
    """What is mounted at each point: a disk, or what else a mount table names as the source."""
    return dict(_point_and_source(line) for line in table.splitlines())


def volume_of(folder: str, points: Mapping[str, str]) -> str:
    """What tells the file system that a folder shows from all others, also after a restart.

    As far as that can be had: see `is_sure`.

    Raises:
        OSError: the folder is not there.
    """
    stat = os.stat(folder)
    name = _name(folder, stat.st_dev) or _UNSURE + _source(folder, points)
    # A folder mounted at another place is on the same file system as before.
    return f"{name} {stat.st_ino}" if folder in points else name


def is_sure(volume: str) -> bool:
    """Whether no other file system has this name, and this one no other.

    Some have only the number of the drive that they are in for the moment, or its name.
    """
    return bool(volume) and not volume.startswith(_UNSURE)


def volume_at(root: str, path: str, points: Mapping[str, str]) -> str | None:
    """The name of the file system that begins at a folder, "" where it is that of the one above.

    `path` is the folder's below a root, of which the name is given in any case. None is for a
    folder that is not there, or has nothing in it.
    """
    folder = joined(root, path)
    try:
        if is_vacant(folder):
            return None
        above = os.stat(os.path.dirname(folder))
        if path and folder not in points and os.stat(folder).st_dev == above.st_dev:
            return ""
        return volume_of(folder, points)
    except OSError:
        return None


def is_vacant(folder: str) -> bool:
    """Whether a folder is not there, or neither it nor a folder in it holds a file to be seen."""
    try:
        with os.scandir(folder) as entries:
            shown = (entry for entry in entries if not entry.name.startswith("."))
            return all(
                entry.is_dir(follow_symlinks=False) and is_vacant(entry.path) for entry in shown
            )
    except (FileNotFoundError, NotADirectoryError):
        return True
    except OSError:
        return False


def _name(folder: str, device: int) -> str | None:
    if not hasattr(os, "statvfs"):
        return f"{device:x}"  # what was written on it at formatting
    found = os.statvfs(folder)
    if found.f_fsid not in (0, device):
        return f"{found.f_fsid:x}"
    if name := _uuid(device):
        return name
    # The number of the drive, whatever is in it; its size is of some help.
    return f"{_UNSURE}{device:x} {found.f_blocks * found.f_frsize}" if found.f_fsid else None


def _uuid(device: int) -> str | None:
    if not os.major(device):
        return None  # not a disk
    try:
        disks = list(os.scandir(_UUIDS))
    except OSError:
        return None
    return next((disk.name for disk in disks if _is_disk(disk.path, device)), None)


def _is_disk(link: str, device: int) -> bool:
    try:
        return os.stat(link).st_rdev == device
    except OSError:
        return False


def _source(folder: str, points: Mapping[str, str]) -> str:
    holders = [point for point in points if is_below(folder, point)]
    return points[max(holders, key=len)] if holders else "unknown"


def _point_and_source(line: bytes) -> tuple[str, str]:
    source, point, *_ = line.split(b" ")
    return _plain(point), _plain(source)


def _point_and_type(line: bytes) -> tuple[str, str]:
    _, point, kind, *_ = line.split(b" ")
    return _plain(point), os.fsdecode(kind)


def _plain(name: bytes) -> str:
    """A name of the table; a space in it is written as \\040, and so are a few others."""
    return os.fsdecode(re.sub(rb"\\([0-7]{3})", lambda code: bytes([int(code[1], 8)]), name))
