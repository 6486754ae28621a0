import importlib.util
import json
import subprocess
import sys
import time
import urllib.request

import keras
import numpy as np
import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.plugins.custom_scalar import layout_pb2

from mtlzoo import BinaryClassification, HardSharing, Regression
from mtlzoo.analysis import TaskMatrix
from mtlzoo.reporting import TensorBoard

MATRIX = TaskMatrix(["buy", "price"], np.array([[1.0, 0.4], [0.4, 1.0]]), "cosine | of gradients")


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """The folder and the history of a training of two epochs."""
    folder = tmp_path_factory.mktemp("logs") / "run"
    tasks = [BinaryClassification("buy", metrics=["accuracy"]), Regression("price", metrics=[])]
    model = HardSharing(keras.Input((3,)), tasks, shared_units=[4])
    model.compile(keras.optimizers.Adam(0.01), balancer="pcgrad", run_eagerly=True)
    x = np.random.default_rng(0).normal(size=(16, 3)).astype("float32")
    y = {"buy": (x[:, 0] > 0).astype("int32"), "price": x[:, 1]}
    callback = TensorBoard(folder, findings=[MATRIX])
    history = model.fit(x, y, epochs=2, validation_data=(x, y), callbacks=[callback], verbose=0)
    return folder, history.history, model


def read(folder):
    events = EventAccumulator(str(folder), size_guidance={"tensors": 0})
    events.Reload()
    return events


def scalars(events, tag):
    found = events.Tensors(tag)
    return [e.step for e in found], [
        float(
            np.frombuffer(
                e.tensor_proto.tensor_content or np.float32(e.tensor_proto.float_val[0]).tobytes(),
                "float32",
            )[0]
        )
        for e in found
    ]


@pytest.mark.slow
def test_the_scalars_are_those_of_the_logs(trained):
    folder, history, model = trained
    for part, prefix in (("train", ""), ("validation", "val_")):
        events = read(folder / part)
        for tag, key in (
            ("buy/loss", "buy_loss"),
            ("buy/accuracy", "buy_accuracy"),
            ("price/loss", "price_loss"),
            ("epoch/loss", "loss"),
        ):
            steps, values = scalars(events, tag)
            assert steps == [1, 2]
            np.testing.assert_allclose(values, history[prefix + key], rtol=1e-6)
    events = read(folder / "train")
    assert scalars(events, "weights/buy")[1][-1] == pytest.approx(model.task_weights["buy"])
    np.testing.assert_allclose(scalars(events, "epoch/learning_rate")[1], 0.01, rtol=1e-6)


@pytest.mark.slow
def test_the_layout_has_a_part_for_each_task(trained):
    event = read(trained[0] / "train").Tensors("custom_scalars__config__")[0]
    layout = layout_pb2.Layout.FromString(event.tensor_proto.string_val[0])
    assert [c.title for c in layout.category] == ["Task buy", "Task price", "All tasks"]
    charts = {c.title: list(c.multiline.tag) for c in layout.category[0].chart}
    assert charts == {"loss": ["^buy/loss$"], "accuracy": ["^buy/accuracy$"]}


def test_findings_are_pictures_and_tables(trained):
    events = read(trained[0] / "train")
    kinds = {
        tag: events.summary_metadata[tag].plugin_data.plugin_name
        for tag in events.Tags()["tensors"]
    }
    text, image = f"words/{MATRIX.title}", f"findings/{MATRIX.title}"
    assert (kinds[text], kinds[image]) == ("text", "images")
    words = events.Tensors(text)[0].tensor_proto.string_val[0].decode()
    assert MATRIX.words() in words and "| buy | 1 | 0.4 |" in words
    assert events.Tensors(image)[0].tensor_proto.string_val[2][:8] == b"\x89PNG\r\n\x1a\n"
    assert events.Tensors(image)[0].step == 2


class Unfit(TaskMatrix):
    """A finding that has nothing to say."""

    def words(self):
        raise ValueError("nothing was measured")


