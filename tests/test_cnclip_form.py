"""Retrieval on data as Chinese-CLIP's authors give it, and answers as their scripts write them."""

from __future__ import annotations

import base64
import io
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import Run, picture
from tiny import TinyEncoder

from clipsearch import InvalidInput
from clipsearch.evaluation.cnclip import Judged, read_asked, read_judged
from clipsearch.evaluation.pairs import Pairs
from clipsearch.evaluation.retrieval import evaluate_retrieval, judged_figures

IDS = [1076345, 7, 30, 12, 99]
TEXTS = [
    {"text_id": 8428, "text": "高级感托特包斜挎", "image_ids": [1076345, 30]},
    {"text_id": 8429, "text": "海边的狗", "image_ids": [7]},
    {"text_id": 8430, "text": "a dog", "image_ids": [99, 7, 12]},
]


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """Five images and three texts, one image of no text."""
    folder = tmp_path / "data"
    folder.mkdir()
    write(folder, IDS, [*TEXTS, {"text_id": 1, "text": "nothing known"}])
    return folder


def write(folder: Path, ids: Sequence[int], texts: Sequence[dict[str, Any]]) -> None:
    lines = []
    for id in ids:
        content = io.BytesIO()
        picture(id, (64, 48)).save(content, "PNG")
        lines.append(f"{id}\t{base64.urlsafe_b64encode(content.getvalue()).decode()}\n")
    (folder / "valid_imgs.tsv").write_text("".join(lines))
    (folder / "valid_texts.jsonl").write_text(
        "".join(f"{json.dumps(it, ensure_ascii=False)}\n" for it in texts), "utf-8"
    )


def test_texts_and_images_are_read_and_unpacked_once(data: Path) -> None:
    judged = read_judged(data / "valid_texts.jsonl")
    assert judged.image_ids == IDS
    assert judged.text_ids == [8428, 8429, 8430, 1]
    assert judged.captions == ["高级感托特包斜挎", "海边的狗", "a dog", "nothing known"]
    pairs = list(zip(judged.texts.tolist(), judged.shown.tolist(), strict=True))
    assert pairs == [(0, 0), (0, 2), (1, 1), (2, 1), (2, 3), (2, 4)]
    assert [file.parent for file in judged.images] == [data / "valid_imgs"] * 5
    before = {file: file.stat().st_mtime_ns for file in judged.images}
    assert read_judged(data / "valid_texts.jsonl").images == list(before)
    assert {file: file.stat().st_mtime_ns for file in before} == before
    elsewhere = data.parent / "elsewhere"
    assert read_judged(data / "valid_texts.jsonl", elsewhere).images[0] == elsewhere / "1076345.jpg"
    left = judged.only([1, 4])
    assert (left.image_ids, left.texts.tolist(), left.shown.tolist()) == (
        [7, 99],
        [1, 2, 2],
        [0, 0, 1],
    )


def recalls(asked: np.ndarray, answers: np.ndarray, right: list[set[int]], k: int) -> float:
    """As the authors' evaluation counts it: a question is a hit if any right answer is among k."""
    hits = [
        bool(own & set(np.argsort(-(answers @ row))[:k].tolist()))
        for row, own in zip(asked, right, strict=True) if own
    ]  # fmt: skip
    return sum(hits) / len(hits)


@pytest.mark.parametrize("seed", range(5))
def test_recall_is_that_of_the_authors_evaluation(seed: int) -> None:
    rng = np.random.default_rng(seed)
    images, texts = (rng.standard_normal((n, 8)).astype(np.float32) for n in (30, 40))
    images, texts = (it / np.linalg.norm(it, axis=1, keepdims=True) for it in (images, texts))
    right = [set(rng.choice(30, rng.integers(0, 4), replace=False).tolist()) for _ in texts]
    pairs = [(text, image) for text, own in enumerate(right) for image in sorted(own)]
    of_texts, of_images = np.array(pairs, np.int64).T
    ids = list(range(40))
    judged = Judged("test", [Path()] * 30, [""] * 40, ids[:30], ids, of_texts, of_images)
    found = judged_figures("random", images, texts, judged)
    back = [{text for text, own in enumerate(right) if image in own} for image in range(30)]
    for k in (1, 5, 10):
        assert found.text_to_image.recall[k].value == pytest.approx(
            recalls(texts, images, right, k)
        )
        assert found.image_to_text.recall[k].value == pytest.approx(recalls(images, texts, back, k))


