"""Hypernetwork learners: joint source training, the LoRA hypernet of one base, and the refit of a port.

They differ only in what trains: latents, core and converters in joint training (a LoRA hypernet is joint
training with one base), the converter alone in a refit. Latents are free, or have a description. Shape
letters: T tasks, Z latent width, D embedding width, P phrasings of a task.
"""

import zlib
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor, nn

from portal.artifacts.artifact import Artifact, TrainedHypernet, save_artifact
from portal.artifacts.model_card import RunRecord
from portal.bases.base import Base
from portal.bases.sites import group_sites
from portal.config import RunConfig
from portal.device import fp32_products, to_device
from portal.hypernet import Converter, CoreDecoder, Factors, init_latents, spread_layers
from portal.learners.base import Bases, Learner, RowTables, Start, named_generator
from portal.learners.optimiser import LossEMA, Optimiser, Rates, balance_gradients, equalized_sum
from portal.text.encoder import find_encoder
from portal.text.text_map import TextMap
from portal.train_config import TrainConfig


class HypernetLearner(Learner):
    """Joint training, or a refit of what it starts from."""

    def __init__(self, run: RunConfig, bases: Bases, rows: RowTables, start: Start | None = None) -> None:
        super().__init__(run, bases, rows)
        assert run.seed is not None
        source = None if start is None else Artifact.load(start.folder)
        self._refit = source is not None
        self._source = None if source is None else source.as_source()
        self._source_latents = None if source is None else source.latents
        self._source_text = None if source is None else source.text_map
        self._source_records = {} if source is None else source.task_records
        if source is None:
            self._latents: FreeLatents | TextLatents = self._fresh_latents()
            self.core = CoreDecoder(self.hypernet, self.adapter, named_generator(run.seed, "core"))
        else:
            latents, self.core = source.frozen_core(self.tasks, self.adapter, self.hypernet)
            held = nn.Parameter(latents.data.to(self.device), requires_grad=False)
            self._latents = FreeLatents(held)
        self.core = self.core.to(self.device).requires_grad_(not self._refit)
        self.converters = {name: self._fresh_converter(base) for name, base in self.bases.items()}
        if source is not None and self.train.layer_start == "source":
            for converter in self.converters.values():
                embeddings = converter.layer_embeddings.weight.data
                embeddings.copy_(spread_layers(source.layer_embeddings, len(embeddings)))
        decay, floor = self.train.ema_decay, self.train.ema_floor
        self._ema = {
            name: LossEMA(len(self.tasks), decay=decay, floor=floor, device=self.device)
            for name in self.bases
        }
        self._latent_gradients: list[Tensor] = []
        self.optimisers = [Optimiser(self._rates(), self.train, self.num_steps)]

    @property
    def latents(self) -> Tensor:
        """Of all tasks, (T, d_z), as they are scored and saved."""
        return self._latents.values

    def trained_latents(self) -> dict[str, Tensor]:
        """Those of joint training; a refit holds its source's."""
        return {} if self._refit else dict(zip(self.tasks, self.latents.data, strict=True))

    def factors(self, base: str) -> Factors:
        return self._generate(base, self.latents)

    def training_factors(self, base: str) -> Factors:
        return self._generate(base, self._latents.leaf(self.step))

    def _generate(self, base: str, z_TZ: Tensor) -> Factors:
        with fp32_products(self.train.hypernet_products):
            factors: Factors = self.converters[base](self.core, z_TZ)
        return factors

    def loss_weights(self, base: str, slots: list[int], loss_S: Tensor) -> Tensor:
        """1 / max(ema_t, floor)."""
        return self._ema[base].divisors(to_device(slots, loss_S.device), loss_S).reciprocal()

    def backward(self, base: str, factors: Factors, gradients: Factors) -> None:
        if self.train.factor_decay:
            self._decay_factors(factors, gradients)
        with fp32_products(self.train.hypernet_products):
            if self.train.task_gradients == "sum":
                self._backward_of_sum(base, factors, gradients)
            else:
                self._backward_per_task(base, gradients)

    def _backward_of_sum(self, base: str, factors: Factors, gradients: Factors) -> None:
        super().backward(base, factors, gradients)
        leaf = self._latents.leaf(self.step)
        if leaf.requires_grad:
            assert leaf.grad is not None, "no gradient reached the latents"
            self._latent_gradients.append(leaf.grad)
            leaf.grad = None

    def _decay_factors(self, factors: Factors, gradients: Factors) -> None:
        """The gradient of factor_decay / 2 times the squared norm of the factors of tasks in this step."""
        taking_part = set(self.tasks_at(self.step))
        scale_T = [self.train.factor_decay * (task in taking_part) for task in self.tasks]
        scale_T111 = to_device(torch.tensor(scale_T), self.device).view(-1, 1, 1, 1)
        for group, pair in gradients.items():
            for factor, gradient in zip(factors[group], pair, strict=True):
                gradient.addcmul_(factor.detach(), scale_T111)

    def _backward_per_task(self, base: str, gradients: Factors) -> None:
        """Each task's own gradient of the shared parameters, scaled to their mean norm, then added up.

        A latent is its task's alone and has its gradient as it is.
        """
        converter = list(self.converters[base].parameters())
        shared = converter if self._refit else [*self.core.parameters(), *converter]
        own = [self._task_gradient(base, slot, gradients, shared) for slot in range(len(self.tasks))]
        combined = equalized_sum([each[1:] for each in own])
        for parameter, gradient in zip(shared, combined, strict=True):
            parameter.grad = gradient if parameter.grad is None else parameter.grad + gradient
        if not self._refit:
            self._latent_gradients.append(torch.cat([each[0] for each in own]))

    def _task_gradient(
        self, base: str, slot: int, gradients: Factors, shared: list[nn.Parameter]
    ) -> tuple[Tensor, ...]:
        """The gradients of the task's latent, (1, d_z), and of the `shared` parameters."""
        latent = self._latents.leaf(self.step)[slot : slot + 1].detach().requires_grad_()
        factors = self.converters[base](self.core, latent)
        outputs = [factor for group in factors for factor in factors[group]]
        towards = [gradient[slot : slot + 1] for group in factors for gradient in gradients[group]]
        return torch.autograd.grad(outputs, [latent, *shared], towards)

    def gather_gradients(self) -> None:
        if not self._refit:
            self._latents.receive(self.step, balance_gradients(self._latent_gradients))
            self._latent_gradients = []

    def end_step(self) -> None:
        for ema in self._ema.values():
            ema.commit()

    def drop_gradients(self) -> None:
        super().drop_gradients()
        self._latent_gradients = []
        self._latents.drop()
        for ema in self._ema.values():
            ema.drop()

    def parameter_tensors(self) -> dict[str, Tensor]:
        tensors = self._latents.tensors()
        if not self._refit:
            tensors |= {f"core.{name}": value for name, value in self.core.state_dict().items()}
        for base, converter in self.converters.items():
            tensors |= {f"converter/{base}/{name}": value for name, value in converter.state_dict().items()}
            tensors[f"ema/{base}"] = self._ema[base].value_T
        return tensors

    def save_artifact(self, folder: Path, record: RunRecord) -> None:
        """Write into `folder` itself for one base, into a subfolder for every base of joint training.

        A port's artifact has the latents of all tasks of its source.
        """
        latents = self._source_latents or dict(zip(self.tasks, self.latents.data, strict=True))
        for name, base in self.bases.items():
            trained = TrainedHypernet(
                latents,
                self.adapter,
                self.hypernet,
                self.core,
                self.converters[name],
                calibrated=self.trained_tasks,
                source=self._source,
                text=self._text_map,
                known=self._source_records,
            )
            place = folder / artifact_subfolder(name) if self.run.spec.runs_on == "sources" else folder
            save_artifact(place, base=base, trained=trained, record=record)

    @property
    def _text_map(self) -> TextMap | None:
        """The map from descriptions to latents: a refit has its source's."""
        if not isinstance(self._latents, TextLatents):
            return self._source_text
        assert self.run.text is not None
        return TextMap.of(self._latents.linear, self.run.text)

    def _fresh_latents(self) -> "FreeLatents | TextLatents":
        assert self.run.seed is not None
        generator = named_generator(self.run.seed, "latents")
        if self.run.text is None:
            latents = init_latents(len(self.tasks), self.hypernet, generator)
            return FreeLatents(nn.Parameter(latents.data.to(self.device)))
        encoder = find_encoder(self.run.text.encoder, sha256=self.run.text.encoder_sha256)
        return TextLatents(
            [encoder.embed(self.run.data.descriptions[task]) for task in self.tasks],
            self.hypernet.d_latent,
            dropout=self.run.text.dropout,
            std=self.hypernet.latent_std,
            seed=self.run.seed,
            generator=generator,
            device=self.device,
        )

    def _fresh_converter(self, base: Base) -> Converter:
        assert self.run.seed is not None
        converter = Converter(
            self.hypernet,
            group_sites(base.sites, self.adapter.modules),
            num_layers=base.num_layers,
            zero_output=self._refit,
            generator=named_generator(self.run.seed, f"converter {base.name}"),
        )
        return converter.to(self.device)

    def _rates(self) -> Rates:
        converters = [
            parameter for converter in self.converters.values() for parameter in converter.parameters()
        ]
        if self._refit:
            return [(converters, self.train.lr)]
        return [*self._latents.rates(self.train), ([*self.core.parameters(), *converters], self.train.lr)]


