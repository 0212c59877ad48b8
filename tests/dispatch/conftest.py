from tests.middleware import master, network  # noqa: F401