def test_answers_are_written_as_the_authors_scripts_write_them(data: Path, tmp_path: Path) -> None:
    judged = read_asked(data / "valid_texts.jsonl")
    report = evaluate_retrieval(judged, {"tiny": TinyEncoder}, answers=tmp_path / "out")
    assert (report.images, report.captions, len(report.models)) == (5, 4, 1)
    told = {file.name: lines_of(file) for file in (tmp_path / "out").iterdir()}
    images = {it["image_id"]: np.array(it["feature"]) for it in told["valid_imgs.img_feat.jsonl"]}
    texts = {it["text_id"]: np.array(it["feature"]) for it in told["valid_texts.txt_feat.jsonl"]}
    assert (list(images), list(texts)) == (IDS, [8428, 8429, 8430, 1])
    for name, asked, answers, keys in (
        ("valid_predictions.jsonl", texts, images, ("text_id", "image_ids")),
        ("valid_tr_predictions.jsonl", images, texts, ("image_id", "text_ids")),
    ):
        for line, (id, row) in zip(told[name], asked.items(), strict=True):
            assert set(line) == set(keys)
            assert line[keys[0]] == id
            scores = {other: float(row @ it) for other, it in answers.items()}
            found = [scores[other] for other in line[keys[1]]]
            assert sorted(line[keys[1]]) == sorted(answers)
            assert found == pytest.approx(sorted(scores.values(), reverse=True), abs=1e-6)


def lines_of(file: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in file.read_text("utf-8").splitlines()]


def test_an_image_that_cannot_be_read_is_left_out(data: Path, tmp_path: Path) -> None:
    with open(data / "valid_imgs.tsv", "a") as packed:
        packed.write(f"5\t{base64.b64encode(b'no picture').decode()}\n")
    judged = read_judged(data / "valid_texts.jsonl")
    report = evaluate_retrieval(judged, {"tiny": TinyEncoder}, answers=tmp_path)
    assert [it.path.name for it in report.left_out] == ["5.jpg"]
    assert report.images == 5
    assert len(lines_of(tmp_path / "valid_tr_predictions.jsonl")) == 5


def test_texts_without_right_answers_are_answered_all_the_same(
    data: Path, tmp_path: Path, clipsearch: Run
) -> None:
    write(data, IDS, [{"text_id": 4, "text": "a dog"}])
    command = ["eval", "retrieval", data / "valid_texts.jsonl", "--model", "pocket"]
    done = clipsearch(*command, "--answers", tmp_path / "out")
    assert (done.returncode, done.stdout) == (0, "")
    assert f"what was found is in {tmp_path / 'out'}" in done.stderr
    (line,) = lines_of(tmp_path / "out" / "valid_predictions.jsonl")
    assert sorted(line["image_ids"]) == sorted(IDS)


def test_the_command_prints_figures_of_this_form(data: Path, clipsearch: Run) -> None:
    command = ["eval", "retrieval", data / "valid_texts.jsonl", "--model", "pocket", "--json"]
    told = json.loads(clipsearch(*command).stdout)
    assert (told["images"], told["captions"]) == (5, 4)
    assert told["models"][0]["text_to_image"]["recall_at_5"]["value"] == 1


@pytest.mark.parametrize(
    ("texts", "said"),
    [
        ("", "no text"),
        ("[1]", "line 1: no JSON object"),
        ('{"text_id": 1, "text": "a"}\n{"text_id"', "line 2: no JSON"),
        ('{"text_id": 1, "text": "a", "image_ids": [5]}', "image_ids of valid_imgs.tsv"),
        ('{"text": "a"}', "text_id"),
        ('{"text_id": 1, "text": null}', "text is null"),
    ],
)
def test_what_is_not_of_this_form_is_told(data: Path, texts: str, said: str) -> None:
    (data / "valid_texts.jsonl").write_text(texts)
    with pytest.raises(InvalidInput, match=said):
        read_judged(data / "valid_texts.jsonl")


def test_where_answers_cannot_be_written_nothing_is_embedded(data: Path) -> None:
    (data / "taken").touch()

    def load() -> Any:
        raise AssertionError("it was begun")

    for place in (data / "taken", data / "taken" / "below"):
        with pytest.raises(InvalidInput, match="is or lies in a file"):
            evaluate_retrieval(
                read_judged(data / "valid_texts.jsonl"), {"pocket": load}, answers=place
            )


@pytest.mark.parametrize("line", ["7", "7\t!!", "seven\tAAAA"])
def test_a_line_that_is_no_image_is_told(data: Path, line: str) -> None:
    (data / "valid_imgs.tsv").write_text(f"{line}\n")
    with pytest.raises(InvalidInput, match=r"valid_imgs.tsv, line 1"):
        read_judged(data / "valid_texts.jsonl", data.parent / "fresh")


def test_what_goes_with_the_other_form_is_refused(data: Path, tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match="goes with a table"):
        read_asked(data / "valid_texts.jsonl", split="valid")
    pairs = Pairs([data / "valid_imgs.tsv"], ["a dog"], np.array([0]))
    with pytest.raises(InvalidInput, match=r"SPLIT_texts\.jsonl"):
        evaluate_retrieval(pairs, {"tiny": TinyEncoder}, answers=tmp_path)
    (data / "valid_imgs.tsv").unlink()
    with pytest.raises(InvalidInput, match=r"valid_imgs.tsv cannot be read"):
        read_judged(data / "valid_texts.jsonl")
