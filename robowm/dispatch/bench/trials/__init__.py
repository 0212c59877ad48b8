"""Faults on purpose, over a real middleware: what goes wrong, and what must never come of it."""
