"""What is said in more than one place about the package agrees, and nothing is left out of it."""

import ast
import configparser
import pathlib
import re

import pytest

import mtlzoo

ROOT = pathlib.Path(__file__).parents[1]
TEXT = (ROOT / "setup.cfg").read_text(encoding="utf-8")
SETUP = configparser.ConfigParser()
SETUP.read_string(TEXT)
EXTRAS = SETUP["options.extras_require"]
GROUPS = {"install_requires": SETUP["options"]["install_requires"], **EXTRAS}


def requirements():
    return [line for group in GROUPS.values() for line in group.split("\n") if line]


def test_a_reason_stands_above_every_requirement():
    if "egg_info" in SETUP:
        pytest.skip("in a source distribution setuptools has left the comments out")
    lines = [line.strip() for line in TEXT.splitlines()]
    python = f"python_requires = {SETUP['options']['python_requires']}"
    for requirement in [*requirements(), python]:
        above = {lines[i - 1] for i, line in enumerate(lines) if line == requirement}
        assert above and all(re.match(r"# \w+", line) for line in above), requirement


def test_every_requirement_has_a_lower_bound():
    for requirement in requirements():
        assert re.match(r"mtlzoo\[|[\w-]+(\[[\w-]+\])?>=\d", requirement), requirement


def test_one_package_has_the_same_bounds_everywhere():
    tensorflow = {EXTRAS[name].split(">=")[1] for name in ["cpu", "tensorflow", "gpu"]}
    scipy = set(re.findall(r"^scipy>=([\d.]+)", "\n".join(EXTRAS.values()), re.MULTILINE))
    assert len(tensorflow) == len(scipy) == 1


def test_the_version_can_be_read_without_importing_anything():
    tree = ast.parse((ROOT / "mtlzoo" / "__init__.py").read_text(encoding="utf-8"))
    literals = {
        node.targets[0].id: ast.literal_eval(node.value)
        for node in tree.body
        if isinstance(node, ast.Assign) and isinstance(node.value, ast.Constant)
    }
    assert SETUP["metadata"]["version"] == "attr: mtlzoo.__version__"
    assert literals["__version__"] == mtlzoo.__version__


def test_bazel_knows_the_same_name_and_version():
    module = (ROOT / "MODULE.bazel").read_text(encoding="utf-8")
    name, version = re.search(r'module\(\s*name = "(.*)",\s*version = "(.*)"', module).groups()
    assert (name, version) == (SETUP["metadata"]["name"], mtlzoo.__version__)


def test_the_package_data_are_the_files_that_are_there():
    named = set()
    for package, patterns in SETUP["options.package_data"].items():
        folder = ROOT / package.replace(".", "/")
        for pattern in patterns.split(","):
            found = set(folder.glob(pattern.strip()))
            assert found, pattern
            named |= found
    present = {path for path in (ROOT / "mtlzoo").rglob("*") if path.is_file()}
    assert named == {path for path in present if path.suffix not in {".py", ".pyc"}}


def targets(package: str) -> list[dict]:
    """The rules of a BUILD file, comprehensions over files written out, by what they are given."""
    folder = ROOT / package
    found = []

    def glob(include, exclude=()):
        excluded = {path for pattern in exclude for path in folder.glob(pattern)}
        paths = {path for pattern in include for path in folder.glob(pattern)} - excluded
        return sorted(str(path.relative_to(folder)) for path in paths)

    def rule(kind):
        return lambda **given: found.append({"kind": kind, **given})

    names = {kind: rule(kind) for kind in ["py_library", "py_binary", "py_test"]}
    names |= dict.fromkeys(["load", "package", "exports_files"], lambda *_, **__: None)
    exec((folder / "BUILD").read_text(encoding="utf-8"), {"glob": glob, **names})
    return found


def sources(package: str, kind: str) -> set[str]:
    return {src for target in targets(package) if target["kind"] == kind for src in target["srcs"]}


def files(package: str, pattern: str) -> set[str]:
    folder = ROOT / package
    return {str(path.relative_to(folder)) for path in folder.glob(pattern)}


def test_every_file_of_the_package_is_in_its_target():
    (library,) = targets("")
    assert set(library["srcs"]) == files("", "mtlzoo/**/*.py")
    suffixes = {pathlib.Path(path).suffix for path in library["data"]}
    assert suffixes == {".xz", ".md", ".json", ".npz"}


def test_every_test_file_is_a_target_and_the_rest_supports_them():
    tests = files("tests", "**/test_*.py")
    assert sources("tests", "py_test") == tests | {"bazel_main.py"}
    assert sources("tests", "py_library") >= files("tests", "**/*.py") - tests
    lists = {}
    for line in re.findall(r"^[A-Z_]+ = \[.*?\]", (ROOT / "tests/BUILD").read_text(), re.M | re.S):
        exec(line, lists)
    assert tests >= {*lists["QUICK"], *lists["LONG"], *lists["OF_THE_CHECKOUT"]}


def test_every_recipe_is_a_target():
    runnable = {
        name
        for name in files("recipes", "*.py")
        if '__name__ == "__main__"' in (ROOT / "recipes" / name).read_text(encoding="utf-8")
    }
    assert sources("recipes", "py_binary") == runnable
    assert sources("recipes", "py_library") == files("recipes", "**/*.py")
