"""FLOORS and RAY_ONLY_IN: which package may import which, and which modules import Ray."""

FLOORS: dict[str, tuple[str, ...]] = {
    "portal.lazy": (),
    "portal.messages": (),
    "portal.modules": (),
    "portal.methods": ("portal.messages", "portal.modules"),
    "portal.frozen": ("portal.messages",),
    "portal.answers": ("portal.frozen",),
    "portal.train_config": ("portal.messages", "portal.frozen"),
    "portal.config": (
        "portal.messages", "portal.methods", "portal.frozen", "portal.answers", "portal.train_config",
    ),
    "portal.device": (),
    "portal.storage": ("portal.messages", "portal.frozen"),
    "portal.recipes": ("portal.messages", "portal.config", "portal.methods"),
    "portal.results": (  # rows and records hold columns of a run's config
        "portal.messages", "portal.frozen", "portal.config", "portal.storage",
    ),
    "portal.search_record": ("portal.messages", "portal.frozen", "portal.storage"),
    "portal.importance": ("portal.search_record",),
    "portal.embedded": (),
    "portal.bases": (
        "portal.lazy", "portal.messages", "portal.modules", "portal.frozen", "portal.config", "portal.device",
        "portal.storage", "portal.embedded",
    ),
    "portal.tasks": ("portal.messages", "portal.frozen", "portal.answers", "portal.storage"),
    "portal.data": (
        "portal.messages", "portal.frozen", "portal.answers", "portal.storage", "portal.embedded",
        "portal.tasks",
    ),
    "portal.hypernet": ("portal.config", "portal.device", "portal.bases"),
    "portal.text": ("portal.messages", "portal.config", "portal.storage", "portal.bases"),
    "portal.forward": (
        "portal.device", "portal.bases", "portal.data", "portal.hypernet",
    ),
    "portal.artifacts": (
        "portal.messages", "portal.methods", "portal.frozen", "portal.config", "portal.storage",
        "portal.results", "portal.embedded", "portal.bases", "portal.tasks", "portal.text", "portal.hypernet",
        "portal.forward",
    ),
    "portal.learners": (
        "portal.frozen", "portal.config", "portal.train_config", "portal.storage", "portal.device",
        "portal.bases", "portal.data", "portal.text", "portal.hypernet", "portal.forward", "portal.artifacts",
    ),
    "portal.generation": (
        "portal.messages", "portal.device", "portal.bases", "portal.hypernet", "portal.forward",
    ),
    "portal.evaluate": (
        "portal.messages", "portal.answers", "portal.device", "portal.storage", "portal.results",
        "portal.bases", "portal.tasks", "portal.data",
        "portal.hypernet", "portal.forward", "portal.generation", "portal.artifacts",
    ),
    "portal.training": (
        "portal.answers", "portal.config", "portal.device", "portal.results",
        "portal.bases", "portal.data", "portal.hypernet",
        "portal.forward", "portal.learners", "portal.evaluate",
    ),
    "sweeps.store": ("portal",),
    "sweeps.study": ("portal", "sweeps.store"),
    "sweeps.worker": ("portal", "sweeps.store"),
    "sweeps.planning": ("portal", "sweeps.store", "sweeps.study"),
    "sweeps.results": ("portal", "sweeps.store", "sweeps.study"),
    "sweeps.sinks": ("portal", "sweeps.store", "sweeps.study", "sweeps.results"),
    "sweeps.launch": (
        "portal", "sweeps.store", "sweeps.study", "sweeps.worker", "sweeps.planning", "sweeps.results",
        "sweeps.sinks",
    ),
    "sweeps.search": (
        "portal", "sweeps.store", "sweeps.study", "sweeps.planning", "sweeps.results", "sweeps.sinks",
        "sweeps.launch",
    ),
    "sweeps.gpu_check": (
        "portal", "sweeps.store", "sweeps.study", "sweeps.worker", "sweeps.planning", "sweeps.launch",
    ),
    "analysis.stats": (
        "portal.methods", "portal.results", "portal.search_record", "portal.importance",
        "portal.messages",
    ),
    "analysis.tables": ("portal.methods", "portal.results", "portal.search_record", "analysis.stats"),
    "analysis.figures": ("portal.methods", "portal.storage", "portal.search_record", "analysis.stats"),
    "analysis.report": (
        "portal.messages", "portal.methods", "portal.storage", "portal.results", "portal.search_record",
        "analysis.stats", "analysis.tables", "analysis.figures",
    ),
    "cluster": (),
}  # fmt: skip
"""What each package may import of ours besides itself. The command line is above them all."""
RAY_ONLY_IN = {
    "cluster.jobs",
    "sweeps.launch.ray_lanes",
    "sweeps.launch.ray_scoring",
    "sweeps.launch.ray_session",
    "sweeps.launch.ray_tokenize",
}
