"""A year of a person's life with a library, in any order: nothing of theirs is lost on the way."""

from __future__ import annotations

import hashlib
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections import Counter
from pathlib import Path

import pytest
from conftest import asked_for, picture
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, precondition, rule
from tiny import open_tiny

from clipsearch import Library

HERE = Path(__file__).parent
# A run in a process of its own, which can be killed, suspended, and kept from files.
RUN = "import sys, tiny; tiny.open_tiny(tiny.Path(sys.argv[1])).index(sys.argv[2:], batch_size=4)"
# Root reads what nobody may, unless it is made to do without.
LESS = ["setpriv", "--bounding-set=-dac_override,-dac_read_search"]
CAPTIONER = "somebody"

HOUSE, PHONE, USB = "photos/house", "phone", "photos/usb"
PLACES = st.tuples(st.sampled_from([HOUSE, PHONE, USB]), st.integers(0, 19))


def can_mount() -> bool:
    """Whether folders can be mounted here; else the year has no drives."""
    with tempfile.TemporaryDirectory() as one, tempfile.TemporaryDirectory() as other:
        try:
            done = subprocess.run(["mount", "--bind", one, other], capture_output=True, check=False)
        except FileNotFoundError:
            return False
        return not done.returncode and not subprocess.run(["umount", other], check=False).returncode


CAN_MOUNT = sys.platform == "linux" and os.geteuid() == 0 and can_mount()
CAN_LOCK = os.name == "posix" and (os.geteuid() != 0 or shutil.which("setpriv") is not None)


