"""Spectrograms of sound."""

import math
import numbers
from typing import Any

import keras
from keras import ops


@keras.saving.register_keras_serializable(package="mtlzoo")
class LogMelSpectrogram(keras.layers.MelSpectrogram):
    r"""The logarithm of the energy in bands of pitch, over time.

    $$y_{s,k} = \log \max(\mathrm{mel}_k(|\mathrm{STFT}_s(x)|^2), \varepsilon).$$

    The bands are Keras's `MelSpectrogram`. Its decibels are not used: they are cut off 80 below the
    loudest of the whole *batch*, so that what is computed for a row depends on the other rows.

    Give it the dtype float32 in a model of mixed precision (or float64): layers cast what they
    receive to their compute dtype, and a Fourier transform needs more than 16 bits.

    Args:
        floor: positive float, the energy below which all is silence. Defaults to 1e-6.
        **kwargs: those of `keras.layers.MelSpectrogram`.

    Shapes:
        `(batch, samples)` in, `(batch, 1 + samples // sequence_stride, num_mel_bins)` out (with an
        odd `fft_length` `samples - 1` instead of `samples`).

    Raises:
        ValueError: if `floor` is not positive.

    Example:
    ```python
    import numpy as np
    from mtlzoo.layers import LogMelSpectrogram

    layer = LogMelSpectrogram(fft_length=256, sequence_stride=100, num_mel_bins=20)
    layer(np.zeros((2, 1600), "float32")).shape  # (2, 17, 20)
    ```
    """

    def __init__(self, floor: float = 1e-6, **kwargs: Any) -> None:
        # In the config of the base class, from which this one is made again.
        kwargs.pop("power_to_db", None)
        super().__init__(power_to_db=False, **kwargs)
        is_number = isinstance(floor, numbers.Real) and not isinstance(floor, bool)
        if not (is_number and 0 < floor < math.inf):
            raise ValueError(f"`floor` should be a positive number. Received: floor={floor!r}")
        self.floor = float(floor)

    def call(self, inputs: Any) -> Any:
        """The logarithms."""
        energies = ops.swapaxes(super().call(inputs), -1, -2)
        return ops.log(ops.maximum(energies, self.floor))

    def compute_output_shape(self, input_shape: Any) -> tuple[int | None, ...]:
        """`(batch, frames, num_mel_bins)`."""
        samples = input_shape[-1]
        if samples is None:
            return (*input_shape[:-1], None, self.num_mel_bins)
        # Half a frame is added at both ends, which of an odd one are a sample less than a frame.
        # Keras's own is one too high where `samples` is one below a multiple of the stride.
        frames = 1 + (samples - self.fft_length % 2) // self.sequence_stride
        return (*input_shape[:-1], frames, self.num_mel_bins)

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments."""
        return {**super().get_config(), "floor": self.floor}
