"""Who may import whom, and what everybody can rely on."""

from __future__ import annotations

import ast
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from importlib.resources import files
from pathlib import Path
from statistics import median

import pytest

import clipsearch

PACKAGE = Path(str(files("clipsearch")))
MODULES = sorted(PACKAGE.rglob("*.py"))

# Data moves in this direction; a room imports from those before it and from itself.
ROOMS = [
    "errors", "progress", "ending", "replacing", "cache", "notation", "textfile", "plain", "photos",
    "encoders", "store", "models", "exporting", "indexing", "search", "evaluation", "tuning",
    "opened", "library", "scores", "describing", "doctor",
]  # fmt: skip

# The faces stand behind all rooms, side by side; a command may start the face that it names.
FACES = ["assistant", "web", "cli"]
STARTERS = {"cli/commands/mcp.py": "assistant", "cli/commands/serve.py": "web"}

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
    "rapidocr": "encoders",
    "cv2": "encoders",
    "fastapi": "web",
    "starlette": "web",
    "uvicorn": "web",
    "prometheus_client": "web",
    "typer": "cli",
    "click": "cli",
    "rich": "cli",
    "mcp": "assistant",
}

# At most so many modules in a folder, or one looks for the right one.
MANY = 15
# But where each module has the name of its command, one need not look.
LISTS = {"clipsearch.cli.commands"}

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
    return parts(module)[0]


def imports(module: Path) -> Iterator[str]:
    """All that a module imports, anywhere in it, as dotted names."""
    return imported(ast.walk(ast.parse(module.read_text("utf-8"))))


def imported(nodes: Iterable[ast.AST]) -> Iterator[str]:
    for node in nodes:
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"relative import of {node.module}"
            # `from clipsearch import encoders` imports a room, not a name.
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def but_types(node: ast.AST) -> Iterator[ast.AST]:
    """What is in a module, but for what is there for type checkers alone."""
    for inner in ast.iter_child_nodes(node):
        if not (isinstance(inner, ast.If) and ast.unparse(inner.test) == "TYPE_CHECKING"):
            yield inner
            yield from but_types(inner)


def graph_of_modules() -> dict[str, set[str]]:
    """The package's modules by their dotted names, and which of them each imports, ever."""
    names = {".".join(("clipsearch", *parts(module))): module for module in MODULES}
    graph = {}
    for name, module in names.items():
        found = imported(but_types(ast.parse(module.read_text("utf-8"))))
        graph[name] = {ours for one in found for ours in module_of(one, names)}
    return graph


def parts(module: Path) -> tuple[str, ...]:
    return module.relative_to(PACKAGE).with_suffix("").parts


def module_of(imported: str, names: Iterable[str]) -> list[str]:
    """The module of ours that `a.b.c` is, or else holds c; none if it is not ours."""
    holder = imported.rpartition(".")[0]
    ways = (imported, f"{imported}.__init__", holder, f"{holder}.__init__")
    return [way for way in ways if way in names][:1]


def graph_in(folder: str) -> dict[str, set[str]]:
    """What lies in a folder, and what of that each imports; a folder in it counts as one."""
    graph: dict[str, set[str]] = {}
    for name, others in GRAPH.items():
        for inner in within(folder, [name]):
            graph[inner] = graph.get(inner, set()) | within(folder, others) - {inner}
    return graph


def within(folder: str, names: Iterable[str]) -> set[str]:
    start = f"{folder}."
    return {name.removeprefix(start).split(".")[0] for name in names if name.startswith(start)}


def in_circles(graph: Mapping[str, set[str]]) -> set[str]:
    """What of a graph leads back to itself."""
    return {node for node in graph if node in beyond(node, graph)}


def beyond(node: str, graph: Mapping[str, set[str]]) -> set[str]:
    seen: set[str] = set()
    ahead = [node]
    while ahead:
        new = graph[ahead.pop()] - seen
        seen |= new
        ahead += new
    return seen


GRAPH = graph_of_modules()
FOLDERS = sorted({name.rpartition(".")[0] for name in GRAPH})


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


def test_imports_of_the_package_are_read_as_what_they_mean() -> None:
    assert GRAPH["clipsearch.encoders.onnx.export"] >= {  # from a folder, and from a module
        "clipsearch.encoders.__init__", "clipsearch.encoders.onnx.folder",
    }  # fmt: skip
    assert graph_in("clipsearch.encoders")["pocket"] >= {"onnx", "spec"}
    assert in_circles({"a": {"b"}, "b": {"c"}, "c": {"b"}, "d": set()}) == {"b", "c"}


