"""The parts of a forward, each as what one thread of a team does of it.

`linears.py` is how a linear runs over any kind of weights. `residual.py` is what reads and writes the residual stream, `heads.py`
attention between its two linears, `mlp.py` the MLP up to its last one. `../program.py` strings them together and says where threads meet.
`lone_linear.py` is a linear that runs by itself, for layers that are not ours.
"""
