"""How models are measured: by clip-benchmark's metrics, by hand, and from the command line."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from clip_benchmark.metrics import zeroshot_classification, zeroshot_retrieval
from conftest import picture
from sklearn.metrics import balanced_accuracy_score
from test_cli import on_terminal
from test_docs import documented
from tiny import BlindEncoder, TinyEncoder

from clipsearch import InvalidInput, ModelError
from clipsearch.evaluation import ranks, retrieval, zeroshot
from clipsearch.evaluation.bootstrap import estimate_ranks, estimate_shares
from clipsearch.evaluation.embedding import candidates
from clipsearch.evaluation.pairs import Pairs, read_pairs
from clipsearch.evaluation.retrieval import RetrievalFigures, evaluate_retrieval
from clipsearch.evaluation.zeroshot import ClassFolders, evaluate_zeroshot, read_classes
from clipsearch.search.labels.lists import TEMPLATES

TINY = {"tiny": TinyEncoder}
COUNTS = [5] * 30 + [1, 2, 7]  # captions of each image


def unit(rows: np.ndarray) -> np.ndarray:
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)


@pytest.fixture(scope="module")
def vectors() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Images, texts that are a little like their own, and whose each text is."""
    rng = np.random.default_rng(1)
    owners = np.repeat(np.arange(len(COUNTS)), COUNTS)
    images = unit(rng.normal(size=(len(COUNTS), 24)))
    return images, unit(images[owners] + 0.45 * rng.normal(size=(len(owners), 24))), owners


def recalls(found: RetrievalFigures) -> dict[str, float]:
    """By the names that clip-benchmark has for them."""
    sides = {"image": found.text_to_image, "text": found.image_to_text}
    return {
        f"{side}_retrieval_recall@{k}": estimate.value
        for side, ranked in sides.items()
        for k, estimate in ranked.recall.items()
    }


# The metrics


class Given:
    """What clip-benchmark takes for a model: it gives the vectors that it is given."""

    def encode_image(self, rows: torch.Tensor) -> torch.Tensor:
        return rows

    def encode_text(self, rows: torch.Tensor) -> torch.Tensor:
        return rows


def test_recall_is_what_clip_benchmark_computes_of_the_same_vectors(
    vectors: tuple[np.ndarray, np.ndarray, np.ndarray],
) -> None:
    images, texts, owners = vectors
    batches = [
        (
            torch.tensor(images[start : start + 8]),
            [np.flatnonzero(owners == image).tolist() for image in range(start, start + 8)][
                : len(images) - start
            ],
        )
        for start in range(0, len(images), 8)
    ]
    theirs = zeroshot_retrieval.evaluate(
        Given(), batches, lambda rows: torch.tensor(texts[rows]), "cpu", False, [1, 5, 10]
    )
    ours = recalls(retrieval.figures("given", images, texts, owners))
    assert ours == pytest.approx(theirs, abs=1e-6)
    assert 0.1 < ours["image_retrieval_recall@1"] < 0.9


@pytest.mark.parametrize("classes", [4, 9])
def test_accuracy_is_what_clip_benchmark_computes_of_the_same_vectors(classes: int) -> None:
    rng = np.random.default_rng(2)
    of = np.concatenate([np.arange(classes), rng.integers(classes, size=120)])
    names = unit(rng.normal(size=(classes, 16)))
    images = unit(names[of] + 0.6 * rng.normal(size=(len(of), 16)))
    folders = ClassFolders([str(one) for one in range(classes)], [Path()] * len(of), of)

    columns = zeroshot_classification.zero_shot_classifier(
        Given(), lambda texts: torch.tensor(names[[int(text) for text in texts]]),
        folders.classes, ["{c}"], "cpu", False,
    )  # fmt: skip
    logits, target = zeroshot_classification.run_classification(
        Given(), columns, [(torch.tensor(images), torch.tensor(of))], "cpu", False
    )

    def top(k: int) -> float:  # clip-benchmark's own `accuracy` does not run with NumPy 2
        return (logits.topk(k)[1] == target[:, None]).any(1).float().mean().item()

    ours = zeroshot.figures("given", images, names, folders)
    assert ours.all.top1.value == pytest.approx(top(1), abs=1e-6)
    balanced = balanced_accuracy_score(target, logits.argmax(1))
    assert ours.mean.top1.value == pytest.approx(balanced, abs=1e-6)
    assert 0.1 < ours.all.top1.value < 0.9
    if classes < 5:
        assert ours.all.top5 is None
    else:
        assert ours.all.top5 is not None
        assert ours.all.top5.value == pytest.approx(top(5), abs=1e-6)


