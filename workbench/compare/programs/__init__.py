"""The programs under comparison: one folder a model, one short file an era.

Above the line ``# Read off by the comparison:`` stands what a user of that era would
write; that part is shown in lectures and reports, and its lines are counted.  Each
defines ``Network(weights, learning_rate)`` with ``step(x, y)``, which trains on one
batch and returns its loss, and ``predict(x)``, which returns logits (N, 10).
Below it, ``gradients(network, x, y)``, ``weights(network)`` and
``graph_size(network, x, y)`` let the comparison look inside.
"""
