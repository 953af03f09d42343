"""Zero-shot labels and scores: exact with the tiny encoder, sensible with pocket."""

from __future__ import annotations

import json
import os
import shutil
from collections import Counter
from collections.abc import Iterator, Sequence
from importlib.util import find_spec
from itertools import chain
from pathlib import Path

import numpy as np
import pytest
from conftest import Run, picture
from PIL import Image
from test_cli import on_terminal, probe
from test_docs import documented
from tiny import TinyEncoder, open_tiny

from clipsearch import InvalidInput, LabelCount, LabelledPhoto, Library, score
from clipsearch.encoders import pocket_files
from clipsearch.search.labels.lists import TEMPLATES, read_labels
from clipsearch.store.lock import write_lock

LABELS = ["cat", "a dog on grass", "fireworks", "birthday party", "QR code", "boat", "zebra"]
ALL = 1000


class CountingTexts(TinyEncoder):
    """The tiny encoder, counting the texts that it embeds."""

    def __init__(self, limit: int = 10_000) -> None:
        self.texts: list[str] = []
        self.limit = limit

    def encode_texts(self, texts: Sequence[str]) -> np.ndarray:
        if len(self.texts) + len(texts) > self.limit:
            raise KeyboardInterrupt
        self.texts += texts
        return super().encode_texts(texts)


@pytest.fixture
def library(index: Path, photos: Path) -> Library:
    """Twelve indexed photos, four of them in a subfolder, and a tiny model."""
    library = open_tiny(index)
    library.index([photos])
    return library


def with_encoder(index: Path, encoder: TinyEncoder) -> Library:
    return Library.open(index, model="pocket", encoder=encoder)


def expected(image: Path, labels: Sequence[str] = LABELS) -> tuple[np.ndarray, np.ndarray]:
    """Cosines and probabilities of a photo's labels, computed step by step."""
    encoder = TinyEncoder()
    rows = []
    for label in labels:
        mean = encoder.encode_texts([t.format(label) for t in TEMPLATES]).mean(0)
        rows.append(mean / np.linalg.norm(mean))
    with Image.open(image) as opened:
        view = encoder.prepare(opened.convert("RGB"))
    cosines = np.array(rows) @ encoder.encode_images(view[None])[0]
    odds = np.exp((cosines - cosines.max()).astype(np.float64) * encoder.logit_scale)
    return cosines, odds / odds.sum()


def best(library: Library, photo: Path) -> str:
    return library.label(photo, LABELS, 1)[0].label


def counts(found: Sequence[LabelCount]) -> dict[str, int]:
    return {count.label: count.photos for count in found}


def paths(found: Sequence[LabelledPhoto]) -> list[Path]:
    return [photo.hit.path for photo in found]


# One photo


def test_a_photos_labels_are_the_softmax_over_the_mean_of_the_templates(
    library: Library, photos: Path
) -> None:
    photo = photos / "03.jpg"
    found = library.label(photo, LABELS)
    cosines, probabilities = expected(photo)
    order = np.argsort(-cosines)
    assert [label.label for label in found] == [LABELS[place] for place in order]
    assert [label.score for label in found] == pytest.approx(cosines[order], abs=2e-3)
    assert [label.probability for label in found] == pytest.approx(probabilities[order], abs=0.05)
    assert sum(label.probability for label in found) == pytest.approx(1, abs=1e-5)


def test_k_is_how_many_labels_are_given(library: Library, photos: Path) -> None:
    everything = library.label(photos / "03.jpg", LABELS, ALL)
    assert library.label(photos / "03.jpg", LABELS, 2) == everything[:2]
    with pytest.raises(InvalidInput, match="k must be at least 1"):
        library.label(photos / "03.jpg", LABELS, 0)


def test_a_photo_that_is_not_indexed_and_a_pil_image_have_labels_too(
    library: Library, tmp_path: Path
) -> None:
    picture(77).save(tmp_path / "new.png")
    cosines, _ = expected(tmp_path / "new.png")
    for image in (tmp_path / "new.png", picture(77)):
        found = library.label(image, LABELS)
        assert [label.score for label in found] == pytest.approx(
            sorted(cosines, reverse=True), abs=1e-6
        )


