"""The old name of `headstart.data.atomic`: files and folders that are there whole or not at all."""

from headstart.data.atomic import (
    folder_atomically,
    full_disk_is_a_user_error,
    write_atomically,
)

__all__ = ["folder_atomically", "full_disk_is_a_user_error", "write_atomically"]
