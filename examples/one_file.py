"""PorTAL in one file: learn tasks on two small bases, port them to a third, and compare with a LoRA per task.

Torch, transformers and pyarrow alone, in fp32 on a CPU; rows and bases are files of the installed package.
Shape letters: N rows, K tokens, T tasks, L layers, r LoRA rank, C core width, I input width, O output width,
Z latent width, E layer embedding width, H trunk width. Formulas: docs/method.md.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from importlib.resources import files

import pyarrow.parquet as pq
import torch
from torch import Tensor, nn
from torch.nn.functional import gelu, log_softmax
from torch.optim import AdamW
from transformers import AutoModelForCausalLM, AutoTokenizer

FOLDER = files("portal") / "embedded" / "mini"  # rows.parquet, and a folder for each base
SOURCES = ("mini-qwen3-xs", "mini-qwen3-s")
TARGET = "mini-gemma3"  # of another family
PATHS = {m: f"self_attn.{m}_proj" for m in "qkvo"} | {m: f"mlp.{m}_proj" for m in ("gate", "up", "down")}
RANK = 4
SCALING = 2.0  # alpha / r
D_LATENT, D_LAYER, D_HIDDEN, D_CORE = 64, 16, 128, 128
BATCH, SOURCE_ROWS, TARGET_ROWS = 4, 256, 16  # per task
SOURCE_STEPS, PORT_STEPS, LORA_STEPS = 600, 160, 80  # these and the rates: the recipe `many-tasks`
EMA_FLOOR = 0.5  # 1e-3 in the paper

Factors = dict[str, tuple[Tensor, Tensor]]
"""By module, for all tasks and layers: A (T, L, r, I) and B (T, L, O, r)."""


class Row:
    """A question in tokens: its prompt, its choices, which one is right, and their lengths in characters."""

    def __init__(self, record: dict, tokenizer) -> None:
        self.prompt = tokenizer(record["prompt"]).input_ids  # with BOS where the tokenizer has one
        whole = [tokenizer(record["prompt"] + choice).input_ids for choice in record["choices"]]
        self.choices = [ids[len(self.prompt) :] for ids in whole]  # no token spans the border in these rows
        self.gold = record["gold"]
        self.chars = [len(choice) for choice in record["choices"]]


class Base:
    """A frozen language model, the linear layers that are adapted, and all tasks' rows in its tokens."""

    def __init__(self, name: str) -> None:
        folder = str(FOLDER / "bases" / name)
        tokenizer = AutoTokenizer.from_pretrained(folder)
        self.model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
        layers = self.model.eval().requires_grad_(False).model.layers
        self.linears = {m: [layer.get_submodule(path) for layer in layers] for m, path in PATHS.items()}
        self.depth = len(layers)
        self.widths = {m: linears[0].weight.shape for m, linears in self.linears.items()}  # (O, I)
        self.rows: dict[tuple[str, str], list[Row]] = {}
        for record in pq.read_table(str(FOLDER / "rows.parquet")).to_pylist():
            self.rows.setdefault((record["task"], record["split"]), []).append(Row(record, tokenizer))
        self.tasks = sorted({task for task, _ in self.rows})

    def log_probs(self, sequences: list[tuple[list[int], list[int]]]) -> tuple[Tensor, Tensor]:
        """For (context, answer) pairs the log-probability and the pair of every answer's token, (K,) each."""
        ids_NK = torch.zeros(len(sequences), max(len(c) + len(a) for c, a in sequences), dtype=torch.long)
        places = []  # padding is on the right, where causal attention does not look
        for n, (context, answer) in enumerate(sequences):
            ids_NK[n, : len(context) + len(answer)] = torch.tensor([*context, *answer])
            places += [(n, len(context) - 1 + k, token) for k, token in enumerate(answer)]
        owner, position, target = torch.tensor(places).T
        logits_NKV = self.model(input_ids=ids_NK, use_cache=False).logits
        return log_softmax(logits_NKV[owner, position], dim=-1).gather(1, target[:, None])[:, 0], owner

    @contextmanager
    def adapted(self, factors: Factors, owners_N: Tensor) -> Iterator[None]:
        """Inside, row n of a forward has the adapter of task owners_N[n]: y = W x + (alpha / r) B (A x)."""

        def adapt(linear: nn.Linear, a_NRI: Tensor, b_NOR: Tensor):
            return linear.register_forward_hook(lambda _, x, y: y + SCALING * (x[0] @ a_NRI.mT) @ b_NOR.mT)

        handles = [
            adapt(linear, a_TLRI[owners_N, layer], b_TLOR[owners_N, layer])
            for module, (a_TLRI, b_TLOR) in factors.items()
            for layer, linear in enumerate(self.linears[module])
        ]
        yield
        for handle in handles:
            handle.remove()

    def losses(self, factors: Factors, batches: list[list[Row]]) -> Tensor:
        """The mean NLL of the right answers' tokens of every task, (T,), by one forward for all tasks."""
        owners_N = torch.tensor([task for task, batch in enumerate(batches) for _ in batch])
        answers = [(list(row.prompt), list(row.choices[row.gold])) for batch in batches for row in batch]
        with self.adapted(factors, owners_N):
            score, owner = self.log_probs(answers)
        task = owners_N[owner]
        return torch.zeros(len(batches)).index_add(0, task, -score) / task.bincount()

    @torch.no_grad()
    def accuracy(self, factors: Factors) -> float:
        """acc_norm: how often the choice with the greatest log-likelihood per character is the right one."""
        rights = []
        for task, name in enumerate(self.tasks):
            rows = self.rows[name, "test"]
            choices = [(row.prompt, choice) for row in rows for choice in row.choices]
            with self.adapted(factors, torch.full((len(choices),), task)):
                score, owner = self.log_probs(choices)
            totals = iter(torch.zeros(len(choices)).index_add(0, owner, score).tolist())
            norms = [[next(totals) / chars for chars in row.chars] for row in rows]
            rights += [norm.index(max(norm)) == row.gold for norm, row in zip(norms, rows, strict=True)]
        return sum(rights) / len(rights)


