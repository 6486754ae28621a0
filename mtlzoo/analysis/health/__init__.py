"""What goes wrong in a training without an error, said in plain words."""
