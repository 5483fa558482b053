"""What agents and coordinators have in common when they speak to the broker: how they reach it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Self

from .access import Access, no_broker, read_access, read_secret
from .codec import Seal
from .connect import connect
from .keys import Keys
from .paths import RegistryPaths


if TYPE_CHECKING:
    from redis import Redis


class Side:
    """Be connected to a registry's broker.

    Args:
        access: Where the broker is.
        secret: The registry's key.
        instance: The registry's instance.
    """

    def __init__(self, access: Access, secret: bytes, instance: str) -> None:
        self._access = access
        self._seal = Seal(secret, instance)
        self._keys = Keys(instance)
        self._client: Redis = connect(access)

    @classmethod
    def open(cls, paths: RegistryPaths, instance: str) -> Self:
        """Return the broker that the registry's record names.

        Raises:
            BrokerUnavailable: There is no record, or nobody answers.
            BrokerRefused: The password is not the broker's.
        """
        access = read_access(paths)
        if access is None:
            raise no_broker(paths)
        return cls(access, read_secret(paths), instance)

    def close(self) -> None:
        """Let go of the broker."""
        self._client.close()
