"""The conformance kit: whether a server, or a client in any language, does as the contract says."""
