"""Who may import whom, and what everybody can rely on."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from importlib.resources import files
from pathlib import Path

import pytest

import clipsearch

PACKAGE = Path(str(files("clipsearch")))
MODULES = sorted(PACKAGE.rglob("*.py"))

# Data moves in this direction; a room imports from those before it and from itself.
ROOMS = [
    "errors", "cache", "replacing", "photos", "encoders", "store", "models", "indexing", "search",
    "evaluation", "tuning", "library", "doctor",
]  # fmt: skip

# The faces stand behind all rooms, side by side; a command may start the face that it names.
FACES = ["assistant", "web", "cli"]
STARTERS = {"cli/mcp.py": "assistant", "cli/serve.py": "web"}

# Packages that belong to one room; None is the room of nobody.
OWNERS = {
    "torch": "encoders",
    "torchvision": "encoders",
    "open_clip": "encoders",
    "open_clip_train": "encoders",
    "timm": "encoders",
    "transformers": "encoders",
    "safetensors": "encoders",
    "huggingface_hub": "encoders",
    "faiss": "store",
    "pymilvus": "store",
    "grpc": "store",
    "sqlite3": "store",
    "sqlite_utils": "store",
    "pathspec": "photos",
    "fsspec": "photos",
    "watchdog": "indexing",
    "ray": "indexing",
    "pyarrow": "indexing",
    "onnxruntime": "encoders",
    "tokenizers": "encoders",
    "fastapi": "web",
    "starlette": "web",
    "uvicorn": "web",
    "prometheus_client": "web",
    "typer": "cli",
    "click": "cli",
    "rich": "cli",
    "mcp": "assistant",
}

# Who knows SQL and the columns of tables; the others of `store` know SQLite's errors alone.
SPEAK_SQL = ("store/catalog/", "store/database/")
CATCH_ERRORS = ("store/copying.py", "store/faults.py", "store/soundness.py")
SQL = re.compile(
    r"\s*(SELECT|INSERT|UPDATE|DELETE|REPLACE|CREATE|DROP|ALTER|PRAGMA|BEGIN|COMMIT|ROLLBACK|VACUUM"
    r"|ATTACH|WITH|FROM|JOIN|CROSS JOIN|WHERE|AND|OR|NOT|EXISTS|ORDER BY|GROUP BY|LIMIT)\s+\S"
    r"|.*\b(IS NOT NULL|IS NULL|\w+ (=|<|>|>=|<>) \?|IN \(SELECT|MATCH \?)"
    r"|.*\b(photos|vectors|roots|captions|words)\.(id|rowid|digest|path)\b"
)

Definition = ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef

each_module = pytest.mark.parametrize(
    "module", MODULES, ids=lambda path: path.relative_to(PACKAGE).as_posix()
)


def room(module: Path) -> str:
    return module.relative_to(PACKAGE).with_suffix("").parts[0]


def imports(module: Path) -> Iterator[str]:
    """All that a module imports, anywhere in it, as dotted names."""
    for node in ast.walk(ast.parse(module.read_text("utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{module}: relative import"
            # `from clipsearch import encoders` imports a room, not a name.
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


@each_module
def test_a_module_imports_only_from_rooms_before_it(module: Path) -> None:
    if room(module) in ("__init__", "__main__"):
        return
    if room(module) in FACES:
        started = STARTERS.get(module.relative_to(PACKAGE).as_posix())
        allowed = [*ROOMS, room(module), started]
    else:
        allowed = ROOMS[: ROOMS.index(room(module)) + 1]
    ours = [name.split(".") for name in imports(module) if name.split(".")[0] == "clipsearch"]
    assert [".".join(name) for name in ours if name[1] not in allowed] == []


@each_module
def test_a_package_with_an_owner_is_imported_by_its_owner_alone(module: Path) -> None:
    top = {name.split(".")[0] for name in imports(module)}
    assert {name for name in top & OWNERS.keys() if OWNERS[name] != room(module)} == set()


@each_module
def test_sql_is_known_to_the_catalog_alone(module: Path) -> None:
    name = module.relative_to(PACKAGE).as_posix()
    if name.startswith(SPEAK_SQL):
        return
    texts = [
        node.value
        for node in ast.walk(ast.parse(module.read_text("utf-8")))
        if isinstance(node, ast.Constant) and isinstance(node.value, str)
    ]
    assert [text for text in texts if SQL.match(text)] == []
    if name not in CATCH_ERRORS:
        assert not {"sqlite3", "sqlite_utils"} & {it.split(".")[0] for it in imports(module)}


@each_module
def test_whatever_is_public_says_what_it_gives(module: Path) -> None:
    tree = ast.parse(module.read_text("utf-8"))
    assert ast.get_docstring(tree) or not tree.body, "the module has no docstring"
    assert [name for name, node in public(tree) if not ast.get_docstring(node)] == []


def public(tree: ast.Module | ast.ClassDef) -> Iterator[tuple[str, Definition]]:
    for node in tree.body:
        if isinstance(node, Definition) and not node.name.startswith("_"):
            yield node.name, node
            if isinstance(node, ast.ClassDef):
                yield from ((f"{node.name}.{name}", inner) for name, inner in public(node))


def test_every_module_lives_in_a_room() -> None:
    assert {room(module) for module in MODULES} == {"__init__", "__main__", *ROOMS, *FACES}


def test_the_public_names_are_these() -> None:
    assert clipsearch.__all__ == [
        "CaptionReport",
        "ClipsearchError",
        "ClusterError",
        "Duplicate",
        "Facts",
        "FileUnreadable",
        "Group",
        "Hit",
        "IndexReport",
        "InvalidInput",
        "Label",
        "LabelCount",
        "LabelledPhoto",
        "Library",
        "LibraryBusy",
        "LibraryError",
        "ModelError",
        "ModelMismatch",
        "PhotoError",
        "Scores",
        "Status",
        "WeightsUnavailable",
        "__version__",
        "score",
    ]
    assert all(hasattr(clipsearch, name) for name in clipsearch.__all__)


def test_every_error_is_a_clipsearch_error() -> None:
    from clipsearch import errors

    raised = [value for value in vars(errors).values() if isinstance(value, type)]
    assert all(issubclass(error, clipsearch.ClipsearchError) for error in raised)
    assert {error.__name__ for error in raised} <= set(clipsearch.__all__)


def test_the_package_says_that_it_is_typed() -> None:
    assert (PACKAGE / "py.typed").is_file()