def artifact_subfolder(base: str) -> str:
    """Where a source run's artifact keeps the converter of `base`; a base may be a path or a hub id.

    ValueError for a name that would lead out of the artifact.
    """
    folder = base.strip("/").replace("/", "--")
    if folder in ("", ".", ".."):
        raise ValueError(f"{base!r} is no name of a base")
    return folder


class FreeLatents:
    """A vector for each task: a parameter, which a refit holds."""

    def __init__(self, latents: nn.Parameter) -> None:
        self._latents = latents

    @property
    def values(self) -> Tensor:
        """As they are scored and saved, (T, Z)."""
        return self._latents

    def leaf(self, step: int) -> Tensor:
        """As this step's factors are generated from them, (T, Z): all bases gather their gradient there."""
        return self._latents

    def receive(self, step: int, gradient_TZ: Tensor) -> None:
        """Carry the gradient of the step's leaf on to the parameters."""
        self._latents.grad = gradient_TZ

    def drop(self) -> None:
        """Forget what this step has gathered, so that it can be taken again."""
        self._latents.grad = None

    def rates(self, train: TrainConfig) -> Rates:
        """What trains; nothing where the latents are held."""
        return [([self._latents], train.lr_latent)] if self._latents.requires_grad else []

    def tensors(self) -> dict[str, Tensor]:
        """All parameters that train, by their names in a checkpoint."""
        return {"task_latents": self._latents.data} if self._latents.requires_grad else {}