class Core(nn.Module):
    """The core decoder, shared by all bases: from latents and layer embeddings to factors of width C."""

    def __init__(self) -> None:
        super().__init__()
        self.l1 = nn.Linear(D_LATENT + D_LAYER, D_HIDDEN)
        self.l2 = nn.Linear(D_HIDDEN, D_HIDDEN)
        self.film = nn.Linear(D_LATENT, 2 * D_HIDDEN)
        self.A = nn.ModuleDict({module: nn.Linear(D_HIDDEN, RANK * D_CORE) for module in PATHS})
        self.B = nn.ModuleDict({module: nn.Linear(D_HIDDEN, D_CORE * RANK) for module in PATHS})
        for zero in (self.film, *self.B.values()):  # B of zeros: every adapter starts as the identity
            nn.init.zeros_(zero.weight)
            nn.init.zeros_(zero.bias)

    def forward(self, z_TZ: Tensor, e_LE: Tensor) -> dict[str, tuple[Tensor, Tensor]]:
        z_TLZ = z_TZ[:, None].expand(-1, len(e_LE), -1)
        e_TLE = e_LE[None].expand(len(z_TZ), -1, -1)
        gamma_T1H, beta_T1H = self.film(z_TZ)[:, None].chunk(2, dim=-1)
        h_TLH = gelu(self.l1(torch.cat([z_TLZ, e_TLE], dim=-1)))
        h_TLH = gelu(self.l2((1 + gamma_T1H) * h_TLH + beta_T1H))
        a = {m: linear(h_TLH).unflatten(2, (RANK, D_CORE)) for m, linear in self.A.items()}
        b = {m: linear(h_TLH).unflatten(2, (D_CORE, RANK)) for m, linear in self.B.items()}
        return {m: (a[m], b[m]) for m in PATHS}


class Converter(nn.Module):
    """What a port trains, one for each base: layer embeddings, and two projections a module."""

    def __init__(self, base: Base, *, port: bool) -> None:
        super().__init__()
        self.layer_embeddings = nn.Embedding(base.depth, D_LAYER)
        self.input = nn.ParameterDict({m: 0.02 * torch.randn(D_CORE, i) for m, (_, i) in base.widths.items()})
        std = 0.0 if port else 0.02  # a trained core's B is not zero: a port starts as the identity by this
        self.output = nn.ParameterDict({m: std * torch.randn(o, D_CORE) for m, (o, _) in base.widths.items()})

    def forward(self, core: Core, z_TZ: Tensor) -> Factors:
        """A = A_hat P_in and B = P_out B_hat, of all tasks and layers."""
        canonical = core(z_TZ, self.layer_embeddings.weight)
        return {m: (a @ self.input[m], self.output[m] @ b) for m, (a, b) in canonical.items()}


class LossEMA:
    """Divides the losses of a base's tasks by their moving averages, which include the current losses."""

    value_T: Tensor | None = None

    def normalise(self, loss_T: Tensor) -> Tensor:
        now = loss_T.detach()
        self.value_T = now if self.value_T is None else 0.9 * self.value_T + 0.1 * now
        return (loss_T / self.value_T.clamp(min=EMA_FLOOR)).sum()


def joint_step(latents, core, converters, emas, optimiser, bases, batches) -> list[Tensor]:
    """A balanced round: every task's batch on every base, whose gradients of the latents have equal say."""
    losses, gradients = [], []
    for base, converter, ema, own in zip(bases, converters, emas, batches, strict=True):
        leaf = latents.detach().requires_grad_()
        losses.append(base.losses(converter(core, leaf), own))
        ema.normalise(losses[-1]).backward()
        gradients.append(leaf.grad)
    directions = [gradient / (gradient.norm() + 1e-8) for gradient in gradients]
    latents.grad = sum(directions) * torch.stack([gradient.norm() for gradient in gradients]).mean()
    nn.utils.clip_grad_norm_([each for group in optimiser.param_groups for each in group["params"]], 1.0)
    optimiser.step()
    optimiser.zero_grad()
    return [loss_T.detach() for loss_T in losses]


