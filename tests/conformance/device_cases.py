"""What is run on the host and on a GPU, or its stand-in, to be compared: rows and a training."""

from contextlib import contextmanager, nullcontext

import numpy as np

from workbench import arrays, dynamic
from workbench.dynamic import nn, ops, optim
from workbench.dynamic.amp import GradScaler, autocast
from workbench.dynamic.tensor import mode


def moved(thing):
    """Return what a row holds as constants on the device, as a user would put them there."""
    if isinstance(thing, np.ndarray):
        return arrays.to_device(thing, "gpu")
    return type(thing)(map(moved, thing)) if type(thing) in (tuple, list) else thing


class Moving:
    """The ops, with host arrays among their arguments moved."""

    def __getattr__(self, name):
        op = getattr(ops, name)
        return lambda *args, **options: op(
            *moved(args), **{k: moved(v) for k, v in options.items()}
        )


@contextmanager
def moving_constants():
    """Move host arrays that operators meet, too."""

    def move(cls, args):
        mode.intercept = None
        try:
            return cls.apply(*moved(args))
        finally:
            mode.intercept = move

    mode.intercept = move
    try:
        yield
    finally:
        mode.intercept = None


def run(row, device, dtype=np.float32):
    """Return the value of a row, and gradients of first and second order."""
    rng = np.random.default_rng(len(row.id))
    wanted = row.no_gradient is None
    inputs = [dynamic.tensor(np.asarray(a, dtype), wanted, device) for a in row.sample(rng)]
    with moving_constants() if device == "gpu" else nullcontext():
        return _run(row, inputs, device)


def _run(row, inputs, device):
    y = row.call(ops if device == "cpu" else Moving(), *inputs)
    if row.no_gradient is not None:
        return [y]
    direction = np.random.default_rng(0).standard_normal(y.shape).astype(inputs[0].dtype)
    total = ops.sum(y * dynamic.tensor(direction, device=device))
    first = dynamic.grad(total, inputs, retain_graph=True, allow_unused=True)
    found = dynamic.grad(total, inputs, create_graph=True, allow_unused=True)
    again = [ops.sum(g * g) for g in found if g is not None and g.requires_grad]
    second = dynamic.grad(again, inputs, allow_unused=True) if again else ()
    return [y, *first, *found, *second]


class Pictures(nn.Module):
    def __init__(self, rng):
        self.conv = nn.Conv2d(1, 3, 3, padding=1, rng=rng)
        self.norm = nn.BatchNorm(3)
        self.rnn = nn.LSTM(12, 4, rng=rng)
        self.out = nn.Linear(4, 3, rng)

    def forward(self, x):
        h = ops.max_pool2d(ops.relu(self.norm(self.conv(x))), 2)
        h, _ = self.rnn(ops.transpose(h, (2, 0, 1, 3)).reshape(2, len(x), -1))
        return self.out(h[-1])


def train(device, optimizer, half=None, steps=3):
    """Train on a device, in mixed precision if ``half`` is a dtype; return the parameters."""
    rng = np.random.default_rng(0)
    model = Pictures(rng)
    x, labels = rng.standard_normal((6, 1, 4, 8)).astype(np.float32), np.arange(6) % 3
    optimizer, scaler = optimizer(model.parameters()), GradScaler(2.0**8)
    model.to(device)  # After the optimiser was made: it notices.
    x, labels = dynamic.tensor(x, device=device), dynamic.tensor(labels, device=device).data
    for _ in range(steps):
        optimizer.zero_grad()
        if half is not None:
            with autocast(half):
                loss = ops.nll_loss(ops.log_softmax(model(x)), labels)
            scaler.scale(loss).backward()
            assert scaler.step(optimizer)
            scaler.update()
        else:
            loss = ops.nll_loss(ops.log_softmax(model(x)), labels)
            loss.backward()
            optim.clip_grad_value(model.parameters(), 1.0)
            optimizer.step()
    assert {p.device for p in model.parameters()} == {device}
    return [p.numpy() for p in model.parameters()], optimizer


OPTIMIZERS = {
    "SGD": lambda p: optim.SGD(p, lr=0.1, momentum=0.9, nesterov=True, weight_decay=0.01),
    "Adam": lambda p: optim.Adam(p, lr=0.01),
    "AdamW": lambda p: optim.AdamW(p, lr=0.01),
    "RMSProp": lambda p: optim.RMSProp(p, lr=0.01),
    "Adagrad": lambda p: optim.Adagrad(p, lr=0.01),
    "Adadelta": optim.Adadelta,
}
