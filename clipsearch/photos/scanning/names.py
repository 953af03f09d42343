"""Which names are those of photos, of pictures that are not read, and of folders left out."""

from __future__ import annotations

# What cameras write before anybody developed it.
RAW_EXTENSIONS = frozenset(
    {".dng", ".cr2", ".cr3", ".crw", ".nef", ".nrw", ".arw", ".sr2", ".srf", ".orf", ".ori"}
    | {".rw2", ".rwl", ".raw", ".raf", ".pef", ".ptx", ".srw", ".3fr", ".fff", ".iiq", ".cap"}
    | {".x3f", ".mrw", ".mdc", ".mef", ".mos", ".dcr", ".dcs", ".kdc", ".k25", ".kc2", ".erf"}
    | {".gpr", ".ari", ".bay", ".bmq", ".cs1", ".drf", ".pxn", ".sti"}
)

# The small picture that some cameras write beside a RAW file or a video.
THUMBNAIL = ".thm"

# Extensions only choose candidates; what a file is comes from its content when it is decoded.
EXTENSIONS = RAW_EXTENSIONS | frozenset(
    {".jpg", ".jpeg", ".jpe", ".jfif", ".jfi", ".jif", ".mpo", ".jps", ".insp", THUMBNAIL}
    | {".png", ".apng", ".webp", ".gif", ".tif", ".tiff", ".bmp", ".dib", ".avif", ".avifs"}
    | {".heic", ".heics", ".heif", ".heifs", ".hif", ".jp2", ".j2k", ".j2c", ".jpc", ".jpx"}
    | {".jpf", ".jph", ".jhc", ".ppm", ".pgm", ".pbm", ".pnm"}
)

# Pictures of kinds that are not read, of which a person is told that they were passed over.
# Documents, videos and what programs keep beside photos are not missed among them.
PASSED_OVER = frozenset(
    {".jxl", ".jxr", ".wdp", ".hdp", ".avci", ".bpg", ".flif", ".jls", ".lri", ".rwz", ".eip"}
    | {".psd", ".psb", ".pdd", ".xcf", ".kra", ".ora", ".clip", ".procreate", ".pdn", ".psp"}
    | {".pspimage", ".afphoto", ".svg", ".svgz", ".ai", ".eps", ".cdr", ".emf", ".wmf", ".tga"}
    | {".pcx", ".sgi", ".ras", ".pict", ".pct", ".xbm", ".xpm", ".pam", ".pfm", ".exr", ".hdr"}
    | {".dds", ".fits", ".dcm", ".djvu", ".djv", ".mng", ".jng"}
)

# What may show another picture of its folder a second time.
SECOND = RAW_EXTENSIONS | {THUMBNAIL}

# What programs write beside photos about them: of one photo each, and Picasa of all of a folder,
# in older versions under the second name.
_SIDECARS = frozenset({".xmp", ".json"})
PICASA = (".picasa.ini", "picasa.ini")

# Folders that hold thumbnails, rubbish or a program's own files, never somebody's photos.
SKIPPED_FOLDERS = frozenset(
    {"@eadir", "#recycle", "$recycle.bin", "node_modules", "__macosx", "lost+found"}
    | {"system volume information", "__pycache__"}
)


def is_photo_name(name: str) -> bool:
    """Whether a file of this name may be a photo: a known extension and not hidden."""
    return name[0] != "." and extension_of(name) in EXTENSIONS


def is_sidecar_name(name: str) -> bool:
    """Whether a file of this name may tell of photos that lie beside it."""
    return (name[0] != "." and extension_of(name) in _SIDECARS) or name.lower() in PICASA


def extension_of(name: str) -> str:
    """The extension of a file's name in small letters, with its dot."""
    return name[name.rfind(".") :].lower()


def is_skipped_folder(name: str) -> bool:
    """Whether a folder of this name is left out with all it holds."""
    return name.startswith(".") or name.lower() in SKIPPED_FOLDERS
