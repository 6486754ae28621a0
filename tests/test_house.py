"""The structure of the package: floors, lazy names, what is imported when, nothing unfinished."""

import ast
import os
import pathlib
import re
import subprocess
import sys

import pytest

import mtlzoo

PACKAGE = pathlib.Path(mtlzoo.__file__).parent
ROOT = pathlib.Path(__file__).parents[1]
FLOORS = {
    "tasks": 1,
    "layers": 1,
    "metrics": 1,
    "backbones": 2,
    "balancing": 2,
    "data": 2,
    "tensorflow_only": 3,
    "gramian": 3,
    "gradients": 3,
    "models": 4,
    "export": 5,
    "analysis": 5,
    "reporting": 6,
    "presets": 6,
    "tuning": 6,
    "command_line": 7,
    "training": 5,
    "distribution": 5,
    "ensembles": 5,
    "online": 5,
    "pretrained": 5,
    "serving": 5,
}
# `model.export`, `model.save_to_preset` and `from_preset` reach upwards, when they are called.
UPWARDS = {("models/saving.py", "export"), ("models/saving.py", "presets")}


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


# -- nothing unfinished -----------------------------------------------------------------------

# Written apart, so that this file does not match.
MARKS = re.compile(rf"\b(?:{'TO-DO|FIX-ME|XX-X|HA-CK'.replace('-', '')})\b")
# The methods that a subclass has to supply.
ABSTRACT = {
    ("balancing/loss_balancer.py", "LossBalancer._objective"),
    ("balancing/gradient_balancer.py", "GradientBalancer._weights"),
    ("balancing/jacobian_balancer.py", "JacobianBalancer._combine"),
    ("ensembles/fusion.py", "Fusion.fuse"),
    ("layers/fusion.py", "Fusion.build_for"),
    ("layers/gate.py", "Gate._weights"),
    ("metrics/labelwise.py", "LabelwiseMetric.score"),
    ("online/updating.py", "UpdatePolicy.decide"),
    ("tasks/labels.py", "Labelled.loss"),
    ("tasks/labels.py", "Labelled.masks_cells"),
}
MOST_LINES = 400


def tracked():
    """The files under version control; without it, all that are not hidden."""
    try:
        command = ["git", "ls-files", "-z"]
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
        listed = [ROOT / name for name in done.stdout.split("\0") if name]
    except (FileNotFoundError, subprocess.CalledProcessError):
        listed = []
    if listed:
        return [path for path in listed if path.is_file()]
    found = []
    for folder, folders, files in os.walk(ROOT):
        folders[:] = [f for f in folders if f[0] not in "._" and f not in ("build", "runs")]
        found += [pathlib.Path(folder, file) for file in files]
    return found


def test_no_file_has_a_mark_of_something_unfinished():
    marked, read = [], 0
    for path in tracked():
        try:
            lines = path.read_text(encoding="utf-8").splitlines()
        except UnicodeDecodeError:
            continue
        read += 1
        marked += [f"{path}:{i}: {line}" for i, line in enumerate(lines, 1) if MARKS.search(line)]
    assert read
    assert not marked


def test_only_what_a_subclass_supplies_is_not_implemented():
    found = set()
    for path in PACKAGE.rglob("*.py"):
        tree = ast.parse(path.read_text())
        methods = {
            f"{owner.name}.{node.name}": node
            for owner in tree.body
            if isinstance(owner, ast.ClassDef)
            for node in owner.body
            if isinstance(node, ast.FunctionDef)
        }
        inside = {name for name, node in methods.items() if _names_not_implemented(node)}
        found |= {(str(path.relative_to(PACKAGE)), name) for name in inside}
        assert _names_not_implemented(tree) == sum(
            _names_not_implemented(methods[name]) for name in inside
        ), f"{path} has one outside of a method"
    assert found == ABSTRACT


def _names_not_implemented(tree: ast.AST) -> int:
    names = (getattr(node, "id", None) for node in ast.walk(tree))
    return sum(name in ("NotImplementedError", "NotImplemented") for name in names)


def test_files_are_short():
    paths = PACKAGE.rglob("*.py")
    lengths = {str(p.relative_to(PACKAGE)): len(p.read_text().splitlines()) for p in paths}
    assert not {name for name, length in lengths.items() if length > MOST_LINES}
