import dataclasses
import html.parser
import json
import re
import sys

import browser
import numpy as np
import pytest
from report_cases import shared, single, tasks

import mtlzoo
from mtlzoo.analysis import TaskMatrix
from mtlzoo.metrics import delta_m
from mtlzoo.reporting import Run, charts, read

EVIL = "</script><script>alert('x')</script>"
MATRIX = TaskMatrix(["buy", "kind"], np.array([[1.0, 0.4], [0.4, 1.0]]), "cosine")


class WithEvil(TaskMatrix):
    """A finding whose texts are markup."""

    title = EVIL

    def words(self):
        return f"It says {EVIL}."


@pytest.fixture(scope="module")
def runs():
    """Two runs of two seeds, and the single-task models of the same seeds."""
    run = shared()
    once = Run(f"once {EVIL}", f"python train.py '{EVIL}'")
    once.trainings = run.trainings[:1]
    return run, once, single()


@pytest.fixture(scope="module")
def page(runs, tmp_path_factory):
    run, once, baseline = runs
    path = tmp_path_factory.mktemp("page") / "new" / "report.html"
    given = {
        "baseline": baseline,
        "findings": [MATRIX, WithEvil(["a", "b"], np.eye(2), "m")],
        "title": f"A report {EVIL}",
        "words": f"One.\n\nTwo {EVIL}.",
        "class_names": {"kind": ["low", EVIL, "high"]},
    }
    assert mtlzoo.report(path, [run, once], **given) == path
    return path, given


class Outline(html.parser.HTMLParser):
    """What is open, and what was seen."""

    def __init__(self):
        super().__init__()
        self.stack, self.seen, self.text = [], [], []

    def handle_starttag(self, name, attributes):
        self.seen.append((name, dict(attributes)))
        if name not in ("meta", "img", "br"):
            self.stack.append(name)

    def handle_startendtag(self, name, attributes):
        self.seen.append((name, dict(attributes)))

    def handle_endtag(self, name):
        assert self.stack.pop() == name

    def handle_data(self, data):
        self.text.append(data)

    def all(self, name):
        return [attributes for seen, attributes in self.seen if seen == name]


@pytest.fixture(scope="module")
def outline(page):
    found = Outline()
    found.feed(page[0].read_text())
    assert not found.stack
    return found


def test_nothing_is_loaded_and_no_program_runs(page, outline):
    text = page[0].read_text()
    assert [s["type"] for s in outline.all("script")] == ["application/json"]
    sources = [a[k] for _, a in outline.seen for k in ("src", "href", "xlink:href") if k in a]
    assert sources and all(s.startswith(("data:image/png;base64,", "#")) for s in sources)
    assert "url(" not in text and "@import" not in text
    assert not {name for name, _ in outline.seen} & {"link", "iframe", "object", "base", "form"}
    assert not [key for _, a in outline.seen for key in a if key.startswith("on")]
    policy = next(m["content"] for m in outline.all("meta") if "content" in m)
    assert policy.startswith("default-src 'none'")


def test_texts_of_users_are_text(page, outline):
    text = page[0].read_text()
    assert "<script>alert" not in text and EVIL not in text
    shown = "".join(outline.text)
    for each in ("A report ", "Two ", "once ", "It says "):
        assert each + EVIL in shown


def test_what_cannot_be_seen_is_said(outline):
    assert len(outline.all("h1")) == 1
    assert all(image["alt"] for image in outline.all("img"))
    pictures = [s for s in outline.all("svg") if "aria-hidden" not in s]
    assert pictures and all(s["role"] == "img" and s["aria-label"] for s in pictures)
    assert all(header["scope"] in ("row", "col") for header in outline.all("th"))
    assert len(outline.all("caption")) == len(outline.all("table"))
    anchors = [a["id"] for _, a in outline.seen if "id" in a]
    assert len(set(anchors)) == len(anchors)
    assert {a["href"][1:] for a in outline.all("a")} <= set(anchors)


