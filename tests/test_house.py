"""The structure of the package: floors, lazy names, what is imported when."""

import ast
import pathlib
import subprocess
import sys

import pytest

import mtlzoo

PACKAGE = pathlib.Path(mtlzoo.__file__).parent
FLOORS = {
    "tasks": 1,
    "layers": 1,
    "metrics": 1,
    "balancing": 2,
    "data": 2,
    "gradients": 3,
    "models": 4,
    "export": 5,
}
# `model.export` reaches upwards, when it is called.
UPWARDS = {("models/multi_task_model.py", "export")}


def imports(path: pathlib.Path, of_module_only: bool = False):
    """The modules that a file imports, anywhere or at module level only."""
    tree = ast.parse(path.read_text())
    for node in tree.body if of_module_only else ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def room(name: str) -> str | None:
    parts = name.split(".")
    return parts[1] if parts[0] == "mtlzoo" and len(parts) > 1 and parts[1] in FLOORS else None


FILES = [p for p in sorted(PACKAGE.rglob("*.py")) if p.parent != PACKAGE or p.stem in FLOORS]


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(PACKAGE)))
def test_imports_go_downwards(path):
    own = path.relative_to(PACKAGE).parts[0].removesuffix(".py")
    for name in imports(path):
        other = room(name)
        if other and (str(path.relative_to(PACKAGE)), other) not in UPWARDS:
            assert FLOORS[other] <= FLOORS[own], f"{path} imports {name}"


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(PACKAGE)))
def test_floors_one_and_two_do_not_import_tensorflow(path):
    own = path.relative_to(PACKAGE).parts[0].removesuffix(".py")
    if FLOORS[own] <= 2:
        roots = {name.split(".")[0] for name in imports(path, of_module_only=True)}
        # The builder is imported on demand only, and says which extra it needs.
        allowed = {"tensorflow_datasets"} if path.name == "builder.py" else set()
        assert not (roots & {"tensorflow", "tensorflow_datasets"}) - allowed


def test_without_tensorflow_one_line_says_what_to_install():
    code = """
import sys

class Hidden:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] == "tensorflow":
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)

sys.meta_path.insert(0, Hidden())
import mtlzoo
"""
    result = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        cwd=PACKAGE.parent,
        env={"KERAS_BACKEND": "tensorflow"},
    )
    last = result.stderr.strip().splitlines()[-1]
    assert last == (
        'ModuleNotFoundError: mtlzoo needs TensorFlow: pip install "mtlzoo[cpu]", or one of '
        "[tensorflow] and [gpu]."
    )


def test_names_resolve_and_unknown_ones_do_not():
    for name in mtlzoo.__all__:
        assert getattr(mtlzoo, name) is not None
    with pytest.raises(AttributeError, match="module 'mtlzoo' has no attribute 'nothing'"):
        _ = mtlzoo.nothing
