"""The loop that drives a real arm: planner beside it, modes, approval."""
