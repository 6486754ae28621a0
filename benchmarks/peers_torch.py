"""Training steps of TorchJD and LibMTL, run on request: the other side of `benchmarks.peers`.

It needs Python with `torch`, `torchjd[full]` and `LibMTL`, and nothing of this package. It reads
one JSON object a line: `{"network", "tasks", "batch", "method"}` makes a model and answers "ready"
or why not, `{"steps"}` runs training steps and answers the seconds of one.
"""

import itertools
import json
import sys
import time

import torch
from peers_methods import LIBMTL, torchjd_aggregator  # beside this file, which is run as a program
from torch import nn

# What LibMTL's trainer passes to its methods: the defaults of its documentation.
LIBMTL_ARGUMENTS = {
    "MGDA": {"mgda_gn": "none"},
    "GradVac": {"beta": 0.5},
    "CAGrad": {"calpha": 0.5, "rescale": 1},
    "GradDrop": {"leak": 0.0},
    "GradNorm": {"alpha": 1.5},
}


class Network(nn.Module):
    """A trunk and a linear head for each task."""

    def __init__(self, network: str, tasks: int) -> None:
        super().__init__()
        if network == "mlp":
            sizes = (64, 512, 512, 256)
            layers = [(nn.Linear(a, b), nn.ReLU()) for a, b in itertools.pairwise(sizes)]
            self.trunk = nn.Sequential(*(part for pair in layers for part in pair))
            width = 256
        else:
            channels = (3, 16, 32, 64)
            layers = [
                (nn.Conv2d(a, b, 3, 2, 1), nn.ReLU()) for a, b in itertools.pairwise(channels)
            ]
            flat = [part for pair in layers for part in pair]
            self.trunk = nn.Sequential(*flat, nn.Flatten(), nn.Linear(1024, 128), nn.ReLU())
            width = 128
        self.heads = nn.ModuleList(nn.Linear(width, 1) for _ in range(tasks))


def prepare(request: dict):
    """A function that runs one training step."""
    torch.manual_seed(0)
    tasks, batch = request["tasks"], request["batch"]
    model = Network(request["network"], tasks)
    shape = (batch, 64) if request["network"] == "mlp" else (batch, 3, 32, 32)
    x = torch.randn(shape)
    y = torch.randn(tasks, batch, 1)
    optimizer = torch.optim.SGD(model.parameters(), lr=1e-3)
    library, _, method = request["method"].partition(" ")
    level = request.get("level", "parameters")

    def losses_of(features):
        pairs = zip(model.heads, y, strict=True)
        return [nn.functional.mse_loss(head(features), labels) for head, labels in pairs]

    if library == "torch":

        def step():
            optimizer.zero_grad()
            sum(losses_of(model.trunk(x))).backward()
            optimizer.step()

    elif library == "torchjd":
        step = with_torchjd(model, x, losses_of, optimizer, method, tasks)
    else:
        step = with_libmtl(model, x, y, losses_of, optimizer, method, tasks, level)
    return step


def with_torchjd(model, x, losses_of, optimizer, method, tasks):
    """Jacobian descent by the shared parameters."""
    from torchjd.autojac import jac_to_grad, mtl_backward

    aggregator = torchjd_aggregator(method, tasks)

    def step():
        optimizer.zero_grad()
        features = model.trunk(x)
        mtl_backward(losses_of(features), features=features)
        jac_to_grad(model.trunk.parameters(), aggregator)
        optimizer.step()

    return step


def with_libmtl(model, x, y, losses_of, optimizer, method, tasks, level):
    """LibMTL's method, mixed into a model as its trainer does."""
    # LibMTL imports a function from where torchvision no longer has it.
    sys.modules.setdefault("torchvision.models.utils", torch.hub)
    from LibMTL import weighting

    base = getattr(weighting, LIBMTL[method])
    arguments = LIBMTL_ARGUMENTS.get(LIBMTL[method], {})

    class Mixed(base):
        def __init__(self):
            super().__init__()
            self.device = torch.device("cpu")
            self.task_name = [str(i) for i in range(tasks)]
            self.task_num = tasks
            self.rep_grad = level == "features"
            self.rep_tasks = {}
            self.epoch = 1
            self.train_loss_buffer = torch.ones(tasks, 2).numpy()
            self.model = model
            self.init_param()

        def get_share_params(self):
            return self.model.trunk.parameters()

        def zero_grad_share_params(self):
            self.model.trunk.zero_grad(set_to_none=False)

    mixed = Mixed()

    def step():
        optimizer.zero_grad(set_to_none=False)
        features = model.trunk(x)
        if level == "features":
            mixed.rep = features
            for name in mixed.task_name:
                copy = features.detach().clone()
                copy.requires_grad = True
                mixed.rep_tasks[name] = copy
            pairs = zip(model.heads, mixed.rep_tasks.values(), y, strict=True)
            found = [nn.functional.mse_loss(head(rep), labels) for head, rep, labels in pairs]
        else:
            found = losses_of(features)
        mixed.backward(torch.stack(found), **arguments)
        optimizer.step()

    return step


def main() -> None:
    """Answer requests until the other side hangs up."""
    torch.set_num_threads(int(sys.argv[1]))
    step = None
    for line in sys.stdin:
        request = json.loads(line)
        if "steps" in request:
            start = time.perf_counter()
            for _ in range(request["steps"]):
                step()
            answer = (time.perf_counter() - start) / request["steps"]
        else:
            try:
                step = prepare(request)
                for _ in range(3):
                    step()
                answer = "ready"
            except Exception as error:
                answer = f"{type(error).__name__}: {error}"
        print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    main()
