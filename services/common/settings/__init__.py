"""What an operator sets: flags, variables and a TOML file become one frozen object for each process."""

from services.common.settings.fields import Address, CommaList, Model, Runtime, Server, Table
from services.common.settings.loading import (
    BAD_SETTINGS_EXIT_CODE,
    Effective,
    SettingsError,
    load_settings,
    read_settings,
)
from services.common.settings.service import ServiceSettings

__all__ = [
    "BAD_SETTINGS_EXIT_CODE",
    "Address",
    "CommaList",
    "Effective",
    "Model",
    "Runtime",
    "Server",
    "ServiceSettings",
    "SettingsError",
    "Table",
    "load_settings",
    "read_settings",
]
