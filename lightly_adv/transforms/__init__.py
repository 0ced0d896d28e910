"""Batched transforms of pictures: what is random is drawn apart from its use."""
