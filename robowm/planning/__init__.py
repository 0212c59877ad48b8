"""Planners, by name."""

from robowm.registry import Registry

PLANNERS = Registry(
    "planner",
    {"mppi": "robowm.planning.mppi:MPPI", "cem": "robowm.planning.cem:CEM"},
)
