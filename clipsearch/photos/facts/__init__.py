"""What a photo's file says of it beside its pixels: EXIF, XMP, words and when it was taken."""