@pytest.mark.parametrize("at_a_time", [1, 40, 1 << 24])
def test_ranks_are_those_of_a_plain_count_however_few_scores_fit_in_memory(
    vectors: tuple[np.ndarray, np.ndarray, np.ndarray],
    monkeypatch: pytest.MonkeyPatch,
    at_a_time: int,
) -> None:
    monkeypatch.setattr(ranks, "_SCORES_AT_A_TIME", at_a_time)
    images, texts, owners = vectors
    scores = texts.astype(np.float64) @ images.T.astype(np.float64)
    of_texts = [1 + sum(row > row[own]) for row, own in zip(scores, owners, strict=True)]
    assert ranks.ranks_of(texts, images, owners).tolist() == of_texts
    of_images = []
    for image, column in enumerate(scores.T):
        mine, others = column[owners == image], column[owners != image]
        of_images.append(1 + sum(others > mine.max()))
    assert ranks.best_ranks_of(images, texts, owners).tolist() == of_images


def test_a_tie_and_what_is_no_number_count_against() -> None:
    same, owners = unit(np.ones((4, 3))), np.arange(4)
    assert ranks.ranks_of(same, same, owners).tolist() == [4] * 4
    assert ranks.best_ranks_of(same, same, owners).tolist() == [4] * 4
    broken = np.full((4, 3), np.nan, np.float32)
    assert ranks.ranks_of(broken, same, owners).tolist() == [4] * 4
    assert ranks.best_ranks_of(broken, same, owners).tolist() == [5] * 4


# The intervals


def test_a_figure_lies_in_its_interval_which_is_always_the_same() -> None:
    rng = np.random.default_rng(3)
    some = rng.integers(1, 30, 400)
    found = estimate_ranks(some, np.arange(400), (1, 5, 10))
    assert found == estimate_ranks(some, np.arange(400), (1, 5, 10))
    for k, recall in found.recall.items():
        share = (some <= k).mean()
        assert recall.value == share
        # As the normal approximation has it, within a tenth.
        reach = 1.96 * np.sqrt(share * (1 - share) / 400)
        assert recall.high - recall.low == pytest.approx(2 * reach, rel=0.1)
    assert found.median.low <= found.median.value == np.median(some) <= found.median.high


def test_more_captions_of_one_image_that_say_the_same_make_nothing_surer() -> None:
    some = np.random.default_rng(4).integers(1, 20, 100)
    once = estimate_ranks(some, np.arange(100), (1, 5, 10))
    assert estimate_ranks(np.repeat(some, 5), np.repeat(np.arange(100), 5), (1, 5, 10)) == once


def test_each_class_has_an_interval_of_its_own() -> None:
    (sure, even), mean = estimate_shares(np.array([50, 50]), np.array([50, 100]))
    assert (sure.low, sure.value, sure.high) == (1, 1, 1)
    assert even.value == 0.5
    assert even.high - even.low == pytest.approx(2 * 1.96 * 0.05, rel=0.1)
    assert mean.value == 0.75
    assert mean.high - mean.low == pytest.approx((even.high - even.low) / 2, rel=0.1)


# Tables of captions


def written(file: Path, text: str) -> Path:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text, "utf-8")
    return file


def told(pairs: Pairs) -> list[tuple[str, str]]:
    names = [pairs.images[owner].name for owner in pairs.owners]
    return list(zip(names, pairs.captions, strict=True))


