"""README, CONTRIBUTING, CHANGELOG and docs: code runs, links lead somewhere, lists are complete."""

import inspect
import re
from pathlib import Path

import keras
import pytest
from conformance import registry

import mtlzoo
from docs import making
from docs.making import bibliography, pictures
from mtlzoo import balancing

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


# Pages that take many seconds each.
LONG = {
    *("co_training.md", "ensembles.md", "modalities.md", "online.md", "presets.md"),
    *("relatedness.md", "scaling.md", "serving.md", "simplification.md", "task_scheduling.md"),
    *("transfer.md", "vision.md", "getting_started.md", "importance.md", "data.md", "tuning.md"),
    *("exporting.md", "keras.md", "imbalance.md", "reports.md", "attention_reading.md"),
    *("recommender.md", "choosing.md", "explanations.md", "README.md"),
}


@pytest.mark.parametrize(
    "page",
    [pytest.param(p, marks=pytest.mark.slow if p.name in LONG else []) for p in WITH_CODE],
    ids=lambda p: str(p.relative_to(ROOT)),
)
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


def test_tables_and_pictures_are_those_of_the_code():
    outdated = [str(path.relative_to(ROOT)) for path in making.outdated()]
    assert not outdated, "`python -m docs.making` writes them anew"


@pytest.mark.parametrize("name", ["balancers", "architectures", "tasks", "backbones", "data_sets"])
def test_what_there_is_stands_at_a_glance(name):
    text = (ROOT / "docs/at_a_glance.md").read_text()
    (table,) = re.findall(rf"<!-- table: {name} -->(.*?)<!-- end", text, re.S)
    wanted = {
        "balancers": public("balancing"),
        "architectures": architectures(),
        "tasks": public("tasks") - {"Task"},
        "backbones": set(mtlzoo.backbones.__all__) - {"Backbone"},
        "data_sets": set(mtlzoo.data.names()),
    }[name]
    assert sorted(first_cells(table)) == sorted(wanted)


def test_a_page_with_an_unknown_table_is_noticed():
    with pytest.raises(KeyError, match="nothing"):
        making.filled("<!-- table: nothing -->\n<!-- end of table -->")


def test_every_paper_that_a_docstring_cites_is_in_the_bibliography():
    assert not [c for c in bibliography.citations() if c not in bibliography.meant()]
    assert len(bibliography.citations()) > 150  # it does find them


def test_the_bibliography_has_no_paper_twice_and_none_that_is_not_cited():
    papers = bibliography.papers()
    assert len({bibliography.letters(paper.title) for paper in papers}) == len(papers)
    links = [paper.link for paper in papers if paper.link]
    assert len(set(links)) == len(links)
    assert all(bibliography.places(paper) for paper in papers)
    assert all(re.fullmatch(r"arXiv:\d{4}\.\d{4,5}|doi:10\..+|https://.+", link) for link in links)


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("Yu, Kumar & Finn, *Gradient Surgery*, NeurIPS 2020.", ("Yu", "Gradient Surgery", "", "")),
        ("See arXiv:2001.06782.", ("", "", "", "2001.06782")),
        ("A trunk for all (Caruana, 1997).", ("Caruana", "", "1997", "")),
        ("As Devlin et al. (2019) tag words.", ("Devlin", "", "2019", "")),
        ("(Xi et al., KDD 2021)", ("Xi", "", "2021", "")),
    ],
)
def test_citations_are_found_in_any_of_their_forms(text, found):
    (citation,) = bibliography.cited("Place", text)
    assert (citation.author, citation.title, citation.year, citation.number) == found


def test_the_drawing_of_the_house_has_every_room_on_its_floor():
    floors = pictures.floors()
    text = (ROOT / "docs/house.svg").read_text()
    heights = {}
    for name, floor in floors.items():
        (height,) = re.findall(rf'<text x="[\d.]+" y="([\d.]+)"[^>]*>{name}</text>', text)
        heights.setdefault(floor, set()).add(float(height))
    assert all(len(of_floor) == 1 for of_floor in heights.values())
    down = [heights[floor].pop() for floor in sorted(heights, reverse=True)]
    assert down == sorted(down)


def test_the_page_of_subjects_has_all_twenty_and_names_that_exist():
    text = (ROOT / "docs/subjects.md").read_text()
    rows = [row.split("|")[1:-1] for row in re.findall(r"^\| \d+ \|.*$", text, re.M)]
    assert [int(row[0]) for row in rows] == list(range(1, 21))
    for _, _, guide, names, recipes, _ in rows:
        assert all(resolves(name) for name in re.findall(r"`([\w.]+)`", names)), names
        assert re.findall(r"\]\((?!results/)[\w/]+\.md", guide)
        for recipe in re.findall(r"`(\w+)`", recipes):
            assert (ROOT / f"recipes/{recipe}.py").exists()
    looked_for = text.partition("## The twenty subjects")[0]
    for name in re.findall(r"^\|.*?\|.*?\|(.*)\|$", looked_for, re.M):
        assert all(resolves(each) for each in re.findall(r"`([\w.]+)`", name)), name


def resolves(name: str) -> bool:
    """Whether a name, with or without its room, is public, or a method of something public."""
    room, _, last = name.rpartition(".")
    if room in mtlzoo._ROOMS:
        return hasattr(getattr(mtlzoo, room), last)
    holders = [mtlzoo, *(getattr(mtlzoo, each) for each in mtlzoo._ROOMS)]
    if not room:
        # An argument of a class or a keyword of `compile` is written with its parentheses.
        return any(hasattr(holder, last) for holder in holders)
    holder = mtlzoo.HardSharing if room == "model" else getattr(mtlzoo, room, None)
    return hasattr(holder, last)


@pytest.mark.parametrize("page", ["keras", "libmtl", "torchjd", "deepctr"])
def test_what_migration_pages_promise_exists(page):
    text = (ROOT / f"docs/migration/{page}.md").read_text()
    right = [row.split("|")[2] for row in re.findall(r"^\| .*\|$", text, re.M)]
    names = {name for cell in right for name in re.findall(r"`((?:\w+\.)?[A-Z]\w+)\b[`(]", cell)}
    assert names
    # Keras's own
    assert not [name for name in sorted(names - {"AdamW", "StringLookup"}) if not resolves(name)]


def test_gates_of_the_migration_page_are_made_with_the_words_that_stand_there():
    text = (ROOT / "docs/migration/libmtl.md").read_text()
    (gate,) = re.findall(r"`MMoE\(gate=layers\.(DSelectKGate\(.*?\))\)`", text)
    inputs, tasks = keras.Input((4,)), registry.make_tasks()
    made = eval(gate, {"DSelectKGate": mtlzoo.layers.DSelectKGate, "k": 2})
    assert mtlzoo.MMoE(inputs, tasks, num_experts=4, gate=made)
    for call in re.findall(r"`((?:CAGrad|GradNorm|DWA)\(\w+=)\)`", text):
        assert eval(f"{call}1.5)", vars(balancing))


@pytest.mark.parametrize("room", ["tasks", "models", "balancing"])
def test_the_readme_lists_what_there_is(room):
    title = {"tasks": "Tasks", "models": "Models", "balancing": "Balancers"}[room]
    text = (ROOT / "README.md").read_text()
    entry = re.search(rf"^\* \*\*{title}\*\*(.*?)(?=^\* |\Z)", text, re.S | re.M)[1]
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
