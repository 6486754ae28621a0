"""What gates, stitches, masks and branches of a trained model say about its tasks."""