def port_step(latents, core, converter, ema, optimiser, base, batches) -> Tensor:
    """One step of a refit: latents and core are frozen, the converter alone trains."""
    loss_T = base.losses(converter(core, latents), batches)
    ema.normalise(loss_T).backward()
    nn.utils.clip_grad_norm_(list(converter.parameters()), 1.0)
    optimiser.step()
    optimiser.zero_grad()
    return loss_T.detach()


def lora_step(loras: list[Factors], optimiser, base, batches) -> Tensor:
    """One step of a LoRA per task: they share a forward and nothing else."""
    loss_T = base.losses(stack(loras), batches)
    loss_T.sum().backward()
    for lora in loras:
        nn.utils.clip_grad_norm_([factor for pair in lora.values() for factor in pair], 1.0)
    optimiser.step()
    optimiser.zero_grad()
    return loss_T.detach()


def stack(loras: list[Factors]) -> Factors:
    """The tasks' own factors in tensors with a task dimension."""
    a = {m: torch.stack([lora[m][0] for lora in loras]) for m in PATHS}
    b = {m: torch.stack([lora[m][1] for lora in loras]) for m in PATHS}
    return {m: (a[m], b[m]) for m in PATHS}


def fresh_lora(base: Base) -> Factors:
    """A of all layers, (L, r, I), as peft draws it, and B of zeros, (L, O, r)."""
    a = {m: (2 * torch.rand(base.depth, RANK, d_in) - 1) / d_in**0.5 for m, (_, d_in) in base.widths.items()}
    b = {m: torch.zeros(base.depth, d_out, RANK) for m, (d_out, _) in base.widths.items()}
    return {m: (nn.Parameter(a[m]), nn.Parameter(b[m])) for m in PATHS}


def rounds(base: Base, num_rows: int, steps: int, seed: int) -> Iterator[list[list[Row]]]:
    """The batches of all tasks at every step: each pass over the first `num_rows` is in a new order."""
    generator = torch.Generator().manual_seed(seed)
    for step in range(steps):
        start = step * BATCH % num_rows
        if start == 0:
            order = [torch.randperm(num_rows, generator=generator).tolist() for _ in base.tasks]
        own = {task: places[start : start + BATCH] for task, places in zip(base.tasks, order, strict=True)}
        yield [[base.rows[task, "train"][i] for i in places] for task, places in own.items()]


def main() -> None:
    torch.manual_seed(0)
    sources = [Base(name) for name in SOURCES]
    target = Base(TARGET)

    latents = nn.Parameter(0.02 * torch.randn(len(target.tasks), D_LATENT))
    core = Core()
    converters = [Converter(base, port=False) for base in sources]
    emas = [LossEMA() for _ in sources]
    shared = nn.ModuleList([core, *converters]).parameters()
    optimiser = AdamW([{"params": [latents], "lr": 1e-2}, {"params": shared}], lr=2e-3, weight_decay=1.0)
    streams = [rounds(base, SOURCE_ROWS, SOURCE_STEPS, seed) for seed, base in enumerate(sources)]
    for step, batches in enumerate(zip(*streams, strict=True), 1):
        losses = joint_step(latents, core, converters, emas, optimiser, sources, batches)
        if step % 50 == 0:
            mean = torch.cat(losses).mean()
            print(f"joint step {step} of {SOURCE_STEPS}: loss {mean:.3f} nats", flush=True)

    latents = latents.detach()
    core.requires_grad_(False)
    port = Converter(target, port=True)
    ema = LossEMA()
    optimiser = AdamW(port.parameters(), lr=1.4e-3, weight_decay=4.0)
    for batches in rounds(target, TARGET_ROWS, PORT_STEPS, 9):
        port_step(latents, core, port, ema, optimiser, target, batches)

    loras = [fresh_lora(target) for _ in target.tasks]
    untrained = stack(loras)
    parameters = [factor for lora in loras for pair in lora.values() for factor in pair]
    optimiser = AdamW(parameters, lr=1.8e-3, weight_decay=4.0)
    for batches in rounds(target, TARGET_ROWS, LORA_STEPS, 9):
        lora_step(loras, optimiser, target, batches)

    print(f"{TARGET}, {len(target.tasks)} tasks with {TARGET_ROWS} rows each, one seed, acc_norm:")
    for name, factors in (("base", untrained), ("LoRA", stack(loras)), ("port", port(core, latents))):
        print(f"{name}  {target.accuracy(factors):.3f}")


if __name__ == "__main__":
    main()
