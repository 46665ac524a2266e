"""ssltut: learn semi-supervised 3D segmentation by walking around inside it.

``import ssltut`` is cheap on purpose: torch, MONAI and the viewers are imported where they are
used.
"""

__version__ = "0.1.0"
