"""Files of a preset that are not those that were saved are refused, and nothing of them is run."""

import hashlib
import json
import pickle

import numpy as np
import pytest
from preset_cases import hard_sharing

from mtlzoo import presets
from mtlzoo.presets import files


@pytest.fixture
def folder(tmp_path):
    return hard_sharing().save_to_preset(tmp_path / "mine")


@pytest.fixture
def rewritten(folder):
    """Changes `preset.json`, or another file with its checksum."""

    def write(change=None, **others):
        config = json.loads((folder / "preset.json").read_text())
        for name, content in others.items():
            file = {"weights": "weights.npz", "card": "card.json"}[name]
            (folder / file).write_bytes(content)
            config["files"][file] = hashlib.sha256(content).hexdigest()
        if change is not None:
            change(config)
        (folder / "preset.json").write_text(json.dumps(config))
        return folder

    return write


@pytest.mark.parametrize("name", ["weights.npz", "card.json", "README.md"])
def test_a_file_with_another_checksum_is_refused(folder, name):
    content = bytearray((folder / name).read_bytes())
    content[len(content) // 2] ^= 1
    (folder / name).write_bytes(content)
    with pytest.raises(ValueError, match=rf"`{name}` of a preset should be the file that was"):
        presets.load(folder)
    (folder / name).unlink()
    with pytest.raises(ValueError, match=rf"should have all its files. Received: .* '{name}'"):
        presets.load(folder)


@pytest.mark.one_in(3)
@pytest.mark.parametrize(
    ("change", "error"),
    [
        (lambda c: c.update(format=2), r"`format` of a preset should be 1.*format=2"),
        (lambda c: c.update(files=[]), r"`files` of a preset should be a dict"),
        (lambda c: c["files"].update({"../x": "0"}), r"`files` of a preset should be some of"),
        (lambda c: c.update(weights=None), r"`weights` of a preset should be told where there"),
        (lambda c: c["weights"]["arrays"].pop(), r"should hold the arrays that `preset.json`"),
        (lambda c: c["weights"].update(arrays=[7]), r"should hold the arrays that `preset.json`"),
        (
            lambda c: c["weights"]["arrays"][0].update(shape=[6, 17]),
            r"`weights.npz` of a preset should hold .* Received: `0000/.*` of shape \(6, 16\)",
        ),
        (
            lambda c: c["model"]["config"].update(shared_units=[17]),
            r"The preset's weights should be those of its model, .* shape \(6, 17\)",
        ),
        (
            lambda c: c["model"]["config"].update(shared_units=[16, 16]),
            r"The preset's weights should be 16 arrays, as its model has. Received: 14 arrays",
        ),
    ],
)
def test_a_changed_configuration_is_refused(rewritten, change, error):
    with pytest.raises(ValueError, match=error):
        presets.load(rewritten(change))


def test_classes_that_are_not_registered_are_not_looked_for(rewritten):
    def foreign(config):
        config["model"].update(module="os", class_name="system", registered_name="os>system")

    with pytest.raises(ValueError, match=r"class that is registered with Keras.*'system'"):
        presets.load(rewritten(foreign))

    def no_model(config):
        config["model"].update(registered_name="mtlzoo>BinaryClassification")

    with pytest.raises(ValueError, match=r"registered as 'mtlzoo>BinaryClassification'"):
        presets.load(rewritten(no_model))


def test_foreign_classes_and_code_inside_are_not_run(rewritten, tmp_path):
    def foreign(config):
        config["model"].update(registered_name="mtlzoo>HardSharing")
        config["model"]["config"]["backbone"] = {
            "module": "subprocess", "class_name": "Popen", "registered_name": None,
            "config": {"args": ["touch", str(tmp_path / "was_run")]},
        }  # fmt: skip

    with pytest.raises(TypeError, match=r"Popen"):
        presets.load(rewritten(foreign))

    def code(config):
        config["model"]["config"]["backbone"] = {
            "module": "keras.layers", "class_name": "Lambda", "registered_name": None,
            "config": {"function": {"class_name": "__lambda__", "config": {"value": "4wAA"}}},
        }  # fmt: skip

    with pytest.raises((TypeError, ValueError), match=r"lambda"):
        presets.load(rewritten(code))
    assert not (tmp_path / "was_run").exists()


class Trap:
    """Says when it is unpickled."""

    def __reduce__(self):
        return print, ("unpickled",)


def test_pickles_are_refused_also_with_their_checksum(rewritten, capsys):
    with pytest.raises(ValueError, match=r"a file that cannot be read"):
        presets.load(rewritten(weights=pickle.dumps(Trap())))
    config = json.loads((rewritten() / "preset.json").read_text())
    names = [entry["name"] for entry in config["weights"]["arrays"]]
    held = np.empty((1,), object)
    held[0] = Trap()
    content = files.packed({name: held for name in names})
    with pytest.raises(ValueError, match=r"`weights.npz` of a preset|Object arrays|allow_pickle"):
        presets.load(rewritten(weights=content))
    assert "unpickled" not in capsys.readouterr().out


def test_a_few_bytes_that_stand_for_very_many_are_not_unpacked(rewritten):
    config = json.loads((rewritten() / "preset.json").read_text())
    arrays = {e["name"]: np.zeros(e["shape"], "float32") for e in config["weights"]["arrays"]}
    arrays[next(iter(arrays))] = np.zeros((2000, 1000), "float32")
    with pytest.raises(ValueError, match=r"Received: `0000/.*` of 8000128 bytes"):
        presets.load(rewritten(weights=files.packed(arrays)))


def test_what_is_no_json_is_refused(folder):
    (folder / "preset.json").write_text("{")
    with pytest.raises(ValueError, match=r"should be JSON"):
        presets.load(folder)
    (folder / "preset.json").write_text("7")
    with pytest.raises(ValueError, match=r"`format` of a preset should be 1"):
        presets.card(folder)


def test_a_card_with_unknown_keys_is_refused(rewritten):
    with pytest.raises(ValueError, match=r"A card should be a dict with some of the keys"):
        presets.card(rewritten(card=b'{"author": "me"}'))
