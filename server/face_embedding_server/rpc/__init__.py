"""All that speaks gRPC or a contract: from a message to the domain, and back."""
