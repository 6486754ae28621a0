"""What one stamp becomes: a picture of one size, and speech of one length and rate."""

from __future__ import annotations

import importlib.util
import io

import numpy as np

from mtlzoo.data import pictures

#: Pixels of a side of a picture.
SIDE = 64
#: Samples in a second of speech, and in all: two seconds. A caption takes 1.4 s on average.
RATE = 8000
SAMPLES = 2 * RATE


def on_white(picture: np.ndarray) -> np.ndarray:
    """Lay a stamp in the middle of a white square that it fills in one direction.

    Args:
        picture: `(h, w, 4)` in `uint8`.

    Returns:
        The picture `(64, 64, 3)` in `uint8`.
    """
    height, width = pictures.fitting(picture, SIDE)
    resized = pictures.resize(picture, height, width).astype("float64")
    opacity = resized[..., 3:] / 255
    top, left = (SIDE - height) // 2, (SIDE - width) // 2
    white = np.full((SIDE, SIDE, 3), 255, np.uint8)
    white[top : top + height, left : left + width] = np.rint(
        opacity * resized[..., :3] + (1 - opacity) * 255
    )
    return white


def can_decode_speech() -> bool:
    """Return whether soundfile (extra `datasets`), which decodes speech, is installed."""
    return importlib.util.find_spec("soundfile") is not None


def decode_speech(file: bytes) -> np.ndarray:
    """Decode speech as one channel at 8 kHz, cut or padded with silence to two seconds.

    Args:
        file: the content of an Ogg or WAV file.

    Returns:
        The samples `(16000,)` in `int16`.
    """
    import soundfile

    samples, rate = soundfile.read(io.BytesIO(file), dtype="float64", always_2d=True)
    resampled = resample(samples.mean(1), rate)[:SAMPLES]
    whole = np.zeros(SAMPLES, np.int16)
    whole[: len(resampled)] = np.rint(np.clip(resampled, -1, 1) * 32767)
    return whole


def resample(samples: np.ndarray, rate: int) -> np.ndarray:
    """Change the rate to 8 kHz by cutting, or extending, the spectrum.

    Args:
        samples: `(n,)`.
        rate: samples in a second.

    Returns:
        `(round(n * 8000 / rate),)`.
    """
    count = round(len(samples) * RATE / rate)
    if count in (0, len(samples)):
        return samples[:count]
    return np.fft.irfft(np.fft.rfft(samples), count) * (count / len(samples))