class TextLatents:
    """z_t = W x_t + b + d_t: x_t is the embedding of the task's description, d_t a part of its own.

    A step draws one phrasing of each task, and drops d_t with a probability of `dropout`, so that
    descriptions alone stand for tasks. Scores take the mean of the phrasings, and d_t.
    """

    def __init__(
        self,
        embeddings: Sequence[Tensor],
        width: int,
        *,
        dropout: float,
        std: float,
        seed: int,
        generator: torch.Generator,
        device: torch.device,
    ) -> None:
        """`embeddings` are (P, D) of each task, of unit length; fresh latents have deviation `std`."""
        self.embeddings = [rows.to(device) for rows in embeddings]
        self._mean_TD = torch.stack([rows.mean(0) for rows in self.embeddings])
        self._dropout, self._seed = dropout, seed
        d_text = self._mean_TD.shape[1]
        self.linear = nn.Linear(d_text, width, device=device)
        with torch.no_grad():
            self.linear.weight.copy_(std * torch.randn(width, d_text, generator=generator))
            self.linear.bias.zero_()
        self.own = nn.Parameter(torch.zeros(len(embeddings), width, device=device))
        self._step: tuple[int, Tensor, Tensor] | None = None  # number, latents with their graph, and a leaf

    @property
    def values(self) -> Tensor:
        with torch.no_grad():
            return self.linear(self._mean_TD) + self.own

    def leaf(self, step: int) -> Tensor:
        _, leaf = self._drawn_step(step)
        return leaf

    def receive(self, step: int, gradient_TZ: Tensor) -> None:
        graph, _ = self._drawn_step(step)
        torch.autograd.backward(graph, gradient_TZ)
        self._step = None

    def drop(self) -> None:
        self._step = None

    def rates(self, train: TrainConfig) -> Rates:
        return [([self.own], train.lr_latent), (list(self.linear.parameters()), train.lr)]

    def tensors(self) -> dict[str, Tensor]:
        return {
            "text.own": self.own.data,
            "text.weight": self.linear.weight.data,
            "text.bias": self.linear.bias.data,
        }

    def _drawn_step(self, step: int) -> tuple[Tensor, Tensor]:
        """The latents of that step: with the graph that leads to the parameters, and as a leaf of its own."""
        if self._step is not None and self._step[0] == step:
            return self._step[1:]
        generator = torch.Generator().manual_seed(zlib.crc32(f"{self._seed} text {step}".encode()))
        places = [int(torch.randint(len(rows), (), generator=generator)) for rows in self.embeddings]
        kept_T1 = torch.rand(len(places), 1, generator=generator) >= self._dropout
        x_TD = torch.stack([rows[place] for rows, place in zip(self.embeddings, places, strict=True)])
        graph = self.linear(x_TD) + self.own * to_device(kept_T1, self.own.device)
        self._step = step, graph, graph.detach().requires_grad_()
        return self._step[1:]
