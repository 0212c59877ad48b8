"""Behaviours, by name."""

from robowm.registry import Registry

BEHAVIOURS = Registry(
    "behaviour",
    {
        "cloning": "robowm.behaviour.cloning:Cloning",
        "actor_critic": "robowm.behaviour.actor_critic:ActorCritic",
    },
)
