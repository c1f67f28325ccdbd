"""Rules of the code base that a reader relies on."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

from cnnrun.registry import KINDS, Registry
from tests.conftest import REPOSITORY

PACKAGE = REPOSITORY / "cnnrun"
FILES = sorted(PACKAGE.rglob("*.py"))


def _module(file: Path) -> str:
    parts = file.relative_to(REPOSITORY).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def _imports(file: Path) -> set[str]:
    """The cnnrun modules that `file` imports when it is itself imported."""
    tree = ast.parse(file.read_text())
    known = {_module(f) for f in FILES}
    found = set()
    for node in tree.body:
        if isinstance(node, ast.ImportFrom) and node.module:
            for alias in node.names:
                inner = f"{node.module}.{alias.name}"
                found.add(inner if inner in known else node.module)
        elif isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
    return {name for name in found if name.startswith("cnnrun.") and name != _module(file)}


GRAPH = {_module(file): _imports(file) for file in FILES}


def test_imports_form_a_dag() -> None:
    done: set[str] = set()

    def visit(module: str, path: tuple[str, ...]) -> None:
        assert module not in path, f"import cycle: {' -> '.join([*path, module])}"
        if module not in done:
            for imported in GRAPH.get(module, ()):
                # A package importing its own files is how they register; it is no cycle.
                if not imported.startswith(module + "."):
                    visit(imported, (*path, module))
            done.add(module)

    assert len(GRAPH) > 20
    for module in GRAPH:
        visit(module, ())


@pytest.mark.parametrize(
    ("module", "forbidden"),
    [
        ("cnnrun.registry", {"cnnrun.models", "cnnrun.config", "cnnrun.engine"}),
        ("cnnrun.models", {"cnnrun.data", "cnnrun.components", "cnnrun.engine"}),
        ("cnnrun.data", {"cnnrun.models", "cnnrun.components", "cnnrun.engine", "cnnrun.config"}),
        ("cnnrun.components.losses", {"cnnrun.models", "cnnrun.data.sources"}),
        ("cnnrun.components.tasks", {"cnnrun.plots", "cnnrun.engine"}),
        ("cnnrun.engine.trainer", {"cnnrun.plots", "cnnrun.evaluation", "cnnrun.cli"}),
    ],
)
def test_who_may_not_import_whom(module: str, forbidden: set[str]) -> None:
    members = [name for name in GRAPH if name == module or name.startswith(module + ".")]
    assert members
    for member in members:
        for imported in GRAPH[member]:
            assert not any(imported == f or imported.startswith(f + ".") for f in forbidden), (
                f"{member} imports {imported}"
            )


def test_importing_the_command_line_loads_nothing_heavy() -> None:
    code = (
        "import sys, cnnrun.cli; "
        "print([m for m in ('torch', 'matplotlib', 'yaml', 'numpy', 'rich.progress', 'pydantic') "
        "if m in sys.modules])"
    )
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ended.stdout.strip() == "[]"


COMPILER = ("torch._dynamo", "torch.fx.experimental.symbolic_shapes", "sympy")
OTHERS = ("torchvision", "sklearn", "torchmetrics", "scipy", "matplotlib.pyplot", *COMPILER)


@pytest.mark.parametrize(("draw", "needless"), [(True, OTHERS), (False, (*OTHERS, "matplotlib"))])
def test_training_own_data_never_imports_what_it_does_not_need(
    tiny: Path, tmp_path: Path, draw: bool, needless: tuple[str, ...]
) -> None:
    code = (
        "import sys; from pathlib import Path; from cnnrun import runner; "
        "from cnnrun.config.experiment import load; "
        f"changes = ['output={tmp_path}', 'training.draw={draw}']; "
        f"runner.train(load(Path({str(tiny)!r}), changes), quiet=True); "
        f"print([m for m in {needless} if m in sys.modules])"
    )
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ended.stdout.strip() == "[]"


@pytest.mark.parametrize("kind", KINDS)
def test_every_component_is_described_and_has_a_schema(kind: str) -> None:
    registry = KINDS[kind]
    assert registry.names()
    for name in registry.names():
        entry = registry.get(name)
        assert entry.summary.endswith("."), f"{kind} {name}: {entry.summary!r}"
        assert len(entry.summary) <= 100, f"{kind} {name}"
        assert entry.schema().__name__ == name


def test_a_registry_refuses_what_is_no_schema() -> None:
    registry = Registry("thing", "cnnrun.models")

    @registry.register("one")
    def one(*, size: int = 1) -> int:
        """One."""
        return size

    with pytest.raises(ValueError, match=r"'one' is already registered by .*test_architecture"):
        registry.register("one")(lambda: 1)
    with pytest.raises(ValueError, match="kwargs can't be a YAML key"):
        registry.register("two")(lambda **kwargs: kwargs)
    with pytest.raises(ValueError, match="'size' needs a type"):
        registry.register("three")(lambda *, size=1: size)
    assert registry.build(registry.get("one").schema()(), unused=5) == 1


# What others keep for themselves and offer in no other way, and where it is used.
FOREIGN = {
    "api.py": {"_repr_png_"},  # IPython's protocol
    "cli/__init__.py": {"_exit"},
    "comparison/text.py": {"_asdict"},  # public, of a named tuple
    "components/optimizers.py": {"_foreach_mul_"},
    "data/sources/huggingface.py": {"_fingerprint"},
    "data/sources/torchvision_adapter.py": {"_images", "_image_files", "_labels"},
    "data/sources/torchvision_arrays.py": {"_samples"},
    "engine/ema.py": {"_foreach_lerp_"},
    "engine/frozen_features.py": {"_version"},
    "models/description/field_rules.py": {
        *("_adaptive_avg_pool2d", "_safe_softmax", "_unsafe_view", "_to_copy"),
    },
    "models/description/field_tracking.py": {"_schema", "_base"},
    "models/description/receptive_field.py": {"_schema"},
    "multirun/sweep/storage.py": {"_trial_id"},
    "registry.py": {"_getframe"},
    "runtime/torch_shortcuts.py": {
        *("_execution_engine", "_optimizer_step_pre_hooks", "_optimizer_step_post_hooks"),
    },
}


def _private_of_others(tree: ast.AST) -> set[str]:
    """The `_names` that are asked of something else than the file's own classes."""
    attributes = [node for node in ast.walk(tree) if isinstance(node, ast.Attribute)]
    of_self = {a.attr for a in attributes if getattr(a.value, "id", "") in ("self", "cls")}
    own = of_self | {
        getattr(node, "name", getattr(getattr(node, "target", None), "id", ""))
        for node in ast.walk(tree)
        if isinstance(node, ast.FunctionDef | ast.ClassDef | ast.AnnAssign)
    }
    return {
        a.attr
        for a in attributes
        if a.attr.startswith("_")
        and not a.attr.startswith("__")
        and getattr(a.value, "id", "") not in ("self", "cls")
        and a.attr not in own
    }


def test_nobody_touches_what_another_keeps_for_itself() -> None:
    assert _private_of_others(ast.parse("trainer.stepper._update()")) == {"_update"}
    assert _private_of_others(ast.parse("self._update(); x.__name__; x.update")) == set()
    found = {
        file.relative_to(PACKAGE).as_posix(): names
        for file in FILES
        if (names := _private_of_others(ast.parse(file.read_text())))
    }
    for file, names in found.items():
        assert names <= FOREIGN.get(file, set()), f"{file}: give the other a public door"


def test_files_are_short() -> None:
    assert {f.name: n for f in FILES if (n := len(f.read_text().splitlines())) > 340} == {}
