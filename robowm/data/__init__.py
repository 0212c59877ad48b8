"""Episodes: how they are made, kept on disk, and cut into sequences to learn from.

Only :mod:`robowm.data.replay` imports torch, so that collecting workers start quickly.
"""
