"""One node that joins arm, gate, planner and operator, whatever the middleware."""
