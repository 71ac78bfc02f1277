"""The device that an engine owns."""

import re
from dataclasses import dataclass

from headrace.errors import ConfigError

_NAME = re.compile(r"(cpu|cuda)(?::(\d+))?")


@dataclass(frozen=True, slots=True)
class Device:
    """One CPU worker's share of the host, or one GPU.

    Several `cpu:N` may share a machine; an engine on `cuda:N` sees only that GPU,
    so its torch name is always `cuda:0`.
    """

    kind: str
    index: int = 0

    @classmethod
    def parse(cls, name: str) -> "Device":
        """Read `cpu`, `cpu:1` or `cuda:0`.

        Raises:
            ConfigError: If the name is none of these.

        Example:
            >>> Device.parse("cpu:1").name
            'cpu:1'
        """
        match = _NAME.fullmatch(name.strip())
        if match is None:
            raise ConfigError(f"unknown device {name!r}: use cpu, cpu:N or cuda:N")
        return cls(match[1], int(match[2] or 0))

    @property
    def name(self) -> str:
        """`cpu:0`, `cuda:1`, as users write it."""
        return f"{self.kind}:{self.index}"

    @property
    def torch_name(self) -> str:
        """The name for `torch.device` inside the engine."""
        return "cpu" if self.kind == "cpu" else "cuda:0"
