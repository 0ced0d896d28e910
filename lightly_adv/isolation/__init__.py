"""Evaluations of a module that leave no trace in it."""
