"""Adversarial training for Lightly models and timm backbones."""

__version__ = "0.1.0"
