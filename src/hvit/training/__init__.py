"""How a task is trained, whatever it is."""
