"""The limits on images where no others are set, and what no setting can raise."""

DEFAULT_MAX_ENCODED_BYTES = 10 << 20
DEFAULT_MAX_IMAGE_PIXELS = 50_000_000
MAX_FACES_PER_REQUEST = 1_000
