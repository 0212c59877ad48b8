"""One file a way to reach an arm, and what they share."""
