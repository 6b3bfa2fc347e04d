"""MXNet checkpoints: reading and writing them, and a front end for OpenVINO."""
