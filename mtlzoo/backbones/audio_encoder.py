"""Encoder of sound."""

from collections.abc import Sequence
from typing import Any

import keras

from mtlzoo.backbones.backbone import Backbone, check_positive, check_widths
from mtlzoo.backbones.residual import Style, check_odd, check_stages, pool
from mtlzoo.layers.log_mel import LogMelSpectrogram
from mtlzoo.layers.normalization import check_norm
from mtlzoo.layers.policies import at_least_float32, policy_config


@keras.saving.register_keras_serializable(package="mtlzoo")
class AudioEncoder(Backbone):
    r"""Log-mel spectrogram of a waveform, then residual convolutions over time.

    $$x_0 = \log \max(\mathrm{mel}(|\mathrm{STFT}(w)|^2), 10^{-6}), \qquad
    x_{l+1} = a\big(s(x_l) + n(K_2 * a(n(K_1 * x_l)))\big).$$

    The spectrogram is a layer of the model, so that a served model takes waveforms. It is computed
    in float32 also in mixed precision. Its Fourier transform is one that XLA compiles; shapes are
    static.

    Stages are `log_mel`, `stem`, `stage_1`, `stage_2`, ... (each after the first halves the time),
    and `pool`.

    Args:
        num_samples: length of the waveform, in samples.
        sampling_rate: samples in a second, in Hz. Defaults to 16000.
        fft_length: samples in a frame. Defaults to 512, 32 ms at the default rate.
        sequence_stride: samples from frame to frame. Defaults to 160, 10 ms at the default rate.
        num_mel_bins: number of bands. Defaults to 64.
        blocks: number of blocks in each stage. Defaults to `(1, 1, 1)`.
        widths: channels of each stage. Defaults to `(64, 128, 128)`.
        kernel_size: odd size of the kernels, in frames. Defaults to 3.
        norm: `"batch"` or `"group"`. Defaults to `"batch"`.
        activation: activation after normalization and after sums. Defaults to `"relu"`.
        pooled: whether the features are the mean over time. Defaults to True.
        dtype: dtype policy of the layers. Defaults to the global one.
        name: name of the model. Defaults to one made from the class.

    Shapes:
        `(batch, num_samples)` in, a waveform between -1 and 1; `(batch, widths[-1])` out, or
        without pooling `(batch, frames / 2**(stages - 1), widths[-1])`, rounded up, where `frames`
        is `1 + num_samples // sequence_stride`.

    Raises:
        ValueError: for an unusable number, width, size, normalization or dtype, or for a waveform
            of less than one frame.

    Example:
    ```python
    from mtlzoo.backbones import AudioEncoder

    encoder = AudioEncoder(16000, widths=(16, 32, 32))  # one second
    encoder.get_layer("log_mel").output.shape  # (None, 101, 64)
    ```
    """

    width_arguments = ("widths",)

    def __init__(
        self,
        num_samples: int,
        sampling_rate: int = 16000,
        *,
        fft_length: int = 512,
        sequence_stride: int = 160,
        num_mel_bins: int = 64,
        blocks: Sequence[int] = (1, 1, 1),
        widths: Sequence[int] = (64, 128, 128),
        kernel_size: int = 3,
        norm: str = "batch",
        activation: Any = "relu",
        pooled: bool = True,
        dtype: Any = None,
        name: str | None = None,
    ) -> None:
        # --- Layers ---
        fft_length = check_positive("fft_length", fft_length, least=2)
        num_samples = check_positive("num_samples", num_samples, least=fft_length)
        blocks, widths = check_widths("blocks", blocks), check_widths("widths", widths)
        check_stages(blocks, widths)
        kernel_size = check_odd("kernel_size", kernel_size)
        dtype = policy_config(dtype)
        style = Style(check_norm(norm, "batch", "group"), activation, dtype)
        log_mel = LogMelSpectrogram(
            fft_length=fft_length,
            sequence_stride=check_positive("sequence_stride", sequence_stride),
            sampling_rate=check_positive("sampling_rate", sampling_rate),
            num_mel_bins=check_positive("num_mel_bins", num_mel_bins),
            name="log_mel",
            dtype=at_least_float32(dtype),
        )

        # --- Graph ---
        inputs = keras.Input((num_samples,), name="waveform")
        features = style.convolve(log_mel(inputs), widths[0], kernel_size, "stem_conv")
        features = style.activate("stem")(features)
        features, stages = style.stages(features, blocks, widths, kernel_size)
        stage_names = ["log_mel", "stem", *stages]
        if pooled:
            features = pool(features, dtype)
            stage_names.append("pool")

        # --- Config ---
        arguments = {
            "num_samples": num_samples,
            "sampling_rate": sampling_rate,
            "fft_length": fft_length,
            "sequence_stride": sequence_stride,
            "num_mel_bins": num_mel_bins,
            "blocks": list(blocks),
            "widths": list(widths),
            "kernel_size": kernel_size,
            "norm": norm,
            "activation": activation,
            "pooled": pooled,
            "dtype": dtype,
        }
        super().__init__(inputs, features, stage_names, arguments, name)
