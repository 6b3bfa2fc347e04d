"""The structure of image files, walked before a decoder sees them: a module for each format.

Decoders trust their input. A PNG of 33 bytes can announce a chunk of four gigabytes, a JPEG repeat
a scan a thousand times, and a profile unfold to a hundred times its size. So each part is held
against the bytes that are there, and only the parts that make up the pixels are passed on: what
describes the picture (profiles, texts, previews, EXIF) is read here as far as it is needed.
"""
