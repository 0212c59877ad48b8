"""What is told of a run, kept in a bag, and read again."""
