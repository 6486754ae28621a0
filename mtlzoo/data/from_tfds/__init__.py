"""Data sets that TensorFlow Datasets has (extra `datasets`), a module for each."""