class Year(RuleBasedStateMachine):
    """Sixty photos in three places, what a person does with them, and what must stay."""

    def __init__(self) -> None:
        super().__init__()
        self.scratch = Path(tempfile.mkdtemp()).resolve()
        self.index = self.scratch / "index"
        self.phone = self.scratch / PHONE
        self.roots = {"photos": self.scratch / "photos", PHONE: self.phone}
        self.is_away = False
        self.locked: set[Path] = set()
        self.forgotten: set[Path] = set()
        self.seed = 1000
        for place in (HOUSE, PHONE, "drive"):
            (self.scratch / place).mkdir(parents=True)
            for number in range(20):
                self.draw(self.scratch / place / f"{number}.png")
        (self.scratch / USB).mkdir()
        if CAN_MOUNT:
            self.mount()
        else:
            shutil.copytree(self.scratch / "drive", self.scratch / USB, dirs_exist_ok=True)
        self.library = open_tiny(self.index)
        self.library.index(self.roots.values())
        self.ids = self.held()  # of all that the index must know, by path
        assert len(self.ids) == 60
        self.captions: dict[str, str] = {}  # by digest
        self.saved: tuple[dict[Path, int], dict[str, str], set[Path], Path] | None = None

    def teardown(self) -> None:
        self.library.close()
        if CAN_MOUNT:
            subprocess.run(
                ["umount", "--lazy", self.scratch / USB], capture_output=True, check=False
            )
        shutil.rmtree(self.scratch)

    # What is where

    def draw(self, file: Path) -> None:
        self.seed += 1
        picture(self.seed, (40, 32)).save(file)

    def mount(self) -> None:
        drive, usb = self.scratch / "drive", self.scratch / USB
        subprocess.run(["mount", "--bind", drive, usb], check=True)

    def file(self, place: tuple[str, int]) -> Path:
        folder, number = place
        return (self.phone if folder == PHONE else self.scratch / folder) / f"{number}.png"

    def there(self) -> list[Path]:
        """The photos that a look at the disk shows now, and that are not to stay out."""
        files = [file for root in self.roots.values() for file in root.rglob("*.png")]
        return [file for file in files if not any(map(file.is_relative_to, self.forgotten))]

    def held(self) -> dict[Path, int]:
        return {Path(str(photo.path)): photo.id for photo in self.library.photos()}

    # What a person does

    @rule(place=PLACES)
    def edit(self, place: tuple[str, int]) -> None:
        if (file := self.file(place)).exists():
            self.draw(file)

    @rule(place=PLACES, into=st.sampled_from([HOUSE, PHONE]))
    def duplicate(self, place: tuple[str, int], into: str) -> None:
        folder = self.phone if into == PHONE else self.scratch / into
        copy = folder / f"copy-of-{place[0].replace('/', '-')}-{place[1]}.png"
        if (file := self.file(place)).exists() and file not in self.locked:
            shutil.copy2(file, copy)

    @rule(place=PLACES)
    def delete(self, place: tuple[str, int]) -> None:
        file = self.file(place)
        if file.exists() and len(list(file.parent.glob("*.png"))) > 2:
            file.unlink()
            self.ids.pop(file, None)
            self.locked.discard(file)

    @rule(place=PLACES)
    @precondition(lambda self: CAN_LOCK)
    def lock(self, place: tuple[str, int]) -> None:
        if (file := self.file(place)).exists() and place[0] != USB:
            file.chmod(0)
            self.locked.add(file)

    @rule()
    def unlock(self) -> None:
        for file in self.locked:
            file.chmod(0o644)
        self.locked.clear()

    @rule()
    @precondition(lambda self: CAN_MOUNT and not self.is_away)
    def unplug(self) -> None:
        subprocess.run(["umount", self.scratch / USB], check=True)
        self.is_away = True

    @rule()
    @precondition(lambda self: self.is_away)
    def plug_in(self) -> None:
        self.mount()
        self.is_away = False

    @rule(number=st.integers(0, 9))
    def move_root(self, number: int) -> None:
        """The phone's folder gets another name, and is indexed under that."""
        moved = self.scratch / f"{PHONE}-{number}"
        if self.locked or self.forgotten or moved == self.phone:
            return  # what cannot be read is not found again
        self.look()
        self.phone.rename(moved)
        known = {file: id for file, id in self.ids.items() if file.is_relative_to(self.phone)}
        photos = {file: digest_of(file) for file in [*self.there(), *moved.glob("*.png")]}
        often = Counter(photos.values())
        unique = {file for file in photos if often[photos[file]] == 1}
        for file, id in known.items():
            del self.ids[file]
            # Which of several copies is which, nobody can tell.
            if (there := moved / file.name) in unique:
                self.ids[there] = id
        self.phone = self.roots[PHONE] = moved
        self.run([moved])
        self.check()

    @rule()
    def describe(self) -> None:
        """A model writes captions."""
        rows = {row.digest: f"caption {row.id}" for row in self.library._catalog.photos()}
        self.library._catalog.add_captions(CAPTIONER, rows)
        self.captions = rows

    @rule(folder=st.sampled_from([HOUSE, PHONE]))
    def forget(self, folder: str) -> None:
        path = self.phone if folder == PHONE else self.scratch / folder
        if not any(file.is_relative_to(path) for file in self.held()):
            return
        taken = self.library.forget(path)
        gone = [file for file in self.ids if file.is_relative_to(path)]
        assert taken >= len(gone) > 0
        for file in gone:
            del self.ids[file]
        if path == self.phone:
            del self.roots[PHONE]
        else:
            self.forgotten.add(path)
        self.look()

    @rule()
    @precondition(lambda self: self.forgotten or PHONE not in self.roots)
    def regret(self) -> None:
        """What was forgotten is named again: all that was known of it is known again."""
        self.roots[PHONE] = self.phone
        self.forgotten.clear()
        self.run([self.phone, self.scratch / HOUSE])
        self.look()

    @rule()
    def back_up(self) -> None:
        copy = self.scratch / "backup"
        self.library.copy(copy)
        self.saved = (self.held(), dict(self.captions), set(self.forgotten), self.phone)
        if PHONE not in self.roots:
            self.saved = None  # a root that came again since would have to be told apart

    @rule()
    @precondition(lambda self: self.saved is not None)
    def restore(self) -> None:
        """The index is lost, and made again of its copy."""
        assert self.saved is not None
        ids, captions, forgotten, phone = self.saved
        if phone != self.phone or PHONE not in self.roots or forgotten != self.forgotten:
            return
        self.library.close()
        shutil.rmtree(self.index)
        with Library.open(self.scratch / "backup", create=False) as copy:
            copy.copy(self.index, own=True)
        shutil.rmtree(self.scratch / "backup")  # which is of an index that is no more
        self.saved = None
        self.library = open_tiny(self.index)
        self.captions = captions
        # What was deleted since is gone, and what is away was not forgotten.
        self.ids = {file: id for file, id in ids.items() if file in self.ids}
        self.look()

    # Looks

    @rule()
    def look(self) -> None:
        self.run()
        self.check()

    @rule()
    def prune(self) -> None:
        self.run(prune=True)
        if self.is_away:
            usb = self.scratch / USB
            self.ids = {file: id for file, id in self.ids.items() if not file.is_relative_to(usb)}
        self.check()

    @rule(after=st.floats(0, 1))
    def kill(self, after: float) -> None:
        with self.process() as process:
            try:
                process.wait(after)
            except subprocess.TimeoutExpired:
                process.kill()
        self.look()

    @rule()
    @precondition(lambda self: os.name == "posix")
    def suspend(self) -> None:
        with self.process() as process:
            process.send_signal(signal.SIGSTOP)
            self.held()  # asked meanwhile
            process.send_signal(signal.SIGCONT)
            assert process.wait(300) == 0
        self.check()

    def process(self) -> subprocess.Popen[bytes]:
        roots = list(self.roots.values())
        command = [sys.executable, "-c", RUN, self.index, *roots]
        return subprocess.Popen(
            [*(LESS if os.geteuid() == 0 else []), *command], cwd=HERE, stderr=subprocess.DEVNULL
        )

    def run(self, paths: list[Path] | None = None, prune: bool = False) -> None:
        if self.locked and not prune and os.geteuid() == 0:
            roots = paths or list(self.roots.values())
            command = [*LESS, sys.executable, "-c", RUN, self.index, *roots]
            subprocess.run(command, cwd=HERE, check=True, timeout=300, capture_output=True)
        else:
            self.library.index(paths or [], prune=prune, batch_size=7)

    # What must be

    def check(self) -> None:
        """The index was brought up to date just now."""
        held, there = self.held(), self.there()
        known = held.keys() | {Path(path) for path, _ in self.library.status().failures}
        missing = [file for file in there if file not in known]
        assert not missing, "on the disk, and not in the index"
        lost = {file for file in self.ids if file not in held}
        assert not lost, "known, and lost though nobody said so"
        other = {file for file, id in self.ids.items() if held[file] != id}
        assert not other, "known by another id than before"
        assert len(set(held.values())) == len(held)
        self.ids |= {file: held[file] for file in there if file in held}
        for row in self.library._catalog.photos():
            file = Path(row.path)
            if file in there and file not in self.locked:
                assert row.digest == digest_of(file)
            if row.digest in self.captions:
                written = self.library._catalog.captions_of(row.digest)
                assert written == {CAPTIONER: self.captions[row.digest]}
        self.check_duplicates()

    def check_duplicates(self) -> None:
        """Whoever deletes all but the first of each group loses no content."""
        for group in self.library.duplicates(["bytes"]):
            keep, *rest = [Path(str(photo.path)) for photo in group.photos]
            assert rest
            for file in rest:
                assert not keep.samefile(file)
                assert digest_of(keep) == digest_of(file)


def digest_of(file: Path) -> str:
    return hashlib.sha256(file.read_bytes()).hexdigest()


Year.TestCase.settings = settings(
    max_examples=40 if asked_for("thorough") else 5,
    stateful_step_count=30,
    deadline=None,
    derandomize=True,
    phases=[Phase.generate],  # a shorter story takes minutes to find
    suppress_health_check=list(HealthCheck),
)
TestYear = pytest.mark.filterwarnings("ignore::ResourceWarning")(Year.TestCase)
