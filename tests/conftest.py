"""True small things for the tests: photos, weights and libraries made on the spot."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from filelock import FileLock
from PIL import Image
from served import DEADLINE, Serve, servers
from tiny import open_tiny
from warm import Warm

# Tests that are skipped unless `-m MARK` or the variable asks for them, and why.
WHEN_ASKED = {
    "hub": ("CLIPSEARCH_TEST_HUB", "downloads weights"),
    # A quarter of a minute and more, and a variation of what is tested without it.
    "thorough": ("CLIPSEARCH_TEST_THOROUGH", "takes long"),
}

# The smallest architecture of open_clip's: 43 M parameters, 224 pixels, 256 dimensions.
SMALL = "ViT-S-32-alt"

# Of a shell's job in the background Ctrl-C is ignored, and so by what it starts.
if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

Run = Callable[..., subprocess.CompletedProcess[str]]


def asked_for(mark: str) -> bool:
    return os.environ.get(WHEN_ASKED[mark][0]) == "1"


def pytest_configure(config: pytest.Config) -> None:
    """Nothing that a test does may reach a network, except those marked `hub` when asked for."""
    if config.option.markexpr in WHEN_ASKED:
        os.environ[WHEN_ASKED[config.option.markexpr][0]] = "1"
    if not asked_for("hub"):
        os.environ["HF_HUB_OFFLINE"] = "1"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Skip the tests that are run only when asked for."""
    for mark, (variable, reason) in WHEN_ASKED.items():
        if not asked_for(mark):
            for item in items:
                if item.get_closest_marker(mark):
                    item.add_marker(pytest.mark.skip(reason=f"{reason}: -m {mark}, {variable}=1"))


@pytest.fixture(scope="session")
def common(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of all of pytest's processes."""
    base = tmp_path_factory.getbasetemp()
    return base.parent if "PYTEST_XDIST_WORKER" in os.environ else base


@pytest.fixture(scope="session", autouse=True)
def cache(common: Path) -> Path:
    """Where text towers are exported to, once for all tests and all of pytest's processes."""
    os.environ["CLIPSEARCH_CACHE"] = str(common / "cache")
    return common / "cache"


def made_once(folder: Path, make: Callable[[Path], None]) -> Path:
    """The folder, which the first of pytest's processes that asks for it fills."""
    with FileLock(f"{folder}.lock"):
        if not folder.exists():
            begun = folder.with_suffix(".begun")
            begun.mkdir()
            make(begun)
            begun.rename(folder)
    return folder


@pytest.fixture(scope="session")
def blip(common: Path) -> Path:
    """A BLIP that says of each wall "a red wall", or green, or blue."""
    from captioners import make_blip

    return made_once(common / "blip", make_blip)


@pytest.fixture(scope="session")
def matcher(common: Path) -> Path:
    """A BLIP that says whether "a red wall" fits a wall."""
    from captioners import make_matcher

    return made_once(common / "matcher", make_matcher)


@pytest.fixture(scope="session")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Random weights of the SMALL architecture, always the same, in half precision."""
    import open_clip
    import torch
    from safetensors.torch import save_file

    torch.manual_seed(0)
    model = open_clip.create_model(SMALL)
    file = tmp_path_factory.mktemp("weights") / "small.safetensors"
    save_file({name: t.half().contiguous() for name, t in model.state_dict().items()}, file)
    return file


@pytest.fixture(scope="session")
def spec(weights: Path) -> str:
    """The model spec of the random small model."""
    return f"{SMALL}:{weights}"


def picture(seed: int, size: tuple[int, int] = (320, 240)) -> Image.Image:
    """A smooth colourful picture; each seed gives another one."""
    rng = np.random.default_rng(seed)
    coarse = rng.integers(0, 256, (6, 8, 3), dtype=np.uint8)
    return Image.fromarray(coarse).resize(size, Image.Resampling.BICUBIC)


def soon(condition: Callable[[], Any]) -> Any:
    end = time.monotonic() + DEADLINE
    while not (value := condition()):
        assert time.monotonic() < end, "it did not happen in time"
        time.sleep(0.02)
    return value


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """A folder of 12 different JPEGs, four of them in a subfolder."""
    folder = tmp_path / "photos"
    (folder / "trip").mkdir(parents=True)
    for seed in range(12):
        place = folder / "trip" if seed >= 8 else folder
        picture(seed).save(place / f"{seed:02}.jpg", quality=92)
    return folder


@pytest.fixture
def index(tmp_path: Path) -> Path:
    """Where a test's index goes; not made yet."""
    return tmp_path / "index"


@pytest.fixture
def indexed(photos: Path, index: Path) -> Path:
    """An index of `photos` by the tiny model."""
    with open_tiny(index) as library:
        library.index([photos])
    return index


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """An empty home folder."""
    folder = tmp_path / "home"
    folder.mkdir()
    return folder


@pytest.fixture(scope="session")
def warm() -> Iterator[Warm]:
    """What runs the command line without loading torch each time."""
    started = Warm()
    yield started
    started.stop()


@pytest.fixture
def clipsearch(index: Path, home: Path, cache: Path, warm: Warm) -> Run:
    """Run the real command line in a process of its own: `clipsearch("query", "a dog")`."""
    environment = {k: v for k, v in os.environ.items() if not k.startswith(("XDG_", "CLIPSEARCH"))}
    environment |= {"HOME": str(home), "CLIPSEARCH_INDEX": str(index)}
    environment |= {"CLIPSEARCH_CACHE": str(cache)}

    def run(*arguments: str | Path, **options: Any) -> subprocess.CompletedProcess[str]:
        return warm.run([*map(str, arguments)], environment, **options)

    return run


@pytest.fixture
def serve(index: Path, cache: Path) -> Iterator[Serve]:
    """Starts servers as processes of their own."""
    with servers(index, cache) as start:
        yield start


def all_of(terminal: int) -> bytes:
    """All that a terminal is given until its other end is closed; then it is closed too."""
    shown = b""
    with suppress(OSError):  # Linux's way to say that the other end is closed
        while part := os.read(terminal, 65536):
            shown += part
    os.close(terminal)
    return shown
