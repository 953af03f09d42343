"""How much memory decoding may take: that of all workers together, and as a last line one's own."""

from __future__ import annotations

import os
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

# All workers together take about as much, and one large picture by itself what it must.
_LEAST, _MOST = 512 << 20, 4 << 30
_SHARE = 4  # of what is there, a part
_READING = 4  # of that, a part is for files as they are read
_BYTES_A_PIXEL = 12  # as decoded, in RGB and turned upright

LARGE_PIXELS = 48_000_000  # hundreds of megabytes: one at a time, with any number of workers
_LEAST_BYTES, _LEAST_PIXELS = 16 << 20, 4_000_000  # what takes no turn with any

_MOST_A_PIXEL = 20  # bytes, with JPEG 2000
_OF_A_WORKER = 2 << 30  # bytes of address space, beside the pixels: its file, libraries, tables
_OF_A_THREAD = 80 << 20  # a decoder may start one a core

_large_pixels = LARGE_PIXELS


@dataclass(frozen=True, slots=True)
class Share:
    """What one worker holds without waiting for its turn."""

    bytes: int  # of a file
    pixels: int  # of a picture


LARGEST_SHARE = Share(_LEAST_BYTES, LARGE_PIXELS)


def share_of(workers: int) -> Share:
    """The share of one of so many workers, which together stay within the memory that is there."""
    memory = min(max(_free_memory() // _SHARE, _LEAST), _MOST)
    pixels = min(LARGE_PIXELS, memory // workers // _BYTES_A_PIXEL)
    return Share(max(_LEAST_BYTES, memory // _READING // workers), max(_LEAST_PIXELS, pixels))


def large_pixels() -> int:
    """The pixels of a picture above which this process waits for its turn to decode one."""
    return _large_pixels


def be_one_of(workers: int, max_pixels: int) -> None:
    """Take, as a process that only decodes, the share of one of so many.

    It gets no more memory from here on than a picture of so many pixels needs. What takes more
    than its header says fails then, and the machine is spared. The limit is on address space,
    which Linux alone heeds; elsewhere nothing is limited.
    """
    global _large_pixels
    _large_pixels = share_of(workers).pixels
    try:
        import resource

        held = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    except (ImportError, OSError):
        return
    more = _MOST_A_PIXEL * max_pixels + _OF_A_WORKER + _OF_A_THREAD * (os.cpu_count() or 1)
    _, most = resource.getrlimit(resource.RLIMIT_AS)
    limit = held + more if most == resource.RLIM_INFINITY else min(held + more, most)
    resource.setrlimit(resource.RLIMIT_AS, (limit, most))


def _free_memory() -> int:
    """The bytes of memory that can be had on this machine, or in this container; 0 if unknown."""
    found = []
    with suppress(OSError, ValueError, AttributeError):
        found.append(os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") // 2)
    with suppress(OSError, ValueError, StopIteration):
        # What the system would give up for it is counted too, as it is not by sysconf.
        lines = Path("/proc/meminfo").read_text().splitlines()
        line = next(line for line in lines if line.startswith("MemAvailable:"))
        found = [int(line.split()[1]) << 10]
    with suppress(OSError, ValueError):
        found.append(int(Path("/sys/fs/cgroup/memory.max").read_text()))
    return min(found, default=0)
