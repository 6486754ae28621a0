"""The recipe on a stream: what it plants, and from end to end on a few rows."""

import json

import numpy as np
import pytest
from absl.testing import flagsaver

pytest.importorskip("matplotlib")

from recipes import census_stream as recipe
from recipes.parts import census_streams


def test_the_planted_changes_are_what_they_should_be():
    rng = np.random.default_rng(0)
    x = {
        column: rng.choice([b"a", b"b", b"c", b"d"], 60).astype(object)
        for column in census_streams.CODES
    }
    x["age"] = rng.integers(0, 60, 60).astype("float32")
    y = {"income": rng.integers(0, 2, 60), "never_married": np.ones(60, "int32")}
    recoded, adults = np.arange(60) >= 20, np.arange(60) >= 40
    new_x, new_y = census_streams.changed((x, y), recoded, adults)
    for column in census_streams.CODES:
        assert (new_x[column][:20] == x[column][:20]).all()
        book = set(zip(x[column][20:], new_x[column][20:], strict=True))
        assert len(book) == len({old for old, _ in book}) == len({new for _, new in book}) == 4
    assert any((new_x[column][20:] != x[column][20:]).any() for column in census_streams.CODES)
    assert (new_x["age"] == x["age"]).all()
    assert (new_y["income"] == y["income"]).all()
    children = adults & (x["age"] < census_streams.ADULT)
    assert children.any()
    assert (new_y["never_married"] == np.where(children, 0, 1)).all()


@pytest.mark.slow
def test_every_way_of_learning_is_compared(tmp_path, capsys):
    options = {"before": 512, "rows": 1024, "test": 500, "window": 256, "every": 256, "seeds": 1}
    with flagsaver.flagsaver(out=str(tmp_path), source="sample", **options):
        recipe.main([])
    report = json.loads((tmp_path / "results.json").read_text())
    assert report.pop("marks") == {"planted": [256, 512, 768], "years": [512]}
    assert list(report) == ["planted", "years"]
    printed = capsys.readouterr().out
    for ways in report.values():
        assert list(ways) == ["never", "online", "batched", "adaptive"]
        for way, (found,) in ways.items():
            assert found["counts"]["read"] == 1024
            assert found["lost"] == 0
            assert (found["counts"]["updates"] == 0) == (way == "never")
            assert [len(part) for part in found["auc"]["income"]] == [4, 4]
            assert f"{found['total']['income']:.4f}" in printed
        windows = [ways[way][0]["auc"]["income"][1][0] for way in ("never", "batched")]
        assert windows[0] == windows[1]  # nothing was learned before the first window
    assert (tmp_path / "census_stream.png").stat().st_size > 10_000


@pytest.mark.slow
def test_too_many_rows_are_an_error():
    pool, test, _ = census_streams.load("sample", None)
    with pytest.raises(ValueError, match=r"`--before` and `--rows` should be fewer.*20000 and 8"):
        census_streams.make("planted", pool, test, 0, before=20_000, rows=8, test_rows=8)
