"""From addresses and files to proven weights in the store."""
