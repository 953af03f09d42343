"""Pixels to lines of text: what is read, where it is, and how sure that is."""

from __future__ import annotations

import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
import written
from PIL import Image
from written import WHITE

from clipsearch import ModelError
from clipsearch.encoders.reading import TextReader, load_reader, reader_name
from clipsearch.encoders.reading.line import Line

needs_ocr = pytest.mark.skipif(find_spec("rapidocr") is None, reason="needs the group ocr")
needs_scripts = pytest.mark.skipif(
    not written.has_scripts(), reason="needs a font of all scripts, which OpenCV has from 5 on"
)


@pytest.fixture(scope="module")
def reader() -> TextReader:
    return load_reader()


def lines_of(reader: TextReader, picture: Image.Image) -> list[Line]:
    return reader.read(reader.prepare(picture))


def text_of(reader: TextReader, picture: Image.Image) -> str:
    return " ".join(line.text for line in lines_of(reader, picture))


@needs_ocr
@pytest.mark.parametrize(
    "picture",
    [
        written.sign("No parking here"),
        written.sign("No parking here", tilt=12, at=(120, 100)),
        written.sign("No parking here", tilt=90, sides=(900, 900), at=(250, 420)),
        written.sign("No parking here", colour=(215, 215, 215)),
        written.sign("No parking here", on=written.noise(), colour=WHITE),
        written.sign("No parking here", 24, WHITE, written.noise((1600, 1200)), at=(600, 600)),
        written.sign("No parking here", size=18),
        written.sign("No parking here", size=200, sides=(3000, 2000), at=(300, 800)),
    ],
    ids=["plain", "tilted", "upright", "pale", "rough", "small on rough", "small", "large"],
)
def test_a_sign_is_read(reader: TextReader, picture: Image.Image) -> None:
    assert text_of(reader, picture) == "No parking here"


@needs_ocr
@needs_scripts
@pytest.mark.parametrize(
    "text", ["Zoë Müller, Straße", "Crème brûlée à Łódź", "五金商店收据总计", "領収書とカメラ"]
)
def test_other_scripts_are_read(reader: TextReader, text: str) -> None:
    assert text_of(reader, written.in_script(text)) == text


@needs_ocr
def test_it_is_said_where_a_line_is_and_how_sure_it_is(reader: TextReader) -> None:
    (line,) = lines_of(reader, written.sign("Platform 9", size=60, at=(450, 150)))
    assert line.certainty > 0.9
    (left, top), (right, _), (_, low), _ = line.quad
    assert (left, top) == pytest.approx((0.5, 0.53), abs=0.05)
    assert right == pytest.approx(0.83, abs=0.05)
    assert low == pytest.approx(0.74, abs=0.06)


@needs_ocr
def test_a_tilted_line_has_tilted_corners(reader: TextReader) -> None:
    picture = written.sign("A rather long line", tilt=10, sides=(1000, 1000), at=(250, 480))
    (line,) = lines_of(reader, picture)
    assert line.quad[1][1] < line.quad[0][1] - 0.03, "it rises to the right"


@needs_ocr
def test_nothing_is_read_where_there_is_no_text(reader: TextReader) -> None:
    for seed in range(4):
        assert lines_of(reader, written.noise((640, 480), seed)) == []
    for sides in ((1, 1), (1, 3000), (3000, 1), (31, 31), (40, 2000), (2000, 40)):
        assert reader.read(np.zeros((*sides, 3), np.uint8)) == []


@needs_ocr
def test_letters_can_come_from_a_file(tmp_path: Path) -> None:
    import rapidocr

    ours = Path(rapidocr.__file__).with_name("models") / "PP-OCRv6_rec_small.onnx"
    file = tmp_path / "latin.onnx"
    file.symlink_to(ours)
    assert reader_name(str(file)) == "latin"
    assert text_of(load_reader(str(file)), written.sign("No parking here")) == "No parking here"
    file.unlink()
    file.write_bytes(b"no model")
    with pytest.raises(ModelError, match="is no ONNX model"):
        load_reader(str(file))
    file.unlink()
    file.symlink_to(ours.with_name("PP-OCRv6_det_small.onnx"))
    with pytest.raises(ModelError, match="does not say which letters"):
        load_reader(str(file))


def test_what_reads_no_text_is_told(tmp_path: Path) -> None:
    for name in ("", "no-such", str(tmp_path), str(tmp_path / "no.onnx")):
        with pytest.raises(ModelError, match="reads no text"):
            reader_name(name)
    assert reader_name(" pp-ocrv6 ") == "PP-OCRv6"


def test_a_missing_group_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(ModelError, match=r"pip install 'clipsearch\[ocr\]'"):
        load_reader()


_OFFLINE = """
import socket
import sys
sys.path.insert(0, sys.argv[1])
def refuse(*_, **__):
    raise AssertionError("a network was asked for")
socket.socket.connect = socket.create_connection = socket.getaddrinfo = refuse
import written
from clipsearch.encoders.reading import load_reader
reader = load_reader()
print(*(line.text for line in reader.read(reader.prepare(written.sign("No parking here")))))
"""


@needs_ocr
def test_no_network_is_asked_for() -> None:
    scripts = str(Path(__file__).parents[1] / "scripts")
    done = subprocess.run(
        [sys.executable, "-c", _OFFLINE, scripts], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "No parking here\n", "")
