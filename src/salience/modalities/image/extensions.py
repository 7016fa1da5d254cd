"""The extensions of image files."""

EXTENSIONS = frozenset(
    f".{name}"
    for name in (
        *("jpg", "jpeg", "jpe", "jfif", "png", "bmp", "dib", "gif", "tif", "tiff", "webp"),
        *("ppm", "pgm", "pbm", "pnm", "jp2", "avif", "ico", "pcx", "sgi", "tga"),
    )
)
