"""robowm's bridge as a ROS 2 package; ``bridge.py`` is the repository's scripts/bridge.py."""
