"""Multi-Fashion: two pieces of clothing in one picture, a task for each.

An item of Fashion-MNIST (Xiao et al., 2017, https://arxiv.org/abs/1708.07747) lies at the top left
and another at the bottom right of a picture of 36 x 36 grey pixels; where they overlap the brighter
pixel counts. In the manner of MultiMNIST (Sabour et al., 2017, https://arxiv.org/abs/1710.09829;
Sener and Koltun, 2018, https://arxiv.org/abs/1810.04650), on 28 x 28 items that are moved by 8
pixels. Not the files of another paper of that name: these pairs are drawn here.

Tasks:
  left   ten balanced classes, the item at the top left
  right  ten balanced classes, the item at the bottom right

Input: `image` (36, 36, 1), bytes that the preprocessor scales to 0..1.

Splits: 54 000 training pairs, 6000 of a tenth of the official training items that is in no
training pair, and 10 000 of the official test items. In each split an item is once left and once
right, and never with itself.

Options of `load`: batch_size=256, seed=0, data_seed=0, preprocessed=True, raw_files, data_dir,
download=False. `raw_files` is the Debian package dataset-fashion-mnist or a folder that holds it or
the four idx files. `download` fetches the package with apt-get (30.9 MB), else the data set
fashion_mnist of TensorFlow Datasets.

Fashion-MNIST has the MIT licence (Zalando SE).
"""

from mtlzoo.data.multi_fashion.loading import load, prepare

__all__ = ["load", "prepare"]
