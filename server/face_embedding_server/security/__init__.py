"""Who may call what, and how connections are secured."""
