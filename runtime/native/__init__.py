"""The forward on a processor as one native call: kernels compiled on first use by numba, kept on disk, run by torch's own threads.

`threads.py` runs a function in torch's OpenMP team. `processor.py` is what kernels need to know of the processor, `vectors.py` its
vectors. `layout.py` is how numbers lie, and `packing.py` lays weights out so. `tiles.py` multiplies a few rows by a few vectors of
packed weights; `integer_tiles.py` does so in 8 and 4 bits. `naming.py` compiles what is made once a kind of weight, and keeps it on
disk. `products.py` covers a whole linear with tiles, `row_operations.py` is what happens to one row (norm, rotation, softmax),
`exponentials.py` what of it needs exp, `attention.py` reads the cache. `steps/` makes of them the parts of a forward, and linears that
run by themselves; `program.py` the forward, over the numbers of `table.py`. Nothing here knows a model: addresses and sizes come from
`runtime/model/lean/native_forward.py`. What only some models have is an entry of the table that is zero for the others.

Read `program.py`, then `products.py`. To add a way to store weights, edit `layout.py`, `vectors.py`, where tiles widen them, and
`packing.py`.

Every sum runs over its inputs in one order whichever tile computes it. So a row's result has the same bits whatever rows stand beside
it, and whatever hidden slots lie between those it attends to.
"""
