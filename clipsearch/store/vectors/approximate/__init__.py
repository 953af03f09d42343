"""An approximate index of a model's vectors, for libraries that exact search takes long over.

`<model>.ann` keeps a quarter of a byte a number: rows are product-quantized, each pair of
numbers to the nearest of 16 centroids of its own (Jegou, Douze and Schmid, 2011), and FAISS
scans the 4-bit codes with SIMD table look-ups (Andre, Kermarrec and Le Scouarnec, 2015). Those
that come out best are ranked by their exact rows.

All codes are scanned, none skipped as an inverted file or a graph does: how much of those must be
read depends on the questions, and is the more the farther these lie from all pictures, as words
do (docs/benchmarks.md).
"""