# A folder or everything


def test_each_photo_counts_for_its_best_label(library: Library, photos: Path) -> None:
    single = Counter(best(library, photo) for photo in photos.rglob("*.jpg"))
    assert len(single) > 2
    found = library.count_labels(labels=LABELS)
    assert counts(found) == single
    assert [count.photos for count in found] == sorted(single.values(), reverse=True)
    assert library.count_labels(labels=LABELS, k=1) == found[:1]


def test_an_example_is_the_surest_photo_of_its_label(library: Library) -> None:
    for count in library.count_labels(labels=LABELS):
        found = library.photos_labelled(count.label, labels=LABELS, k=ALL)
        assert count.example == found[0].hit.path
        assert count.photos == len(found)


def test_the_photos_of_a_label_come_surest_first(library: Library, photos: Path) -> None:
    everywhere = [library.photos_labelled(label, labels=LABELS, k=ALL) for label in LABELS]
    assert sorted(chain(*map(paths, everywhere))) == sorted(photos.rglob("*.jpg"))
    for label, found in zip(LABELS, everywhere, strict=True):
        sure = [photo.probability for photo in found]
        assert sure == sorted(sure, reverse=True)
        for photo in found:
            top = library.label(photo.hit.path, LABELS, 1)[0]
            assert top.label == label
            assert photo.hit.score == pytest.approx(top.score, abs=1e-3)
            assert photo.probability == pytest.approx(top.probability, abs=1e-2)
        assert library.photos_labelled(label, labels=LABELS, k=1) == found[:1]


def test_copies_count_as_photos(library: Library, photos: Path) -> None:
    before = counts(library.count_labels(labels=LABELS))
    label = best(library, photos / "00.jpg")
    shutil.copy(photos / "00.jpg", photos / "trip" / "copy.jpg")
    library.index()
    assert counts(library.count_labels(labels=LABELS)) == before | {label: before[label] + 1}
    assert {photos / "00.jpg", photos / "trip" / "copy.jpg"} <= set(
        paths(library.photos_labelled(label, labels=LABELS, k=ALL))
    )
    found = library.photos_labelled(label, photos / "trip", LABELS, ALL)
    assert photos / "trip" / "copy.jpg" in paths(found)
    assert photos / "00.jpg" not in paths(found)


def test_a_folder_is_what_lies_below_it(library: Library, photos: Path, tmp_path: Path) -> None:
    (photos / "trip2").mkdir()
    (photos / "trip").joinpath("deep").mkdir()
    picture(50).save(photos / "trip2" / "a.jpg")
    picture(51).save(photos / "trip" / "deep" / "b.jpg")
    library.index()
    for folder, photo_count in (
        (tmp_path, 14),
        (photos, 14),
        (photos / "trip", 5),
        (photos / "trip" / "deep", 1),
        (photos / "trip2", 1),
    ):
        assert sum(counts(library.count_labels(folder, LABELS)).values()) == photo_count
        inside = [library.photos_labelled(label, folder, LABELS, ALL) for label in LABELS]
        assert set(chain(*map(paths, inside))) == set(folder.rglob("*.jpg"))


def test_a_folder_whose_name_is_not_utf8_counts_too(library: Library, photos: Path) -> None:
    folder = photos / os.fsdecode(b"caf\xe9")
    try:
        folder.mkdir()
    except OSError:
        pytest.skip("this file system takes UTF-8 alone")
    picture(60).save(folder / "a.jpg")
    library.index()
    (count,) = library.count_labels(folder, LABELS)
    assert count.example == folder / "a.jpg"
    (photos / "trip" / os.fsdecode(b"\xff")).mkdir()
    picture(61).save(photos / "trip" / os.fsdecode(b"\xff") / "b.jpg")
    library.index()
    assert sum(counts(library.count_labels(photos / "trip", LABELS)).values()) == 5


