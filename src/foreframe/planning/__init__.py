"""Planning with a model's imagination, and an honest success rate of it in the simulator."""
