"""Exported text towers: the same vectors as torch's, without torch."""

from __future__ import annotations

import json
import shutil
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest
from conftest import Run
from tiny import open_tiny

from clipsearch import Library, encoders
from clipsearch.encoders import Encoder
from clipsearch.encoders.onnx.text_export import export_texts
from clipsearch.encoders.onnx.texts import ExportedTexts, folder_of, open_exported
from clipsearch.search.neutral import NEUTRAL

TALE = (
    "a dog runs over green grass with its red ball near the old house by sea while two children"
    " in yellow coats laugh and one woman holds an umbrella 3 12 2024 don't it's can't x-ray"
)
SCRIPTS = (
    "собака бежит по снегу", "海辺の夕日", "高楼大厦和一只猫", "한국 음식 사진", "שלום מסגד",
    "كلب أسود على العشب", "γάτα στον ήλιο", "हाथी पानी में", "ภาพถ่ายทะเล",
    "café à Zürich, Ærøskøbing",
)  # fmt: skip
ODD = (
    "🐶", "🎉🎉 party 👩‍👩‍👧 ❤️", "“quotes” … and — dashes", "it&amp;s &lt;b&gt;bold",
    "TABS\tand\nlines",
    "!!!???", "___", "1234567890", "ﬁne ligatures", "a" * 300, "e\u0301 combined", "x\u200by",
    "  spaces   everywhere  ", "İstanbul", "ß", "\U0001f9d1\u200d\U0001f680", "<end_of_text> dog",
)  # fmt: skip


def two_hundred_texts() -> list[str]:
    rng = np.random.default_rng(0)
    texts = [*SCRIPTS, *ODD]
    texts += [f"{one} {other}" for one, other in zip(SCRIPTS, ODD, strict=False)]
    while len(texts) < 200:
        length = 1 + len(texts) % 90  # also beyond the 77 tokens that a model reads
        texts.append(" ".join(rng.choice(TALE.split(), length)))
    return texts


@pytest.fixture(scope="module", params=["open_clip", "pocket"])
def encoder(request: pytest.FixtureRequest) -> Encoder:
    """A model of each family, loaded, its text tower exported."""
    if request.param == "pocket":
        if encoders.pocket_files() is None:
            pytest.skip("needs the group pocket")
        spec = "pocket"
    else:
        spec = request.getfixturevalue("spec")
    encoder = encoders.load(encoders.parse_spec(spec), "cpu")
    assert export_texts(encoder)
    return encoder


@pytest.fixture
def exported(encoder: Encoder) -> ExportedTexts:
    found = open_exported(encoder.weights, encoder.preprocess)
    assert found is not None
    return found


def test_an_exported_tower_gives_the_vectors_that_torch_gives(
    encoder: Encoder, exported: ExportedTexts
) -> None:
    texts = two_hundred_texts()
    vectors = exported.encode_texts(texts)
    assert (vectors.dtype, vectors.shape) == (np.float32, (200, encoder.dim))
    cosines = (vectors * encoder.encode_texts(texts)).sum(axis=1)
    worst = int(cosines.argmin())
    assert cosines[worst] >= 0.9999, texts[worst]


def test_an_exported_tower_counts_the_tokens_that_the_model_counts(
    encoder: Encoder, exported: ExportedTexts
) -> None:
    texts = two_hundred_texts()
    assert exported.context == encoder.context
    assert list(map(exported.count_tokens, texts)) == list(map(encoder.count_tokens, texts))


def test_a_text_is_embedded_alike_alone_and_among_others(exported: ExportedTexts) -> None:
    texts = two_hundred_texts()[:40]
    together = exported.encode_texts(texts)
    alone = np.concatenate([exported.encode_texts([text]) for text in texts])
    assert np.allclose(together, alone, atol=1e-5)


def test_a_damaged_export_is_taken_away_and_written_anew(encoder: Encoder) -> None:
    folder = folder_of(encoder.weights, encoder.preprocess)
    for name in ("tower.onnx", "tokenizer.json", "rules.json"):
        shutil.copytree(folder, folder.with_name("kept"))
        (folder / name).write_bytes(b"\0 no such thing")
        assert open_exported(encoder.weights, encoder.preprocess) is None
        assert not folder.exists()
        folder.with_name("kept").rename(folder)
    assert open_exported(encoder.weights, encoder.preprocess)


def test_a_query_after_indexing_imports_no_torch(
    clipsearch: Run, photos: Path, index: Path, spec: str
) -> None:
    assert clipsearch("index", photos, "--model", spec).returncode == 0
    program = (
        "import sys\n"
        "from clipsearch.cli import main\n"
        "sys.argv = ['clipsearch', 'query', 'a red boat', '--json', '--index', sys.argv[1]]\n"
        "try:\n    main()\nfinally:\n"
        "    heavy = {'torch', 'open_clip', 'torchvision', 'transformers', 'timm', 'rich', 'PIL'}\n"
        "    print(sorted(heavy & sys.modules.keys()), file=sys.stderr)\n"
    )
    for _ in range(2):  # the second one is answered from what was remembered
        done = subprocess.run(
            [sys.executable, "-c", program, str(index)], capture_output=True, text=True
        )
        assert (done.stderr, done.returncode) == ("[]\n", 0)
        assert len(json.loads(done.stdout)) == 10


def test_a_question_is_remembered_and_asked_of_no_model_again(
    photos: Path, tmp_path: Path, spec: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with Library.open(tmp_path / "index", model=spec) as library:
        library.index([photos])
        first = library.query("a red boat")
    monkeypatch.setenv("CLIPSEARCH_CACHE", str(tmp_path / "nothing here"))
    with Library.open(tmp_path / "index", device="cpu") as library:
        assert library.query("a red boat") == first
        assert not library._models._encoders
        library.query("a blue boat")
        assert library._models._encoders  # nothing is exported here, so torch answered
    with sqlite3.connect(tmp_path / "index" / "catalog.db") as db:
        texts = {text for (text,) in db.execute("SELECT text FROM questions")}
        assert texts == {"a red boat", "a blue boat", *NEUTRAL}
    db.close()


def test_to_remember_a_question_opens_nothing_anew(photos: Path, tmp_path: Path) -> None:
    with open_tiny(tmp_path / "index") as first:
        first.index([photos])
    with open_tiny(tmp_path / "index") as library, open_tiny(tmp_path / "index") as other:
        for one in (library, other):
            one.query("a boat")
        shutil.rmtree(tmp_path / "index" / "vectors")  # what is open finds them still
        for one in (library, other, library, other):
            assert one.query(f"a boat on {id(one)}")
        assert not (tmp_path / "index" / "vectors").exists()
        library.forget(photos / "00.jpg")
        assert len(other.query("a boat", k=99)) == 11
        assert (tmp_path / "index" / "vectors").exists()


@pytest.mark.parametrize("damage", ["x''", "substr(vector, 1, 31)", "zeroblob(64)", "'text'"])
def test_a_question_that_is_remembered_may_be_damaged_or_cut_short(
    photos: Path, tmp_path: Path, damage: str
) -> None:
    with open_tiny(tmp_path / "index") as library:
        library.index([photos])
        before = library.query("a boat")
        with closing(sqlite3.connect(tmp_path / "index" / "catalog.db")) as db, db:
            db.execute(f"UPDATE questions SET vector = {damage}")
        assert library.query("a boat") == before
