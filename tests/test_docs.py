"""README, CONTRIBUTING, CHANGELOG and docs: code runs, links lead somewhere, lists are complete."""

import inspect
import re
from pathlib import Path

import keras
import pytest
from conformance import registry

import mtlzoo
from mtlzoo import balancing, export

ROOT = Path(__file__).parents[1]
PAGES = [
    *(ROOT / name for name in ("README.md", "CONTRIBUTING.md", "CHANGELOG.md")),
    *sorted((ROOT / "docs").rglob("*.md")),
]
RECIPES = ROOT / "CONTRIBUTING.md"
CODE = re.compile(r"^( *)```python\n(.*?)^\1```", re.S | re.M)
WITH_CODE = [page for page in PAGES if page != RECIPES and CODE.search(page.read_text())]
every_page = pytest.mark.parametrize("page", PAGES, ids=lambda p: str(p.relative_to(ROOT)))


def public(room: str) -> set[str]:
    return {name for name, where in mtlzoo._WHERE.items() if where == room}


def section(page: str, heading: str) -> str:
    """The text under a heading, up to the next one of any level."""
    text = (ROOT / page).read_text()
    found = re.search(rf"^#+ {re.escape(heading)}\n(.*?)(?=^#|\Z)", text, re.S | re.M)
    return found[1]


def first_cells(text: str) -> list[str]:
    """What stands between backticks at the start of each row of a table."""
    return re.findall(r"^\| `([^`]+)`", text, re.M)


