"""What people type: without quotes, by another name, with a slip, and how they are helped."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from conftest import Run
from tiny import TinyEncoder, open_tiny

from clipsearch import Library
from clipsearch.cli.parsing.commands import ALIASES, COMMANDS, GROUPS

SECTION = re.compile(r"^(\S.*):$", re.M)


def sections(help_text: str) -> dict[str, str]:
    """What stands below each heading of a help."""
    parts = SECTION.split(help_text)
    return dict(zip(parts[1::2], parts[2::2], strict=True))


@pytest.fixture
def asked(indexed: Path) -> Path:
    """An index that was asked before, so that the same words need no model."""
    with open_tiny(indexed) as library:
        library.query("a dog - snow")
        library.query("dog")
    return indexed


# Words


def test_a_question_needs_no_quotes(asked: Path, clipsearch: Run) -> None:
    quoted = clipsearch("query", "a dog - snow", "-k", "3")
    plain = clipsearch("query", "a", "dog", "-", "snow", "-k", "3")
    assert (plain.returncode, plain.stderr) == (0, "")
    assert plain.stdout == quoted.stdout
    assert clipsearch("query", "-k", "3", "a", "dog", "-", "snow").stdout == quoted.stdout


def test_words_and_a_picture_stand_apart_by_a_sign(asked: Path, clipsearch: Run) -> None:
    done = clipsearch("query", "dog", "+", "./00.jpg", cwd=asked.parent / "photos")
    assert (done.returncode, done.stderr) == (0, "")
    done = clipsearch("query", "dog", "./00.jpg", cwd=asked.parent / "photos")
    assert (done.returncode, done.stdout) == (2, "")
    assert "./00.jpg is a picture; a sign goes before it: dog + ./00.jpg" in done.stderr


@pytest.mark.parametrize("name", ["-k", "-n", "--limit"])
def test_how_many_is_said_by_the_name_one_is_used_to(
    asked: Path, clipsearch: Run, name: str
) -> None:
    for command in (["query", "dog"], ["ls"], ["similar", asked.parent / "photos" / "00.jpg"]):
        assert clipsearch(*command, name, "2").stdout.count("\n") == 2


# Other names


@pytest.mark.parametrize("name", ALIASES)
def test_another_name_does_what_the_command_does(clipsearch: Run, name: str) -> None:
    command = clipsearch(ALIASES[name], "--help").stdout.partition("\n")[2]
    assert clipsearch(name, "--help").stdout.partition("\n")[2] == command


def test_find_finds_and_update_brings_up_to_date(asked: Path, clipsearch: Run) -> None:
    assert clipsearch("find", "dog", "-n", "2").stdout.count("\n") == 2
    assert "12 unchanged" in clipsearch("update").stdout


def test_a_command_that_could_be_another_is_named_and_not_run(
    indexed: Path, clipsearch: Run
) -> None:
    done = clipsearch("remove", indexed.parent / "photos")
    assert (done.returncode, done.stdout) == (2, "")
    assert "that is: clipsearch forget" in done.stderr
    assert "photos    12" in clipsearch("status").stdout


@pytest.mark.parametrize("asked", [["-h"], ["help"]])
def test_help_is_found_by_every_way(clipsearch: Run, asked: list[str]) -> None:
    assert clipsearch(*asked).stdout == clipsearch("--help").stdout
    query = clipsearch("query", "--help").stdout
    assert clipsearch("query", "-h").stdout == clipsearch("help", "query").stdout == query


# Slips


@pytest.mark.parametrize(
    ("typed", "meant"),
    [
        (["qery", "dog"], "did you mean 'query'?"),
        (["serach", "dog"], "did you mean 'search'?"),
        (["models", "downlod"], "did you mean 'download'?"),
        (["models", "pocket"], "there are download, remove"),
        (["a", "dog"], "to find photos by words: clipsearch query a dog"),
        (["query", "dog", "--hybird"], "did you mean '--hybrid'?"),
        (["query", "dog", "-model", "pocket"], "did you mean '--model'?"),
        (["query", "dog", "-12"], "for so many: -k 12"),
        (["query", "dog", "-snow"], "to leave out what shows it: --minus snow"),
        (["ls", "--device", "cpu"], "there is no option --device (see"),
        (["hepl"], "did you mean 'help'?"),
        (["query", "dog", "-K", "3"], "did you mean '-k'?"),
        (["query", "dog", "-j"], "did you mean '--json'?"),
        (["query", "dog", "-m", "3"], "there is no option -m (see"),
        (["query", "dog", "--count", "3"], "did you mean '--limit'?"),
        (["query", "dog", "--from", "2024"], "did you mean '--since'?"),
        (["dupes", "--kind", "bytes"], "there is no option --kind (see"),
        (["-v"], "did you mean '--version'?"),
        (["query", "dog", "-k"], "-k needs a value after it (see clipsearch query --help)"),
        (["query", "dog", "-k", "some"], "-k, -n, --limit: 'some' is neither a number nor all"),
        (["index", "--workers", "many"], "--workers: 'many' is no number"),
        (["serve", "--port", "99999"], "--port is at most 65535"),
        (["status", "all"], "clipsearch status takes no 'all'"),
        (["similar", "a", "dog"], "to find photos by words: clipsearch query a dog"),
        (["similar", "dog"], "to find photos by words: clipsearch query dog"),
        (["query", "dog", "--model", "pokcet"], "did you mean 'pocket'?"),
        (["query", "dog", "--model", "Pocket"], "did you mean 'pocket'?"),
        (["query", "dog", "--rerank", "blp"], "did you mean 'blip'?"),
        (["query", "dog", "--type", "jpge"], "or 'jpeg'?"),
        (["query", "dog", "--orientation", "lanscape"], "did you mean 'landscape'?"),
        (["query", "dog", "--has", "gsp"], "did you mean 'gps'?"),
        (["query", "dog", "--model", "hf_hub:ORG/NAME"], "did you mean 'hf-hub:'?"),
        (["query", "dog", "--model", "ViT-B-32/laion2b_s34b_b79"], "b79k'?"),
        (["index", "--runtime", "onxx"], "did you mean 'onnx'?"),
        (["store", "move", "fais"], "did you mean 'faiss'?"),
        (["store", "move", "milvs:http://h"], "did you mean 'milvus'?"),
        (["eval", "retrieval", "pairs.csv", "--precision", "fp23"], "did you mean 'fp32'?"),
        (["label", "--show", "Weding"], "did you mean 'wedding' or"),
        (["label", "--labels", "imagnet"], "did you mean 'imagenet'?"),
        (["caption", "--model", "bilp"], "did you mean 'blip'?"),
    ],
    ids=lambda it: " ".join(it) if isinstance(it, list) else "",
)
def test_a_slip_is_told_with_what_is_nearest(
    asked: Path, tmp_path: Path, clipsearch: Run, typed: list[str], meant: str
) -> None:
    (tmp_path / "pairs.csv").write_text(f"image,caption\n{asked.parent}/photos/00.jpg,a wall\n")
    done = clipsearch(*typed, cwd=tmp_path)
    assert (done.returncode, done.stdout) == (2, "")
    assert meant in done.stderr
    assert "(Possible" not in done.stderr


@pytest.mark.parametrize(
    "typed",
    [
        ["index", "--store", "milvus"], ["store", "move", "milvus"],
        ["query", "a", "--model", "onnx"], ["index", "--model", "alpha-clip"],
        ["query", "a", "--device", "cpu:x"],
        ["index", "--model", "hf-hub:"], ["query", "a", "--has", "gps:"],
    ],
    ids=" ".join,
)  # fmt: skip
def test_what_was_typed_is_not_told_back_as_what_may_be_meant(
    asked: Path, clipsearch: Run, typed: list[str]
) -> None:
    done = clipsearch(*typed)
    assert (done.returncode, done.stdout) == (2, "")
    told = done.stderr.partition("did you mean ")[2].partition("?")[0]
    assert f"'{typed[-1]}'" not in told


@pytest.mark.parametrize(
    ("question", "said"),
    [
        (["dog", "photos/"], "for photos below it: clipsearch query dog --folder photos/"),
        (["dog", "./photos"], "for photos below it: clipsearch query dog --folder ./photos"),
        (["./photos"], "for photos below it: clipsearch ls --folder ./photos"),
        (["photos/00.jpg"], "is a picture; to ask with it: clipsearch similar photos/00.jpg"),
        (["dog", "photos/00.jpg"], "clipsearch query dog --image photos/00.jpg"),
        (["dog", "+", "photos/00.jpg"], "in a question that is a path: + ./photos/00.jpg"),
        (["dog", "./nothing.jpg"], "./nothing.jpg is no picture or folder that is there"),
    ],
    ids=lambda it: " ".join(it) if isinstance(it, list) else "",
)
def test_a_path_among_words_is_told_what_it_is_for(
    asked: Path, clipsearch: Run, question: list[str], said: str
) -> None:
    done = clipsearch("query", *question, cwd=asked.parent)
    assert (done.returncode, done.stdout) == (2, "")
    assert said in done.stderr
    assert done.stderr.count("\n") == 1


def test_a_word_that_is_also_a_folders_name_is_a_word(asked: Path, clipsearch: Run) -> None:
    (asked.parent / "dog").mkdir()
    done = clipsearch("query", "dog", cwd=asked.parent)
    assert (done.returncode, done.stderr) == (0, "")


def test_a_path_in_place_of_a_command_tells_what_is_done_with_it(
    photos: Path, clipsearch: Run
) -> None:
    assert f"to index the folder: clipsearch index {photos}" in clipsearch(photos).stderr
    file = photos / "00.jpg"
    assert f"to find photos like it: clipsearch similar {file}" in clipsearch(file).stderr
    assert f"photos below a folder: --folder {photos}" in clipsearch("ls", photos).stderr


# Help


def test_the_main_help_has_all_commands_in_groups(clipsearch: Run) -> None:
    shown = sections(clipsearch("--help").stdout)
    assert list(shown)[: len(GROUPS)] == list(GROUPS)
    for title, names in GROUPS.items():
        assert re.findall(r"^  (\w+) ", shown[title], re.M) == list(names)
    commands = Path(__file__).parent.parent / "clipsearch" / "cli" / "commands"
    modules = {path.stem for path in commands.glob("[!_]*.py")}
    assert sorted(COMMANDS) == sorted(modules)


def test_the_help_of_a_question_begins_with_the_few_options_that_matter(clipsearch: Run) -> None:
    shown = sections(clipsearch("query", "--help").stdout)
    assert list(shown) == ["Arguments", "Asking", "Filters", "Output", "For experts"]
    options = {title: re.findall(r"--[a-z]\S*", text) for title, text in shown.items()}
    assert options["Asking"][:2] == ["--limit", "--relevant"]
    assert "--hybrid" in options["For experts"]
    assert len(options["Asking"]) <= 6
    assert "--since" in options["Filters"]
    assert "--json" in options["Output"]
    assert {"--device", "--exact", "--index"} <= set(options["For experts"])


@pytest.mark.parametrize("command", COMMANDS)
def test_each_help_fits_80_columns_and_has_each_option_once(clipsearch: Run, command: str) -> None:
    lines = clipsearch(command, "--help").stdout.splitlines()
    assert max(map(len, lines)) <= 80
    assert not [line for line in lines if line.endswith("-")]  # a name that was broken
    options = [found[1] for line in lines if (found := re.match(r"  (-[\w-]+)", line))]
    assert len(options) == len(set(options))


# What is not all


def test_labels_that_are_not_all_are_said_to_be_the_first(
    indexed: Path, tmp_path: Path, clipsearch: Run
) -> None:
    words = [f"{letter}{number}" for letter in "abcdefgh" for number in range(8)]
    (file := tmp_path / "labels.txt").write_text("\n".join(words))
    with open_tiny(indexed) as library:
        count = len(library.count_labels(labels=words, k=100))
        assert count > 1
    done = clipsearch("label", "--labels", file, "-k", "1")
    assert done.stdout.count("\n") == 1
    assert (
        done.stderr == "clipsearch: these are the first 1, and there are more: -k 10, or -k all\n"
    )
    done = clipsearch("label", "--labels", file, "-k", "all")
    assert (done.stdout.count("\n"), done.stderr) == (count, "")


def test_a_single_text_has_no_probability(indexed: Path) -> None:
    photo = indexed.parent / "photos" / "00.jpg"
    with open_tiny(indexed) as library:
        assert np.isnan(library.score([photo], ["a dog"]).probabilities).all()
        assert library.score([photo], ["a dog", "a cat"]).probabilities.sum() == pytest.approx(1)


def test_what_helps_where_weights_are_missing_fits_the_command(
    photos: Path, index: Path, clipsearch: Run
) -> None:
    with Library.open(index, model="default", encoder=TinyEncoder()) as library:
        library.index([photos])
        library.query("a")
    asked = clipsearch("query", "what was never asked").stderr
    assert "clipsearch index --model pocket, and ask with --model pocket" in asked
    assert (
        "use the model that needs no download"
        in clipsearch("score", photos / "00.jpg", "--text", "a dog", "--model", "best").stderr
    )
    for command in (
        ["caption"], ["caption", "--model", "coca"], ["query", "a", "--rerank", "blip"],
        ["models", "download", "best"],
    ):  # fmt: skip
        done = clipsearch(*command)
        assert (done.returncode, done.stdout) == (2, "")
        assert "internet" in done.stderr
        assert "--model pocket" not in done.stderr


def test_help_and_what_is_not_for_a_terminal_load_nothing_for_looks(
    indexed: Path, clipsearch: Run
) -> None:
    for command in (["--help"], ["query", "--help"], ["status"], ["qery"]):
        program = (
            "import sys\nfrom clipsearch.cli import main\n"
            f"sys.argv[1:] = {command!r}\n"
            "try:\n    main()\nexcept SystemExit:\n    pass\n"
            "sys.exit(bool({'rich', 'prompt_toolkit', 'numpy'} & set(sys.modules)))\n"
        )
        environment = os.environ | {"CLIPSEARCH_INDEX": str(indexed)}
        done = subprocess.run(
            [sys.executable, "-c", program], env=environment, capture_output=True, check=False
        )
        assert done.returncode == 0, (command, done.stderr)
