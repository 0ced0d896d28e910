"""From a training step that somebody else wrote to an objective and its views."""
