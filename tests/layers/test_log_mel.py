"""Log-mel spectrograms against NumPy's Fourier transform and a matrix of triangles."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from mtlzoo.layers import LogMelSpectrogram

SIZES = {"fft_length": 64, "sequence_stride": 20, "sampling_rate": 8000, "num_mel_bins": 8}


def waves(samples=330, rows=3):
    return np.random.default_rng(0).normal(size=(rows, samples)) * [[1.0], [0.1], [0.001]][:rows]


def triangles(sampling_rate, bins, bands, lowest, highest):
    """Bin by bin, band by band; linear in mel = 1127 ln(1 + f / 700), without the constant bin."""

    def mel(frequency):
        return 1127 * np.log1p(frequency / 700)

    edges = np.linspace(mel(lowest), mel(highest), bands + 2)
    matrix = np.zeros((bins, bands))
    for i, k in np.ndindex(bins, bands):
        place = mel(i * sampling_rate / 2 / (bins - 1))
        left, centre, right = edges[k : k + 3]
        rise, fall = (place - left) / (centre - left), (right - place) / (right - centre)
        matrix[i, k] = max(0.0, min(rise, fall)) if i else 0.0
    return matrix


def log_mel(x, floor=1e-6, window_length=None, lowest=20.0, highest=4000.0):
    fft, stride = SIZES["fft_length"], SIZES["sequence_stride"]
    length = window_length or fft
    window = np.zeros(fft)
    start = (fft - length) // 2
    window[start : start + length] = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(length) / length)
    padded = np.pad(x, [(0, 0), (fft // 2, fft // 2)], mode="reflect")
    frames = [padded[:, s : s + fft] for s in range(0, padded.shape[1] - fft + 1, stride)]
    power = np.abs(np.fft.rfft(np.stack(frames, 1) * window)) ** 2
    matrix = triangles(8000, fft // 2 + 1, SIZES["num_mel_bins"], lowest, highest)
    return np.log(np.maximum(power @ matrix, floor))


@pytest.mark.parametrize(
    ("arguments", "by_hand"),
    [
        ({}, {}),
        ({"floor": 0.01}, {"floor": 0.01}),
        ({"sequence_length": 40}, {"window_length": 40}),
        ({"min_freq": 200.0, "max_freq": 3000.0}, {"lowest": 200.0, "highest": 3000.0}),
    ],
)
def test_it_is_the_logarithm_of_energies(arguments, by_hand):
    x = waves()
    expected = log_mel(x, **by_hand)
    assert (expected[2] > np.log(by_hand.get("floor", 1e-6))).any() != ("floor" in arguments)
    # Keras's triangles are float32.
    found = LogMelSpectrogram(**SIZES, **arguments, dtype="float64")(x)
    assert found.shape == (3, 17, 8)
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-4)
    found = LogMelSpectrogram(**SIZES, **arguments)(x.astype("float32"))
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-3)


def test_a_row_does_not_depend_on_others():
    layer, x = LogMelSpectrogram(**SIZES), waves().astype("float32")
    loud = np.concatenate([x, 1e4 * x[:1]])
    np.testing.assert_allclose(layer(loud)[:3], layer(x), rtol=0, atol=1e-4)


@pytest.mark.parametrize("floor", [1e-6, 0.5])
def test_silence_is_the_floor(floor):
    y = LogMelSpectrogram(floor, **SIZES)(np.zeros((1, 100), "float32"))
    np.testing.assert_allclose(y, np.full((1, 6, 8), np.log(floor)), rtol=1e-5)


@pytest.mark.parametrize("fft_length", [64, 63])
@pytest.mark.parametrize("samples", [99, 100, 101, 119, 120])
def test_the_shape_is_known_before(fft_length, samples):
    layer = LogMelSpectrogram(**{**SIZES, "fft_length": fft_length})
    found = layer(np.zeros((2, samples), "float32"))
    assert layer.compute_output_shape((None, samples)) == (None, *found.shape[1:])
    assert layer(keras.Input((samples,))).shape == (None, *found.shape[1:])
    assert layer.compute_output_shape((2, None)) == (2, None, 8)


def test_float32_in_a_model_of_mixed_precision():
    keras.config.set_dtype_policy("mixed_float16")
    x = waves().astype("float32")
    found = LogMelSpectrogram(**SIZES, dtype="float32")(x)
    assert found.dtype == tf.float32
    np.testing.assert_allclose(found, log_mel(x), rtol=0, atol=1e-3)
    assert LogMelSpectrogram(**SIZES)(x).dtype == tf.float16


@pytest.mark.slow
def test_xla_and_config():
    layer, x = LogMelSpectrogram(1e-4, **SIZES, min_freq=50.0, name="mel"), waves()
    again = LogMelSpectrogram.from_config(layer.get_config())
    assert again.get_config() == layer.get_config()
    assert again.floor == 1e-4 and again.min_freq == 50.0 and again.name == "mel"
    x = tf.constant(x, tf.float32)
    compiled = tf.function(again, jit_compile=True)(x)
    np.testing.assert_allclose(compiled, layer(x), rtol=0, atol=1e-3)


@pytest.mark.parametrize("floor", [0, -1.0, float("nan"), float("inf"), True, "low", None])
def test_errors(floor):
    with pytest.raises(ValueError) as error:
        LogMelSpectrogram(floor)
    assert str(error.value) == f"`floor` should be a positive number. Received: floor={floor!r}"