def test_an_indexed_folder_that_is_not_there_now_is_known(library: Library, photos: Path) -> None:
    before = counts(library.count_labels(photos, LABELS))
    photos.rename(photos.with_name("away"))
    assert counts(library.count_labels(photos, LABELS)) == before


def test_photos_that_cannot_be_brought_into_the_vector_file_count(
    library: Library, photos: Path, index: Path
) -> None:
    before = counts(library.count_labels(labels=LABELS))
    for file in (index / "vectors").glob("*.f16"):
        file.unlink()
    with write_lock(index):
        assert counts(library.count_labels(labels=LABELS)) == before


def test_an_index_without_photos_has_no_labels(library: Library, photos: Path, index: Path) -> None:
    library.forget(photos)
    assert library.count_labels(labels=LABELS) == []
    assert library.photos_labelled("cat", labels=LABELS) == []
    with Library.open(index.with_name("new")) as empty:
        assert empty.count_labels() == []
        assert empty.photos_labelled("cat") == []
        assert empty.label(picture(1)) == []


# Lists of labels


def test_our_own_labels_are_a_few_hundred_for_all_kinds_of_pictures() -> None:
    ours = read_labels(None)
    assert 300 <= len(ours) <= 700
    assert {"cat", "beach", "wedding", "screenshot", "scanned document", "selfie", "receipt"} <= {
        *ours
    }
    assert all(label == label.strip() and len(label) <= 40 for label in ours)


def test_imagenets_labels_are_open_clips() -> None:
    from open_clip import IMAGENET_CLASSNAMES

    assert read_labels("imagenet") == list(dict.fromkeys(IMAGENET_CLASSNAMES))


def test_a_label_file_has_one_a_line(tmp_path: Path) -> None:
    (file := tmp_path / "labels.txt").write_bytes(
        "\ufeff# mine\r\n  red   car \r\n\r\ncafé\nred car\n#1 fan\n".encode()
    )
    assert read_labels(file) == read_labels(str(file)) == ["red car", "café"]


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"", "holds no labels"),
        (b"\n  \n# only this\n", "holds no labels"),
        (b"\xff\xfe\x00", "is not UTF-8 text"),
        (None, "No such file"),
    ],
    ids=["empty", "blank", "binary", "missing"],
)
def test_a_bad_label_file_is_one_line_and_exit_code_2(
    library: Library,
    photos: Path,
    tmp_path: Path,
    clipsearch: Run,
    content: bytes | None,
    says: str,
) -> None:
    file = tmp_path / "labels.txt"
    if content is not None:
        file.write_bytes(content)
    assert says in complaint(clipsearch("label", photos / "00.jpg", "--labels", file))
    assert says in complaint(clipsearch("label", "--labels", file))


def test_no_labels_at_all_are_refused(library: Library, photos: Path) -> None:
    for nothing in ([], ["", " "]):
        with pytest.raises(InvalidInput, match="holds no labels"):
            library.label(photos / "00.jpg", nothing)


# What is remembered


def test_a_label_is_embedded_once(library: Library, photos: Path, index: Path) -> None:
    encoder = CountingTexts()
    with with_encoder(index, encoder) as counting:
        first = counting.count_labels(labels=LABELS)
        assert len(encoder.texts) == len(LABELS) * len(TEMPLATES)
        counting.count_labels(labels=[*LABELS, "volcano"])
        assert encoder.texts[len(LABELS) * len(TEMPLATES) :] == [
            template.format("volcano") for template in TEMPLATES
        ]
        counting.label(photos / "00.jpg", ["volcano", "cat"])
        assert len(encoder.texts) == (len(LABELS) + 1) * len(TEMPLATES)
    with Library.open(index) as again:
        assert again.count_labels(labels=LABELS) == first
        assert not again._models._encoders


@pytest.mark.parametrize("damage", [b"", b"PK\x03\x04 not really", None], ids=repr)
def test_what_is_remembered_may_be_damaged_or_cut_short(
    library: Library, index: Path, damage: bytes | None
) -> None:
    before = library.count_labels(labels=LABELS)
    (file,) = (index / "vectors").glob("*.labels")
    file.write_bytes(file.read_bytes()[:-100] if damage is None else damage)
    assert library.count_labels(labels=LABELS) == before
    with Library.open(index) as again:
        assert again.count_labels(labels=LABELS) == before