@pytest.mark.parametrize(
    "text",
    [
        'image,caption\na.jpg,one\nb.jpg,two\na.jpg,"three, four"\n',
        "filepath\ttitle\na.jpg\tone\nb.jpg\ttwo\na.jpg\tthree, four\n",
        "image_name| comment_number| comment\n"
        "a.jpg| 0| one\nb.jpg| 0| two\na.jpg| 1| three, four\n",
        "\ufeffTEXT;Path\r\none;a.jpg\r\n\r\ntwo;b.jpg\r\nthree, four;a.jpg\r\n",
        'caption,id,filename,image\none,7,x,a.jpg\ntwo,8,x,b.jpg\n"three, four",9,x,a.jpg',
    ],
    ids=["flickr8k", "open_clip", "flickr30k", "spreadsheet", "others"],
)
def test_tables_are_read_as_people_have_them(tmp_path: Path, text: str) -> None:
    pairs = read_pairs(written(tmp_path / "pairs.csv", text))
    assert told(pairs) == [("a.jpg", "one"), ("a.jpg", "three, four"), ("b.jpg", "two")]
    assert pairs.images == [tmp_path / "a.jpg", tmp_path / "b.jpg"]


def test_names_belong_to_the_table_or_to_another_folder(tmp_path: Path) -> None:
    table = written(tmp_path / "pairs.csv", f"image,caption\nx/a.jpg,one\n{tmp_path}/b.jpg,two\n")
    assert read_pairs(table).images == [tmp_path / "x" / "a.jpg", tmp_path / "b.jpg"]
    elsewhere = read_pairs(table, tmp_path / "photos")
    assert elsewhere.images == [tmp_path / "photos" / "x" / "a.jpg", tmp_path / "b.jpg"]


def test_an_image_may_have_another_extension_than_the_table_says(tmp_path: Path) -> None:
    for name in ("a.webp", "b.png", "b.jpg", "c.png", "c.webp", "d.txt"):
        (tmp_path / name).touch()
    text = "image,caption\na.jpg,1\nb.jpg,2\nc.jpg,3\nd.jpg,4\n"
    names = [path.name for path in read_pairs(written(tmp_path / "pairs.csv", text)).images]
    assert names == ["a.webp", "b.jpg", "c.jpg", "d.jpg"]