@pytest.mark.slow
def test_a_finding_that_cannot_be_written_does_not_cost_the_training(tmp_path, caplog):
    model = HardSharing(keras.Input((3,)), [Regression("a"), Regression("b")], shared_units=[2])
    model.compile("sgd", run_eagerly=True)
    x = np.ones((4, 3), "float32")
    findings = [Unfit(["a", "b"], np.eye(2), "m"), MATRIX]
    callback = TensorBoard(tmp_path, findings=findings)
    history = model.fit(x, {"a": x[:, 0], "b": x[:, 0]}, callbacks=[callback], verbose=0)
    assert len(history.history["loss"]) == 1
    assert "The finding Unfit was not written." in caplog.text
    assert f"words/{MATRIX.title}" in read(tmp_path / "train").Tags()["tensors"]


def test_findings_of_one_title_are_numbered(tmp_path):
    TensorBoard(tmp_path).write_findings([MATRIX, MATRIX])
    tags = read(tmp_path / "train").Tags()["tensors"]
    assert sorted(tags) == sorted(
        f"{kind}/{MATRIX.title}{number}"
        for kind in ("findings", "words")
        for number in ("", " (2)")
    )


def test_without_matplotlib_findings_are_refused_before_training(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    with pytest.raises(ImportError, match=r"pip install 'mtlzoo\[analysis\]'"):
        TensorBoard(tmp_path, findings=[MATRIX])
    TensorBoard(tmp_path)


def test_without_tensorboard_the_extra_is_named_before_training(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ImportError, match=r"pip install 'mtlzoo\[tensorboard\]'"):
        TensorBoard("logs")


def test_arguments_are_checked(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(
        ValueError, match=r"`log_dir` should be that of a folder. Received: log_dir=3"
    ):
        TensorBoard(3)
    with pytest.raises(ValueError, match="`log_dir` should be a folder, and not a file"):
        TensorBoard(tmp_path / "file")
    with pytest.raises(ValueError, match="`findings` should hold what analyses give"):
        TensorBoard(tmp_path, findings=["picture"])
    plain = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)])
    plain.compile("sgd", loss="mse", run_eagerly=True)
    before = plain.get_weights()
    with pytest.raises(ValueError, match="should be given to `fit` of a multi-task model"):
        plain.fit(np.ones((2, 2)), np.ones(2), callbacks=[TensorBoard(tmp_path / "new")], verbose=0)
    np.testing.assert_array_equal(before[0], plain.get_weights()[0])
    assert not (tmp_path / "new").exists()


def test_the_state_is_the_epoch(tmp_path):
    callback = TensorBoard(tmp_path)
    callback.set_state({"epoch": 3})
    assert callback.get_state() == {"epoch": 3}


@pytest.mark.slow
def test_tensorboard_itself_serves_the_layout_and_the_curves(trained):
    program = "import sys; from tensorboard.main import run_main; sys.exit(run_main())"
    options = ["--logdir", str(trained[0]), "--host", "127.0.0.1", "--port", "0"]
    served = subprocess.Popen(
        [sys.executable, "-c", program, *options, "--load_fast=false"],
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        address = next(w for line in served.stderr for w in line.split() if w.startswith("http://"))

        def ask(path):
            return json.load(urllib.request.urlopen(address + path, timeout=30))

        for _ in range(60):
            tags = ask("data/plugin/scalars/tags")
            if len(tags) == 2:
                break
            time.sleep(1)
        assert "buy/accuracy" in tags["train"] and "buy/accuracy" in tags["validation"]
        layout = ask("data/plugin/custom_scalars/layout")
        assert [c["title"] for c in layout["category"]] == ["Task buy", "Task price", "All tasks"]
        found = ask("data/plugin/custom_scalars/scalars?run=train&tag=%5Ebuy/loss%24")
        assert found["regex_valid"] and len(found["tag_to_events"]["buy/loss"]) == 2
        images = ask("data/plugin/images/tags")
        assert any(tag.startswith("findings/") for tag in images["train"])
    finally:
        served.terminate()
        served.wait(30)