def test_usual_labels_are_counted_again_once_photos_have_changed(
    library: Library, photos: Path, index: Path
) -> None:
    assert library.counted_labels() == []  # they are not embedded yet
    library.count_labels()
    first = library.counted_labels()
    assert sum(it.photos for it in first) == 12
    for rows in (index / "vectors").glob("*.f16"):  # nobody looks at them meanwhile
        rows.unlink()
    with library.twin() as twin:  # as another thread of a server has it
        assert library.counted_labels() == twin.counted_labels() == first
        assert list((index / "vectors").glob("*.f16")) == []
        library.forget(photos / "00.jpg")
        for one in (twin, library):
            assert sum(it.photos for it in one.counted_labels()) == 11
            assert [it.label for it in one.counted_labels(2)] == [
                it.label for it in one.counted_labels()[:2]
            ]


def test_what_another_model_remembered_is_not_believed(
    library: Library, photos: Path, index: Path, tmp_path: Path
) -> None:
    class Other(CountingTexts):
        weights = "another"

    library.count_labels(labels=LABELS)
    other = Other()
    with with_encoder(tmp_path / "other", other) as second:
        second.index([photos])
        (file,) = (index / "vectors").glob("*.labels")
        shutil.copy(file, tmp_path / "other" / "vectors")
        second.count_labels(labels=LABELS)
    assert len(other.texts) == len(LABELS) * len(TEMPLATES)


