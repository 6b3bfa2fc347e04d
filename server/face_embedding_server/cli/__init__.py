"""The command `face-embedding-server`; each command imports what it needs when it runs."""
