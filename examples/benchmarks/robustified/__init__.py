"""The parts of the benchmark of `RobustDistillation`."""