def test_what_cannot_be_remembered_is_said_and_answered(
    library: Library, index: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (index / "vectors" / "1-pocket.labels").mkdir()
    found = library.count_labels(labels=LABELS)
    assert sum(counts(found).values()) == 12
    assert "could not be kept" in caplog.text
    assert {file.suffix for file in (index / "vectors").iterdir()} == {".f16", ".ids", ".labels"}


def test_a_stopped_run_keeps_the_labels_that_it_embedded(library: Library, index: Path) -> None:
    many = [f"thing {number}" for number in range(40)]
    with (
        with_encoder(index, CountingTexts(limit=20 * len(TEMPLATES))) as stopped,
        pytest.raises(KeyboardInterrupt),
    ):
        stopped.count_labels(labels=many)
    encoder, told = CountingTexts(), []
    with with_encoder(index, encoder) as again:
        again.count_labels(labels=many, progress=lambda done, total: told.append((done, total)))
    assert len(encoder.texts) == (40 - 16) * len(TEMPLATES)
    assert told == [(16, 24), (24, 24)]


# The command


@pytest.mark.parametrize("labels", ["imagenet", None])
def test_labels_that_are_remembered_need_no_torch(
    library: Library, photos: Path, index: Path, labels: str | None
) -> None:
    found = library.label(photos / "00.jpg", labels)
    options = ["--labels", labels] if labels else []
    for command in (
        ["label", photos / "00.jpg", *options],
        ["label", *options],
        ["label", photos / "trip", "--show", "zebra", *options, "--json"],
    ):
        done = probe(index, *command)
        assert done.stderr.splitlines()[-1] == "imported:", command
        assert done.returncode in (0, 1)
    done = probe(index, "label", photos / "00.jpg", *options)
    assert [line.split("\t")[2] for line in done.stdout.splitlines()] == [
        label.label for label in found
    ]


@pytest.fixture
def labels(library: Library, tmp_path: Path) -> Path:
    """A file of labels that the index's model has embedded."""
    (file := tmp_path / "labels.txt").write_text("\n".join(LABELS), "utf-8")
    library.count_labels(labels=file)
    return file


def test_a_photos_labels_are_printed(
    library: Library, labels: Path, photos: Path, index: Path, clipsearch: Run
) -> None:
    arguments = ["label", photos / "03.jpg", "--labels", labels, "-k", "3"]
    found = library.label(photos / "03.jpg", LABELS, 3)
    rows = [[str(rank), f"{it.probability:.3f}", it.label] for rank, it in enumerate(found, 1)]
    assert [line.split("\t") for line in clipsearch(*arguments).stdout.splitlines()] == rows
    assert json.loads(clipsearch(*arguments, "--json").stdout) == [
        it.as_dict(rank) for rank, it in enumerate(found, 1)
    ]
    code, screen = on_terminal(index, *arguments)
    assert code == 0
    assert all(word in screen for word in ("rank", "probability", "label", found[0].label))


def test_a_librarys_labels_are_printed(
    library: Library, labels: Path, photos: Path, clipsearch: Run
) -> None:
    arguments = ["label", photos, "--labels", labels]
    found = library.count_labels(photos, LABELS)
    assert [line.split("\t") for line in clipsearch(*arguments).stdout.splitlines()] == [
        [str(rank), str(it.photos), it.label, str(it.example)] for rank, it in enumerate(found, 1)
    ]
    assert json.loads(clipsearch(*arguments, "--json").stdout) == [
        it.as_dict(rank) for rank, it in enumerate(found, 1)
    ]


def test_the_photos_of_a_label_are_printed(library: Library, labels: Path, clipsearch: Run) -> None:
    label = library.count_labels(labels=LABELS)[0].label
    arguments = ["label", "--labels", labels, "--show", label]
    found = library.photos_labelled(label, labels=LABELS)
    assert [line.split("\t") for line in clipsearch(*arguments).stdout.splitlines()] == [
        [str(rank), f"{it.probability:.3f}", str(it.hit.path)] for rank, it in enumerate(found, 1)
    ]
    shown = json.loads(clipsearch(*arguments, "--json").stdout)
    assert shown == json.loads(json.dumps([it.as_dict(rank) for rank, it in enumerate(found, 1)]))


def test_a_label_that_no_photo_has_is_exit_code_1(
    library: Library, labels: Path, clipsearch: Run
) -> None:
    (unused, *_) = set(LABELS) - counts(library.count_labels(labels=LABELS)).keys()
    done = clipsearch("label", "--labels", labels, "--show", unused)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == f"clipsearch: no photo is best described by {unused!r}\n"


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["nothing.jpg"], "nothing.jpg cannot be used as a picture: No such file"),
        (["broken.jpg"], "broken.jpg cannot be used as a picture"),
        (["nowhere"], "the index holds no photos below"),
        (["home"], "the index holds no photos below"),
        (["photos/00.jpg", "--show", "cat"], "the index holds no photos below"),
        (["-k", "0"], "-k must be at least 1"),
        (["--show", "bat"], "'bat' is not among the labels; did you mean 'boat' or 'cat'?"),
        (["--show", ""], "'' is not among the labels"),
    ],
)
def test_a_mistake_is_one_line_and_exit_code_2(
    labels: Path, tmp_path: Path, clipsearch: Run, arguments: list[str], says: str
) -> None:
    (tmp_path / "broken.jpg").write_bytes(b"")
    assert says in complaint(clipsearch("label", *arguments, "--labels", labels, cwd=tmp_path))


def complaint(done: object) -> str:
    """The one line with which a command fails."""
    assert (done.returncode, done.stdout) == (2, "")  # type: ignore[attr-defined]
    (line,) = done.stderr.splitlines()  # type: ignore[attr-defined]
    assert line.startswith("clipsearch: ")
    return str(line)


# Scores


def test_scores_are_cosines_and_their_softmax(
    library: Library, photos: Path, tmp_path: Path
) -> None:
    picture(90).save(tmp_path / "new.png")
    images = [photos / "00.jpg", tmp_path / "new.png", picture(91)]
    found = library.score(images, LABELS)
    encoder = TinyEncoder()
    views = [np.asarray(Image.open(image).convert("RGB")) for image in images[:2]]
    views = [encoder.prepare(Image.fromarray(view)) for view in views]
    rows = encoder.encode_images(np.stack([*views, encoder.prepare(picture(91))]))
    cosines = rows @ encoder.encode_texts(LABELS).T
    assert found.cosines == pytest.approx(cosines, abs=2e-3)
    odds = np.exp(100 * found.cosines.astype(np.float64))
    assert found.probabilities == pytest.approx(odds / odds.sum(1, keepdims=True), rel=1e-3)
    assert found.cosines.dtype == found.probabilities.dtype == np.float32


