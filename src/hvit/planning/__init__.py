"""What a run would take on a cluster, before it is started: memory, time, communication, data and cost."""