def test_a_split_is_a_column_or_a_list_beside_the_table(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    text = "image,caption,split\na.jpg,one,train\nb.jpg,two,test\nb.jpg,three,test\n"
    column = written(tmp_path / "column.csv", text)
    test = [("b.jpg", "two"), ("b.jpg", "three")]
    assert told(read_pairs(column, split="Test")) == test
    assert len(read_pairs(column).captions) == 3
    assert "all splits are taken (test, train)" in caplog.text
    plain = written(tmp_path / "plain.csv", text.replace(",split", ""))
    written(tmp_path / "test.txt", "b.webp\nz.jpg\n")
    assert told(read_pairs(plain, split="test")) == test


def test_rows_that_lack_something_are_counted_and_left_out(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    text = "image,caption\na.jpg,one\n,two\nc.jpg\nd.jpg, \n"
    assert told(read_pairs(written(tmp_path / "pairs.csv", text))) == [("a.jpg", "one")]
    assert "rows without an image or a caption, which are left out: 3" in caplog.text


@pytest.mark.parametrize(
    ("content", "split", "says"),
    [
        (None, None, "cannot be read: No such file"),
        (b"", None, "is empty"),
        (b" \n\n", None, "is empty"),
        (b"\xff\xfe\x00", None, "it is not UTF-8 text"),
        (b"picture,caption\na,b\n", None, "has no column named 'image' .*names: picture, caption"),
        (b"image,words\na,b\n", None, "has no column named 'caption'"),
        (b"image,caption\n", None, "holds no row with an image and a caption"),
        (b"image,caption\na.jpg,one\n", "test", "split needs a column 'split' .*test.txt"),
        (b"image,caption,split\na,b,val\nc,d,dev\n", "test", "it has: dev, val"),
        (b'image,caption\na.jpg,"one\nb.jpg,two\n', None, "line 3: unexpected end of data"),
        (b"image,caption\na.jpg," + b"x" * 200_000, None, "line 2: field larger"),
    ],
)
def test_a_table_that_is_none_is_refused(
    tmp_path: Path, content: bytes | None, split: str | None, says: str
) -> None:
    table = tmp_path / "pairs.csv"
    if content is not None:
        table.write_bytes(content)
    with pytest.raises(InvalidInput, match=says):
        read_pairs(table, split=split)


# Whole evaluations


@pytest.fixture
def captioned(tmp_path: Path) -> Path:
    """Six pictures with two captions each, in a table."""
    rows = ["image,caption"]
    for seed in range(6):
        picture(seed).save(tmp_path / f"{seed}.png")
        rows += [f"{seed}.png,{'abcdefgh'[seed] * 3} {word}" for word in ("dog", "sea")]
    return written(tmp_path / "pairs.csv", "\n".join(rows))


def by_hand(images: Sequence[Path], texts: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
    from PIL import Image

    encoder = TinyEncoder()
    views = [encoder.prepare(Image.open(path).convert("RGB")) for path in images]
    return encoder.encode_images(np.stack(views)), encoder.encode_texts(texts)


def test_retrieval_embeds_as_an_index_does_and_counts_the_pairs(captioned: Path) -> None:
    pairs, steps = read_pairs(captioned), list[tuple[int, int]]()
    report = evaluate_retrieval(pairs, TINY, progress=lambda *step: steps.append(step))
    assert (report.images, report.captions, report.left_out) == (6, 12, ())
    expected = retrieval.figures("tiny", *by_hand(pairs.images, pairs.captions), pairs.owners)
    assert report.models == (expected,)
    assert steps[-1] == (18, 18)


def test_images_that_cannot_be_read_are_left_out_with_their_captions_for_all_models(
    captioned: Path, caplog: pytest.LogCaptureFixture
) -> None:
    whole = read_pairs(captioned)
    whole.images[2].write_bytes(b"no picture")
    whole.images[4].unlink()
    report = evaluate_retrieval(whole, {"tiny": TinyEncoder, "blind": BlindEncoder})
    assert (report.images, report.captions) == (4, 8)
    assert [one.path for one in report.left_out] == [whole.images[2], whole.images[4]]
    rest = evaluate_retrieval(whole.only([0, 1, 3, 5]), TINY)
    assert report.models[0] == rest.models[0]
    (record,) = caplog.records
    assert "left out 2 of 6 images that cannot be read; the first is" in record.message


def test_an_image_that_only_a_later_model_cannot_be_shown_is_an_error(captioned: Path) -> None:
    pairs = read_pairs(captioned)

    def late() -> TinyEncoder:
        pairs.images[0].unlink()
        return TinyEncoder()

    with pytest.raises(InvalidInput, match=r"0\.png was read for tiny and could not be for late"):
        evaluate_retrieval(pairs, {"tiny": TinyEncoder, "late": late})


def test_no_image_at_all_or_one_alone_are_errors(captioned: Path) -> None:
    pairs = read_pairs(captioned)
    with pytest.raises(InvalidInput, match="two images at least"):
        evaluate_retrieval(pairs.only([0]), TINY)
    elsewhere = read_pairs(captioned, captioned.parent / "nowhere")
    with pytest.raises(
        InvalidInput, match=r"none of the 6 images can be read; the first is .*0\.png"
    ):
        evaluate_retrieval(elsewhere, TINY)


@pytest.fixture
def folders(tmp_path: Path) -> Path:
    """Three classes of four pictures, and one picture that lies in none."""
    root = tmp_path / "classes"
    for number, name in enumerate(("black_cat", "dog", "sea")):
        (root / name / "more").mkdir(parents=True)
        for seed in range(4):
            place = root / name / ("more" if seed == 3 else "")
            picture(10 * number + seed).save(place / f"{seed}.png")
    picture(50).save(root / "stray.png")
    return root


def test_folders_are_classes_and_underscores_spaces(
    folders: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (folders / "empty").mkdir()
    found = read_classes(folders)
    assert found.classes == ["black cat", "dog", "sea"]
    assert found.classes_of.tolist() == [0] * 4 + [1] * 4 + [2] * 4
    assert found.images[3] == folders / "black_cat" / "more" / "3.png"
    assert "that lie in no class's folder and are left out: 1" in caplog.text


@pytest.mark.parametrize("templates", [(), ("a {} here", "the {}")])
def test_zero_shot_takes_the_mean_of_the_templates(folders: Path, templates: Sequence[str]) -> None:
    found = read_classes(folders)
    report = evaluate_zeroshot(found, TINY, templates)
    images, _ = by_hand(found.images, ["a"])
    names = [
        by_hand(found.images[:1], [text.replace("{}", name) for text in templates or TEMPLATES])[1]
        .mean(0) for name in found.classes
    ]  # fmt: skip
    assert report.models == (zeroshot.figures("tiny", images, unit(np.array(names)), found),)
    best = (images @ unit(np.array(names)).T).argmax(1)
    assert report.models[0].all.top1.value == (best == found.classes_of).mean()
    assert report.images == {"black cat": 4, "dog": 4, "sea": 4}


def test_a_class_whose_photos_cannot_be_read_is_left_out(
    folders: Path, caplog: pytest.LogCaptureFixture
) -> None:
    found = read_classes(folders)
    for path in found.images[4:8]:
        path.write_bytes(b"no picture")
    report = evaluate_zeroshot(found, TINY)
    assert report.images == {"black cat": 4, "sea": 4}
    assert len(report.left_out) == 4
    assert "left out the classes without an image that can be read: dog" in caplog.text


def test_folders_that_make_no_classes_are_refused(folders: Path, tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match="there is no folder"):
        read_classes(tmp_path / "nowhere")
    with pytest.raises(InvalidInput, match=r"two folders .* there are none"):
        evaluate_zeroshot(read_classes(folders / "dog" / "more"), TINY)
    with pytest.raises(InvalidInput, match=r"two folders .* there is one"):
        evaluate_zeroshot(read_classes(folders / "dog"), TINY)
    with pytest.raises(InvalidInput, match=r"'a photo' has no \{\}"):
        evaluate_zeroshot(read_classes(folders), TINY, ["a photo"])
    (folders / "black cat").mkdir()
    picture(51).save(folders / "black cat" / "5.png")
    with pytest.raises(InvalidInput, match="'black cat' and 'black_cat' are of one name"):
        read_classes(folders)


def test_a_model_or_a_precision_that_does_not_exist_is_refused_before_any_work() -> None:
    with pytest.raises(ModelError, match="'nothing' names no model"):
        candidates(["pocket", "nothing"])
    with pytest.raises(InvalidInput, match="precision half is none of: auto, fp32, bf16, fp16"):
        candidates(["pocket"], precision="half")


# The command line

# The real command line, which knows one more family of models: the tiny one.
RUN = """
from clipsearch.encoders.spec import FAMILIES
from clipsearch.cli import main
if __name__ == "__main__":
    FAMILIES["tiny"] = "tiny"
    main()
"""
PATHS = os.pathsep.join([str(Path(__file__).parent), *sys.path])
MODELS = ["--model", "tiny:a/small", "--model", "tiny:a/blind"]


def run(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", RUN, "eval", *map(str, arguments)],
        env=os.environ | {"PYTHONPATH": PATHS},
        capture_output=True, text=True, timeout=300, check=False,
    )  # fmt: skip


def test_retrieval_prints_a_line_for_each_search_and_model(captioned: Path) -> None:
    done = run("retrieval", captioned, *MODELS)
    said = "clipsearch: 12 captions of 6 images; in percent, with 95% intervals\n"
    assert (done.returncode, done.stderr) == (0, said)
    assert done.stdout.replace("\t", "|") == RETRIEVAL


def test_too_little_memory_is_told_in_a_line(captioned: Path) -> None:
    done = run("retrieval", captioned, "--model", "tiny:a/large")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.splitlines()[-1].startswith("clipsearch: there is not enough memory")
    assert "Traceback" not in done.stderr


def test_on_a_terminal_that_is_a_table(
    captioned: Path, index: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYTHONPATH", PATHS)
    command = ["eval", "retrieval", captioned, *MODELS]
    code, screen = on_terminal(index, *command, program=("-c", RUN))
    assert code == 0
    assert [line.rstrip() for line in screen.splitlines()] == TABLE.splitlines()


def test_zeroshot_prints_a_line_for_each_class_and_model(folders: Path) -> None:
    (folders / "stray.png").unlink()
    done = run("zeroshot", folders, *MODELS)
    said = "clipsearch: 12 photos of 3 classes; in percent, with 95% intervals\n"
    assert (done.returncode, done.stderr) == (0, said)
    assert done.stdout.replace("\t", "|") == ZEROSHOT


def test_the_json_is_as_documented(captioned: Path, folders: Path) -> None:
    (captioned.parent / "0.png").unlink()
    done = run("retrieval", captioned, *MODELS, "--json")
    shown = json.loads(done.stdout)
    assert shown.keys() == documented("eval retrieval")
    assert (shown["images"], shown["captions"], len(shown["left_out"])) == (5, 10, 1)
    assert "clipsearch: left out 1 of 6 images" in done.stderr
    small, blind = shown["models"]
    assert (small["model"], blind["model"]) == ("tiny:a/small", "tiny:a/blind")
    for search in ("text_to_image", "image_to_text"):
        assert list(small[search]) == ["recall_at_1", "recall_at_5", "recall_at_10", "median_rank"]
        assert small[search]["recall_at_1"].keys() == {"value", "low", "high"}
        assert blind[search]["recall_at_1"] == {"value": 0, "low": 0, "high": 0}
    shown = json.loads(run("zeroshot", folders, "--model", "tiny:a/small", "--json").stdout)
    assert shown.keys() == documented("eval zeroshot")
    (found,) = shown["models"]
    assert found.keys() == {"model", "top1", "top5", "mean_of_classes", "classes"}
    assert list(found["classes"]) == list(shown["images_by_class"])
    assert found["top5"] is None
    assert found["classes"]["dog"]["top1"].keys() == {"value", "low", "high"}


def test_a_mistake_is_one_line_and_exit_code_2(captioned: Path) -> None:
    for arguments, says in (
        (["retrieval", captioned.with_name("no.csv")], "no.csv cannot be read: No such file"),
        (["retrieval", captioned, "--split", "test"], "--split needs a column 'split'"),
        (["retrieval", captioned, "--images", captioned.parent / "x", *MODELS], "none of the 6"),
        (["zeroshot", captioned], "there is no folder"),
    ):
        done = run(*arguments)
        assert (done.returncode, done.stdout) == (2, "")
        (line,) = done.stderr.splitlines()
        assert line.startswith("clipsearch: ")
        assert says in line


RETRIEVAL = """\
text-to-image|tiny:a/small|8.3 ±16.7|75.0 ±33.3|100.0 ±0.0|4 (2.5-6)
text-to-image|tiny:a/blind|0.0 ±0.0|0.0 ±0.0|100.0 ±0.0|6 (6-6)
image-to-text|tiny:a/small|0.0 ±0.0|33.3 ±33.3|83.3 ±33.3|6.5 (3-9.5)
image-to-text|tiny:a/blind|0.0 ±0.0|0.0 ±0.0|0.0 ±0.0|11 (11-11)
"""
TABLE = """\
search         model               R@1         R@5        R@10  median rank
text-to-image  tiny:a/small  8.3 ±16.7  75.0 ±33.3  100.0 ±0.0    4 (2.5-6)
text-to-image  tiny:a/blind   0.0 ±0.0    0.0 ±0.0  100.0 ±0.0      6 (6-6)
image-to-text  tiny:a/small   0.0 ±0.0  33.3 ±33.3  83.3 ±33.3  6.5 (3-9.5)
image-to-text  tiny:a/blind   0.0 ±0.0    0.0 ±0.0    0.0 ±0.0   11 (11-11)
"""
ZEROSHOT = """\
(all photos)|12|tiny:a/small|25.0 ±25.0|-
(all photos)|12|tiny:a/blind|0.0 ±0.0|-
(mean of classes)|12|tiny:a/small|25.0 ±25.0|-
(mean of classes)|12|tiny:a/blind|0.0 ±0.0|-
black cat|4|tiny:a/small|25.0 ±50.0|-
black cat|4|tiny:a/blind|0.0 ±0.0|-
dog|4|tiny:a/small|25.0 ±50.0|-
dog|4|tiny:a/blind|0.0 ±0.0|-
sea|4|tiny:a/small|25.0 ±50.0|-
sea|4|tiny:a/blind|0.0 ±0.0|-
"""
