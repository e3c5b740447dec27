"""How learning is carried out, whatever the task."""
