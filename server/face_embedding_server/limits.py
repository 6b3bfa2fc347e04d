"""The limits on images where no others are set."""

DEFAULT_MAX_ENCODED_BYTES = 10 << 20
DEFAULT_MAX_IMAGE_PIXELS = 50_000_000
