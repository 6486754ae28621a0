"""Stamp scenes: cut-out photographs on photographs, with four tasks on each picture.

One to four objects of six categories lie on a background. The objects are the photographs among the
stamps of Tux Paint (with a matte, so that their outline is known to a fraction of a pixel), the
backgrounds are crops of eleven photographs that come with scikit-image. The pictures are composed
here, by a seed; objects hide each other by less than a third.

Tasks:
  category  six classes, the category of the largest object: animals, food, household, plants, town,
            vehicles
  mask      semantic segmentation, 0 for background, else the category plus 1; 255 (missing) along
            outlines, where a pixel is partly object
  boxes     object detection, rows `[x_min, y_min, x_max, y_max, category]` around what is visible,
            relative to the picture, largest object first, padded with -1
  count     regression, the number of objects

Input: `image` (64, 64, 3), bytes that the preprocessor scales to 0..1.

Splits: 6000 training, 1000 validation and 1000 test scenes. No object of one split, nor one that
looks nearly alike, is in another (70, 15 and 15 % of each category), and backgrounds come from
other parts of the photographs (the left 60 %, the next 20 %, the last 20 %).

Options of `load`: batch_size=256, seed=0, data_seed=0, size=64, scenes=6000, preprocessed=True,
raw_files, data_dir, download=False. `raw_files` is a folder with the Debian package
tuxpaint-stamps-default and the wheel of scikit-image 0.26.0; `download` fetches both with apt-get
and pip (161 and 14 MB). Needs the extra `datasets`.

Stamps have the licence GPL-2, scikit-image a BSD one; nothing of either is in this package.
"""

from mtlzoo.data.stamp_scenes.loading import load, prepare

__all__ = ["load", "prepare"]
