"""The command `face-embedding`."""