@pytest.mark.parametrize("page", WITH_CODE, ids=lambda p: str(p.relative_to(ROOT)))
def test_the_code_of_a_page_runs_from_top_to_bottom(page, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    names = {"__name__": "page"}
    for _, code in blocks(page):
        exec(code, names)


def blocks(page: Path):
    """The code of a page, compiled, each with the text before it."""
    text = page.read_text()
    for block in CODE.finditer(text):
        line = text[: block.start()].count("\n") + 1
        code = re.sub(rf"^{block[1]}", "", block[2], flags=re.M)
        yield text[: block.start()], compile("\n" * line + code, str(page), "exec")


@pytest.fixture
def registered():
    """Keras forgets the classes that a test registers."""
    known = keras.saving.get_custom_objects()
    before = dict(known)
    yield
    known.clear()
    known.update(before)


def test_the_recipes_run(tmp_path, monkeypatch, registered):
    """The code of CONTRIBUTING, as if its files and names were there."""
    run = []
    for before, code in blocks(RECIPES):
        path = re.findall(r"`((?:mtlzoo|tests)/[\w/]+\.py)`", before)[-1]
        names = dict(vars(registry)) if path.endswith("registry.py") else {}
        names["__name__"] = path
        names |= {name: getattr(mtlzoo, name) for name in run if name in vars(mtlzoo)}
        exec(code, names)
        for name, thing in names.items():
            if getattr(thing, "__module__", None) != path:
                continue
            run.append(name)
            if isinstance(thing, type):
                for room in (mtlzoo, getattr(mtlzoo, path.split("/")[1])):
                    monkeypatch.setattr(room, name, thing, raising=False)
                exec(re.search(r"```python\n(.*?)```", inspect.getdoc(thing), re.S)[1])
            elif name.startswith("test_"):
                thing(*[tmp_path] * len(inspect.signature(thing).parameters))
            elif path.endswith("registry.py"):
                thing(registry.make_tasks())
    assert {"InverseLoss", "TwoTrunks", "Count", "two_trunks"} <= set(run)
    assert sum(name.startswith("test_") for name in run) == 7


@every_page
def test_links_lead_to_files(page):
    text = re.sub(r"^ *```.*?^ *```", "", page.read_text(), flags=re.S | re.M)
    for target in re.findall(r"\]\(([^)\s]+)\)", text):
        if not re.match(r"[a-z]+:", target):
            path, _, anchor = target.partition("#")
            linked = page.parent / path if path else page
            assert linked.exists(), target
            assert not anchor or anchor in anchors(linked), target


def anchors(page: Path) -> set[str]:
    headings = re.findall(r"^#+ (.*)$", page.read_text(), re.M)
    return {
        re.sub(r"[^\w\- ]", "", heading).strip().lower().replace(" ", "-") for heading in headings
    }


def test_the_table_of_methods_has_every_balancer():
    rows = re.findall(r"^\| `(\w+)` \| `(\w+)` \|", (ROOT / "docs/balancing.md").read_text(), re.M)
    assert {name: kind for kind, name in rows} == {
        name: type(balancing.get(name)).__name__ for name in balancing.names()
    }
    assert len(rows) == len(balancing.names())


def test_the_table_of_methods_says_which_correct_scales():
    text = (ROOT / "docs/balancing.md").read_text()
    last = re.findall(r"^\| `\w+` \| `(\w+)` \|.*\| (yes|no)[^|]* \|$", text, re.M)
    assert {name for name, _ in last} == set(balancing.names())
    assert [name for name, decides in last if decides == "no"] == registry.CORRECTS_SCALE


def test_the_table_of_labels_has_every_kind_of_task():
    rows = [cell.partition("(")[0] for cell in first_cells(section("docs/index.md", "Labels"))]
    assert sorted(rows) == sorted(public("tasks") - {"Task"})


def architectures():
    return public("models") - {"MultiTaskModel"}


def test_every_architecture_says_whether_features_level_is_allowed():
    text = section("docs/balancing.md", "Where features level is allowed")
    assert architectures() <= set(first_cells(text))


def test_the_page_of_the_zoo_has_every_architecture_and_what_it_lets_one_read():
    text = (ROOT / "docs/zoo.md").read_text()
    table, parameters = (part for part in text.split("\n| model |")[1:])
    rows = [re.split(r"(?<!\\)\|", row)[1:-1] for row in table.splitlines() if row[:3] == "| `"]
    readers = {row[0].strip(" `"): re.findall(r"`(\w+)\(", row[3]) for row in rows}
    assert set(readers) == architectures()
    for name, methods in readers.items():
        cls = getattr(mtlzoo, name)
        assert all(callable(getattr(cls, method)) for method in methods)
    assert architectures() <= set(re.findall(r"^\| `(\w+)", parameters, re.M))


def test_the_parameters_on_the_page_of_the_zoo_are_those_of_the_models():
    from benchmarks import parameters

    text = (ROOT / "docs/zoo.md").read_text()
    for name in ("PLE", "MTAN", "AITM"):
        (row,) = re.findall(rf"^\| `{name}` \|([\d, |]+)\|$", text, re.M)
        shown = [int(cell.replace(",", "")) for cell in row.split("|")]
        assert shown == [parameters.count(name, tasks) for tasks in parameters.TASKS]


@pytest.mark.parametrize("room", ["tasks", "models", "balancing"])
def test_the_readme_lists_what_there_is(room):
    title = {"tasks": "Tasks", "models": "Models", "balancing": "Balancers"}[room]
    text = section("README.md", "What there is")
    entry = re.search(rf"^\* \*\*{title}\*\*:(.*?)(?=^\* |\Z)", text, re.S | re.M)[1]
    assert set(re.findall(r"`([A-Z]\w+)`", entry)) == public(room)


def test_every_public_name_is_on_an_api_page():
    shown = {}
    for page in (ROOT / "docs/api").glob("*.md"):
        (shown[page.stem],) = re.findall(r"^::: mtlzoo\.(\w+)$", page.read_text(), re.M)
    rooms = set(mtlzoo._ROOMS)
    assert set(shown.values()) == rooms
    for name, room in mtlzoo._WHERE.items():
        assert name in getattr(mtlzoo, room).__all__  # which is what a page shows
    navigation = (ROOT / "mkdocs.yml").read_text()
    assert all(f"api/{page}.md" in navigation for page in shown)
    assert not hasattr(export, "__all__") and export.save.__module__ == export.__name__


def test_the_changelog_has_the_form_of_keep_a_changelog():
    text = (ROOT / "CHANGELOG.md").read_text()
    versions = re.findall(r"^## (.*)$", text, re.M)
    assert versions[0] == "[Unreleased]"
    for version in versions[1:]:
        assert re.fullmatch(r"\[\d+\.\d+\.\d+\] - \d{4}-\d\d-\d\d", version)
    kinds = {"Added", "Changed", "Deprecated", "Removed", "Fixed", "Security"}
    assert set(re.findall(r"^### (.*)$", text, re.M)) <= kinds
    released = {version[1:].partition("]")[0] for version in versions[1:]}
    assert not released or mtlzoo.__version__ in released