def test_a_model_trained_with_a_sigmoid_tells_of_each_text_by_itself(
    index: Path, photos: Path
) -> None:
    class Sigmoid(TinyEncoder):
        logit_scale = 20.0
        logit_bias = -5.0

    with with_encoder(index, Sigmoid()) as library:
        library.index([photos])
        found = library.score([photos / "00.jpg"], LABELS)
        by_label = {label.label: label for label in library.label(photos / "00.jpg", LABELS)}
        counted = library.count_labels(labels=LABELS)
    expect = 1 / (1 + np.exp(5 - 20 * found.cosines.astype(np.float64)))
    assert found.probabilities == pytest.approx(expect, rel=1e-5)
    for label in by_label.values():
        assert label.probability == pytest.approx(1 / (1 + np.exp(5 - 20 * label.score)))
    with Library.open(index) as again:  # without a model: by what is remembered
        assert again.count_labels(labels=LABELS) == counted
        for count in counted:
            photo = again.photos_labelled(count.label, labels=LABELS)[0]
            assert photo.probability == pytest.approx(1 / (1 + np.exp(5 - 20 * photo.hit.score)))


def test_a_score_is_the_one_that_query_gives(library: Library, photos: Path) -> None:
    hits = {hit.path: hit.score for hit in library.query("a dog", ALL)}
    images = sorted(hits)
    found = library.score(images, ["a dog"])
    assert found.cosines[:, 0] == pytest.approx([hits[image] for image in images], abs=1e-3)
    assert np.isnan(found.probabilities).all()  # compared with no other text


def test_a_text_that_is_cut_is_said(
    library: Library, photos: Path, caplog: pytest.LogCaptureFixture
) -> None:
    library.score([photos / "00.jpg"], ["a dog", "word " * 50])
    (record,) = caplog.records
    assert "the model reads 100 tokens; cut: word word" in record.message


@pytest.mark.parametrize(
    ("images", "texts", "says"),
    [
        ([], ["a"], "at least one picture"),
        (["photos/00.jpg"], [], "give the texts"),
        (["photos/00.jpg"], "a dog", "give the texts"),
        (["photos/00.jpg"], ["a", " "], "one of the texts is empty"),
        (["photos/00.jpg", "nothing.jpg"], ["a"], "nothing.jpg cannot be used as a picture"),
        (["broken.jpg"], ["a"], "broken.jpg cannot be used as a picture: the file is empty"),
        (["photos"], ["a"], "photos cannot be used as a picture"),
    ],
)
def test_scores_of_nothing_are_refused(
    library: Library,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    images: list[str],
    texts: list[str],
    says: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "broken.jpg").write_bytes(b"")
    with pytest.raises(InvalidInput, match=says):
        library.score(images, texts)


def test_scores_need_no_index(photos: Path, spec: str, index: Path, clipsearch: Run) -> None:
    images, texts = [str(photos / "00.jpg"), str(photos / "01.jpg")], ["a dog", "two\tcats"]
    command = ["score", *images, "--text", texts[0], "--text", texts[1], "--model", spec]
    shown = json.loads(clipsearch(*command, "--json").stdout)
    assert documented("score") == set(shown)
    assert shown["texts"] == texts
    assert [image["path"] for image in shown["images"]] == images
    for image in shown["images"]:
        assert len(image["scores"]) == 2
        assert sum(image["probabilities"]) == pytest.approx(1, abs=1e-5)
    assert [line.split("\t") for line in clipsearch(*command).stdout.splitlines()] == [
        [f"{score:.4f}", f"{probability:.3f}", text, image["path"]]
        for image in shown["images"]
        for score, probability, text in zip(
            image["scores"], image["probabilities"], ["a dog", "two\\x09cats"], strict=True
        )
    ]
    alone = ["score", images[0], "--text", "a dog", "--model", spec]
    assert json.loads(clipsearch(*alone, "--json").stdout)["images"][0]["probabilities"] == [None]
    assert clipsearch(*alone).stdout.split("\t")[1] == "-"
    assert not index.exists()


