"""The primitives: few operations, each with all of its rules on adjacent lines.

Everything else is built from these in :mod:`workbench.functional.numpy`.
"""
