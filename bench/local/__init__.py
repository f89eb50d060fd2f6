"""The four processes on this machine: for the demo, for `make up`, and for the tests."""

from bench.local.members import GATEWAY
from bench.local.process import ServiceProcess, StartError
from bench.local.system import LocalSystem, free_addresses

__all__ = ["GATEWAY", "LocalSystem", "ServiceProcess", "StartError", "free_addresses"]
