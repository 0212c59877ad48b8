"""What ``colcon build`` runs."""

from pathlib import Path

from setuptools import setup

NAME = "robowm_bridge"


def files(pattern: str) -> list[str]:
    return sorted(map(str, Path().glob(pattern)))


setup(
    name=NAME,
    version="0.1.0",
    description="robowm's world model as a lifecycle node",
    license="Apache-2.0",
    maintainer="robowm",
    maintainer_email="robowm@users.noreply.github.com",
    packages=[NAME],
    data_files=[
        ("share/ament_index/resource_index/packages", [f"resource/{NAME}"]),
        (f"share/{NAME}", ["package.xml"]),
        (f"share/{NAME}/launch", files("launch/*.launch.py")),
        (f"share/{NAME}/config", files("config/*.yaml")),
    ],
    install_requires=["setuptools"],
    zip_safe=True,
    entry_points={"console_scripts": [f"bridge = {NAME}.main:main"]},
)
