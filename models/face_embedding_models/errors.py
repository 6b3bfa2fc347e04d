"""What can go wrong with model files.

    ModelError
    ├── UnknownModelError       no manifest of that name
    ├── ManifestError           a manifest that breaks the schema
    ├── StoreError              the store lacks something, or holds something damaged
    ├── ImportRefusedError      a source that cannot or may not be imported
    │   ├── LicenseError        terms that have to be accepted first
    │   └── FetchError          an address that does not give the file
    ├── CheckpointError         files that are not an MXNet checkpoint, or a damaged one
    ├── ConversionError         a network that cannot be converted
    │   ├── UnsupportedOperatorError
    │   └── MeaninglessError    one whose embeddings mean nothing
    ├── QuantizationError       a model that cannot be quantized
    └── DriftError              a precision whose drift cannot be measured

Each message says what was wrong, where, and what to do.
"""


class ModelError(Exception):
    """Base of every error about model files."""


class UnknownModelError(ModelError):
    """No manifest has the name asked for."""


class ManifestError(ModelError):
    """A manifest breaks the schema; the message names the key."""


class StoreError(ModelError):
    """The store lacks a model or a file, or a file in it was changed."""


class ImportRefusedError(ModelError):
    """A source cannot be read, is unsafe, or differs from the manifest."""


class LicenseError(ImportRefusedError):
    """The terms of a model have to be accepted before it is installed; the message has them."""


class FetchError(ImportRefusedError):
    """An address cannot be reached, or does not give the file."""


class CheckpointError(ModelError):
    """A symbol or parameter file is malformed."""


class ConversionError(ModelError):
    """A network cannot be expressed as an OpenVINO model that embeds faces."""


class UnsupportedOperatorError(ConversionError):
    """The network uses an operator, or an attribute of one, that the converter does not know."""


class MeaninglessError(ConversionError):
    """What the network gives for faces does not tell them apart; the message says which check."""


class QuantizationError(ModelError):
    """A model cannot be quantized with what is there."""


class DriftError(ModelError):
    """The drift of a precision cannot be measured with what is there."""