def test_a_score_takes_the_model_of_the_index(
    photos: Path, spec: str, index: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with Library.open(index, model=spec) as library:
        library.index([photos])
        ours = library.score([photos / "00.jpg"], ["a dog"]).cosines
    monkeypatch.setenv("CLIPSEARCH_INDEX", str(index))
    assert score([photos / "00.jpg"], ["a dog"]).cosines == pytest.approx(ours, abs=1e-6)
    assert score([photos / "00.jpg"], ["a dog"], index=index).cosines == pytest.approx(
        ours, abs=1e-6
    )


def test_bad_scores_are_one_line_and_exit_code_2(
    photos: Path, tmp_path: Path, clipsearch: Run
) -> None:
    assert "give the texts" in complaint(clipsearch("score", photos / "00.jpg"))
    for bad in ("nowhere", "nothing.jpg"):
        arguments = ["score", tmp_path / bad, "--text", "a", "--model", "pocket"]
        assert "cannot be used as a picture" in complaint(clipsearch(*arguments))
    arguments = ["score", photos / "00.jpg", "--text", "a", "--index", tmp_path / "none"]
    assert "holds no index" in complaint(clipsearch(*arguments))


# Sense

SHOWN = {
    "chelsea.png": {"cat", "kitten"},
    "coffee.png": {"cup of coffee"},
    "motorcycle_left.png": {"motorcycle"},
    "hubble_deep_field.jpg": {"galaxy", "night sky with stars"},
    "page.png": {"receipt", "screenshot"},
}
# Some of our own labels: to embed all of them takes longer than a test should.
CHOICE = ["cat", "kitten", "dog", "cup of coffee", "birthday cake", "motorcycle", "bicycle"]
CHOICE += ["rocket", "galaxy", "night sky with stars", "brick wall", "beach", "wedding"]
CHOICE += ["screenshot", "receipt", "forest", "soccer match"]


@pytest.fixture(scope="module")
def photographs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Library, Path]]:
    """Photographs that scikit-image carries, indexed with pocket, and their folder."""
    skimage = find_spec("skimage")
    if pocket_files() is None or skimage is None or skimage.origin is None:
        pytest.skip("needs: pip install 'clipsearch[pocket,samples]'")
    place = tmp_path_factory.mktemp("photographs")
    (folder := place / "photos").mkdir()
    for name in SHOWN:
        shutil.copy(Path(skimage.origin).parent / "data" / name, folder)
    with Library.open(place / "index", model="pocket", device="cpu") as library:
        library.index([folder])
        yield library, folder


@pytest.mark.parametrize("name", SHOWN)
def test_a_photograph_gets_a_fitting_label(photographs: tuple[Library, Path], name: str) -> None:
    library, folder = photographs
    assert set(CHOICE) <= set(read_labels(None))
    assert library.label(folder / name, CHOICE, 1)[0].label in SHOWN[name]


def test_photographs_are_counted_under_fitting_labels(photographs: tuple[Library, Path]) -> None:
    library, folder = photographs
    for count in library.count_labels(labels=CHOICE):
        assert count.label in SHOWN[count.example.name]
    (found,) = library.photos_labelled("cup of coffee", labels=CHOICE)
    assert found.hit.path == folder / "coffee.png"


def test_photographs_score_highest_with_their_own_texts(
    photographs: tuple[Library, Path],
) -> None:
    library, folder = photographs
    images = [folder / name for name in ("chelsea.png", "coffee.png", "motorcycle_left.png")]
    found = library.score(images, ["a cat", "a cup of coffee", "a motorcycle"])
    assert np.diag(found.probabilities) == pytest.approx(1, abs=0.1)