@pytest.mark.parametrize("folder", FOLDERS)
def test_what_lies_in_a_folder_imports_one_way(folder: str) -> None:
    # Where that holds in each folder, no modules anywhere import each other in a circle.
    assert in_circles(graph_in(folder)) == set()


def test_no_folder_holds_so_many_modules_that_one_must_search() -> None:
    held = Counter(name.rpartition(".")[0] for name in GRAPH)
    assert {folder for folder, count in held.items() if count > MANY} == LISTS


@each_module
def test_a_module_is_read_in_one_go(module: Path) -> None:
    assert len(module.read_text("utf-8").splitlines()) <= 500


def test_functions_are_short() -> None:
    lengths = dict(_lengths())
    assert {name for name, length in lengths.items() if length > 50} == set()
    assert median(lengths.values()) <= 8


def _lengths() -> Iterator[tuple[str, int]]:
    """How many lines the body of each function has, without its docstring."""
    for module in MODULES:
        for node in ast.walk(ast.parse(module.read_text("utf-8"))):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                body = node.body[1:] if ast.get_docstring(node) else node.body
                if body:
                    name = f"{module.relative_to(PACKAGE)}:{node.lineno} {node.name}"
                    yield name, (body[-1].end_lineno or 0) - body[0].lineno + 1


def test_every_module_lives_in_a_room() -> None:
    assert {room(module) for module in MODULES} == {"__init__", "__main__", *ROOMS, *FACES}


def test_the_public_names_are_these() -> None:
    assert clipsearch.__all__ == [
        "AllowUrl",
        "Answer",
        "CaptionReport",
        "ClipsearchError",
        "ClusterError",
        "Copied",
        "Describer",
        "Dot",
        "Duplicate",
        "Encoder",
        "Facets",
        "Facts",
        "FileUnreadable",
        "FilterNames",
        "Filters",
        "Group",
        "Held",
        "Hit",
        "IndexReport",
        "InvalidInput",
        "Kept",
        "Kind",
        "Label",
        "LabelCount",
        "LabelledPhoto",
        "Labels",
        "Library",
        "LibraryBusy",
        "LibraryError",
        "Line",
        "Locality",
        "ModelError",
        "ModelMismatch",
        "ModelStatus",
        "Moved",
        "NoProcess",
        "Nothing",
        "Optimized",
        "Origin",
        "Photo",
        "PhotoError",
        "Processes",
        "Progress",
        "Question",
        "ReadReport",
        "Readings",
        "RootStatus",
        "Run",
        "ScanRules",
        "Scores",
        "Status",
        "StoredPhoto",
        "StrPath",
        "WeightsUnavailable",
        "__version__",
        "describe",
        "score",
    ]
    assert all(hasattr(clipsearch, name) for name in clipsearch.__all__)


def test_whatever_a_public_signature_names_is_exported() -> None:
    named: set[str] = set()
    for module in (PACKAGE / "library.py", *(PACKAGE / "opened").glob("*.py")):
        tree = ast.parse(module.read_text("utf-8"))
        ours = {
            alias.name
            for node in ast.walk(tree)
            if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("clipsearch")
            for alias in node.names
        }
        named |= ours & set(_annotations(tree))
    assert named - {"encoders"} - set(clipsearch.__all__) == set()


def _annotations(tree: ast.Module) -> Iterator[str]:
    """The names in the annotations of the public methods of a module's classes."""
    for _, node in public(tree):
        if isinstance(node, ast.ClassDef):
            continue
        arguments = [*node.args.args, *node.args.kwonlyargs]
        if node.args.kwarg:
            arguments.append(node.args.kwarg)
        for annotation in [it.annotation for it in arguments] + [node.returns]:
            if annotation is not None:
                yield from (it.id for it in ast.walk(annotation) if isinstance(it, ast.Name))


def test_every_error_is_a_clipsearch_error() -> None:
    from clipsearch import errors

    raised = [value for value in vars(errors).values() if isinstance(value, type)]
    assert all(issubclass(error, clipsearch.ClipsearchError) for error in raised)
    assert {error.__name__ for error in raised} <= set(clipsearch.__all__)


def test_the_package_says_that_it_is_typed() -> None:
    assert (PACKAGE / "py.typed").is_file()
