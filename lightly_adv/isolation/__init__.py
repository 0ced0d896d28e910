"""Evaluations of a module that leave no trace in it.

Others use `isolated.isolated`, and `isolated.Isolation` for many evaluations of one
module. Inside of them a `plan` walks once through all that the module refers to, and
makes a node of everything that can change:

- `contents`: lists, dicts and objects stay in place, and get their contents back;
- `nodes`: tensors and other values are replaced by copies (`copying`, and `attached`
  for parameters that go on receiving gradients);
- `states`: random sources, queues and shared memory are read, and written back.

`kinds` tells one object from another, `compiled` what PyTorch has compiled. `rng` and
`mute` look after random streams and loggers. Next to it, `modes` switches train/eval
flags, `recomputation` covers gradient checkpointing, and `leaks` compares a module with
what it was, to name what was not set aside.
"""