def test_the_data_are_those_of_the_runs(page, runs):
    run, _, baseline = runs
    found = read(page[0])
    assert found["title"] == f"A report {EVIL}"
    assert [r["name"] for r in found["runs"]][:2] == ["single tasks", "hard sharing"]
    told = found["runs"][1]
    interval = run.interval("buy", "auc")
    assert told["metrics"]["buy"]["auc"]["low"] == interval.low
    assert told["trainings"][0]["history"] == run.trainings[0].history
    assert told["trainings"][0]["confusion"]["kind"] == (
        run.trainings[0].outcomes["kind"].confusion.tolist()
    )
    own = tasks()
    gains = [
        delta_m(
            *({t.name: r.values(t.name, t.monitor)[s] for t in own} for r in (run, baseline)), own
        )
        for s in (0, 1)
    ]
    assert found["delta_m"]["hard sharing"]["value"] == pytest.approx(np.mean(gains))
    assert found["delta_m"]["hard sharing"]["by"] == "seeds"
    assert found["findings"][0] == {
        "title": MATRIX.title,
        "words": MATRIX.words(),
        "rows": MATRIX.rows(),
    }


def test_the_numbers_are_on_the_page(page, runs, outline):
    shown = " ".join(outline.text)
    run = runs[0]
    for task, metric in (("buy", "auc"), ("kind", "macro_f1"), ("price", "rmse")):
        interval = run.interval(task, metric)
        assert f"{interval.value:.4g}" in shown
        assert f"{interval.low:.4g} to {interval.high:.4g}" in shown
    assert "python train.py" in shown and "Adam(learning_rate=0.01" in shown
    count = run.trainings[0].outcomes["buy"].confusion + run.trainings[1].outcomes["buy"].confusion
    assert f"{100 * count[0, 0] / count[0].sum():.1f}" in shown


def test_what_does_not_follow_is_said(page):
    limits = " ".join(read(page[0])["limits"])
    assert f"once {EVIL}: trained with one seed." in limits
    assert "single tasks and hard sharing: the intervals are t intervals" in limits
    assert "its gain has no interval, since the baseline has not the same seeds" in limits
    assert "3 runs are compared" in limits


def test_the_same_runs_give_the_same_bytes(page, runs, tmp_path):
    again = mtlzoo.report(tmp_path / "again.html", list(runs[:2]), **page[1])
    assert again.read_bytes() == page[0].read_bytes()


def without_test_data(name, run):
    found = Run(name)
    found.trainings = [dataclasses.replace(run.trainings[0], scores={}, outcomes={})]
    return found


def test_an_interval_of_several_trainings_is_of_seeds(runs):
    found = runs[0].interval("price", "rmse")
    a, b = runs[0].values("price", "rmse").values()
    assert found.by == "seeds"
    assert found.value == pytest.approx((a + b) / 2)
    # The quantile of one degree of freedom is 12.7.
    assert found.high - found.value == pytest.approx(12.706 * abs(a - b) / 2, rel=1e-3)


def test_runs_without_test_data_and_without_baseline_have_curves(runs, tmp_path):
    run = without_test_data("curves", runs[0])
    path = mtlzoo.report(tmp_path / "report.html", [run])
    limits = " ".join(read(path)["limits"])
    assert "curves, task buy: 1 of 1 trainings have no test data" in limits
    assert "There is no single-task baseline" in limits
    assert "There are no test data with labels of this task." in path.read_text()
    assert "Confusion and calibration" not in path.read_text()


def test_a_baseline_may_be_numbers_and_one_of_0_has_no_gain(runs, tmp_path):
    numbers = {"buy": 0.5, "kind": 0.4, "price": 1.0}
    path = mtlzoo.report(tmp_path / "report.html", [runs[0]], baseline=numbers)
    means = {t.name: np.mean([*runs[0].values(t.name, t.monitor).values()]) for t in tasks()}
    found = read(path)["delta_m"]["hard sharing"]
    assert found["value"] == pytest.approx(delta_m(means, numbers, tasks()))
    assert (found["by"], found["low"]) == ("none", None)
    path = mtlzoo.report(tmp_path / "report.html", [runs[0]], baseline={**numbers, "kind": 0.0})
    assert read(path)["delta_m"] == {"hard sharing": None}
    assert "no gain over the baseline" in " ".join(read(path)["limits"])


def test_many_classes_are_the_most_frequent_confusions(runs, tmp_path):
    training = runs[0].trainings[0]
    confusion = np.eye(30, dtype=int) * 5
    confusion[7, 9] = 4
    outcome = training.outcomes["kind"]._replace(
        classes=tuple(map(str, range(30))), confusion=confusion
    )
    run = Run("many")
    run.trainings = [dataclasses.replace(training, outcomes={"kind": outcome})]
    text = mtlzoo.report(tmp_path / "report.html", [run]).read_text()
    assert "Of 30 classes, more than the 20 of which a matrix is shown" in text
    assert re.search(r">7</th><td>9</td><td>4</td><td>44\.4</td>", text)


