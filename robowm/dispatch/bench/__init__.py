"""The other side of the link: an arm to test against, and what judges it."""
