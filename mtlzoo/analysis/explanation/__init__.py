"""What in the input a task's answer rests on."""