def test_ticks_of_small_and_of_equal_numbers_differ():
    for low, high in ((1e-13, 3e-13), (0.0, 0.0), (0.1 + 0.2, 0.3), (0.0, 5e-324), (2.0, 3.0)):
        found = charts.ticks(low, high)
        assert found == sorted(set(found)) and len(found) > 1
        assert found[0] <= low and high <= found[-1]


def test_no_two_of_many_runs_look_alike():
    assert len({str(charts.sample(style)) for style in range(36)}) == 36


def test_bad_input_is_refused(runs, tmp_path):
    run = runs[0]
    path = tmp_path / "report.html"

    def refused(match, *arguments, **options):
        with pytest.raises(ValueError, match=match):
            mtlzoo.report(*(arguments or (path, [run])), **options)

    refused(r"`runs` should be a non-empty list of runs. Received: runs=\[\]", path, [])
    refused("`runs` should be a non-empty list of runs", path, run)
    refused(r"`runs` should hold `mtlzoo.reporting.Run`s only. Received: \{", path, [{}])
    refused("The run 'new' should have a training at least", path, [Run("new")])
    refused(r"`runs` should have different names. Received: \['hard", path, [run, run])
    refused("`baseline` should have only tasks of the runs", baseline={"speed": 1.0})
    refused("Received: none for 'kind'", baseline={"buy": 1.0})
    refused("a finite number for task `buy`", baseline={"buy": np.nan, "kind": 1.0, "price": 1.0})
    refused("a finite number for task `buy`", baseline={"buy": None, "kind": 1.0, "price": 1.0})
    refused("`baseline` should be a run, or a dict", baseline=3)
    untested = without_test_data("untested", run)
    refused("`baseline` should have test data for task `buy`", baseline=untested)
    refused("`findings` should be a list", findings=MATRIX)
    refused("`findings` should hold what analyses give", findings=[3])
    refused("`title` should be text. Received: title=3", title=3)
    refused(r"`class_names` should have only the tasks \['buy'", class_names={"speed": ["a"]})
    refused("a list of 3 names for task `kind`", class_names={"kind": ["a", "b"]})
    refused("`path` should be a file, and not a folder", tmp_path, [run])
    refused("`path` should be that of a file. Received: path=3", 3, [run])
    assert not path.exists()
    path.write_text("<p>Another page")
    with pytest.raises(ValueError, match=r"`path` should be a page that `mtlzoo.report` wrote"):
        read(path)


def test_without_matplotlib_findings_name_the_extra(runs, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    with pytest.raises(ImportError, match=r"pip install 'mtlzoo\[analysis\]'"):
        mtlzoo.report(tmp_path / "report.html", [runs[0]], findings=[MATRIX])
    assert mtlzoo.report(tmp_path / "report.html", [runs[0]]).exists()


_TOO_WIDE = """[...document.querySelectorAll('body *')].filter(e => !e.closest('.scroll') &&
    !e.closest('svg') && e.getBoundingClientRect().right > innerWidth + 1).map(e => e.outerHTML)"""


@pytest.mark.slow
@pytest.mark.skipif(browser.found() is None, reason=f"none of {browser.NAMES} is installed")
def test_a_browser_shows_it_without_network_at_any_width(page):
    with browser.Browser() as shown:
        for width, dark in ((1280, False), (360, False), (360, True)):
            shown.open(page[0], width, dark=dark)
            assert not shown.complaints
            outside = [r for r in shown.requests if not r.startswith("data:image/png")]
            assert outside == [page[0].resolve().as_uri()]
            assert shown.evaluate("document.documentElement.scrollWidth") <= width
            assert shown.evaluate(_TOO_WIDE) == []
            loaded = "[...document.images].map(i => i.complete && i.naturalWidth > 0)"
            assert shown.evaluate(loaded) == [True, True]
        assert (
            shown.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(17, 21, 26)"
        )
        data = shown.evaluate("document.getElementById('report-data').textContent")
        assert json.loads(data) == read(page[0])
