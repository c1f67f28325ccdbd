"""Rules of the code base that a reader relies on."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest

from cnnrun.registry import KINDS, Registry
from tests import house
from tests.conftest import REPOSITORY
from tests.house import PACKAGE

FILES = house.files()

# Kinds of components, which know nothing of one another: each can be read and replaced by itself.
KINDS_OF_COMPONENTS = (
    *("data.sources", "data.augmentations", "models", "runs.loggers"),
    *(f"components.{kind}" for kind in ("initializers", "losses", "optimizers", "schedules")),
    "components.tasks",
)
# A locally connected layer has weights of its own shape, which an initializer must tell apart.
MAY_KNOW = ("cnnrun.components.initializers", "cnnrun.models.locally_connected")


def _kind(module: str) -> str | None:
    return next((k for k in KINDS_OF_COMPONENTS if f"{module}.".startswith(f"cnnrun.{k}.")), None)


def test_every_file_is_in_a_room_with_a_floor() -> None:
    rooms = {house.room_of(house.module_of(file)) for file in FILES}
    planned = [room for floor in house.FLOORS for room in floor]
    assert len(FILES) > 200
    assert sorted(planned) == sorted(rooms)  # each once, and none that is empty
    with pytest.raises(LookupError, match="no floor has a room 'attic'"):
        house.floor_of("cnnrun.attic.box")


def test_no_import_runs_up_or_across_a_floor() -> None:
    # So data and models never import each other, and nobody takes a name from `cnnrun/__init__`.
    assert house.arrows_up() == []


def test_no_files_import_one_another_in_a_circle() -> None:
    assert house.circles() == []


def test_components_of_one_kind_know_none_of_another() -> None:
    found = {
        (module, imported)
        for file in FILES
        for module in [house.module_of(file)]
        for imported in house.imports(file)
        if None not in (_kind(module), _kind(imported)) and _kind(module) != _kind(imported)
    }
    assert found == {MAY_KNOW}


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("from cnnrun.errors import UserError", {"cnnrun.errors"}),
        ("from cnnrun import registry", {"cnnrun.registry"}),
        ("from cnnrun import train", {"cnnrun"}),  # a name, no module
        ("import cnnrun.errors", {"cnnrun.errors"}),
        ("def late():\n    if late:\n        from cnnrun import plots", {"cnnrun.plots"}),
        (
            "if TYPE_CHECKING:\n    from cnnrun import plots\nelse:\n    import cnnrun.api",
            {"cnnrun.api"},
        ),
        ("import torch\nif TYPE_CHECKING:\n    import cnnrun.api", set()),
    ],
)
def test_the_imports_of_a_file_are_all_that_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str, found: set[str]
) -> None:
    house.imports(house.files()[0])  # the modules that there are, from the real package
    monkeypatch.setattr(house, "REPOSITORY", tmp_path)
    file = tmp_path / "cnnrun" / "plan.py"
    file.parent.mkdir()
    file.write_text(text)
    assert house.imports(file) == found


def test_arrows_up_and_circles_are_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "cnnrun").mkdir()
    imports = {"errors": "cnnrun.api", "api": "cnnrun.runner", "runner": "cnnrun.multirun"}
    for room, imported in (imports | {"multirun": "cnnrun.errors"}).items():
        (tmp_path / "cnnrun" / f"{room}.py").write_text(f"import {imported}\n")
    monkeypatch.setattr(house, "REPOSITORY", tmp_path)
    monkeypatch.setattr(house, "PACKAGE", tmp_path / "cnnrun")
    assert house.arrows_up() == [
        "cnnrun.errors imports cnnrun.api",
        "cnnrun.runner imports cnnrun.multirun",
    ]
    assert len(house.circles()) == 1


# What the command line and a quick look at finished runs load, each in a process of its own.
HEAVY = ("torch", "matplotlib", "numpy", "sklearn")
LIGHT = {
    "cnnrun": (*HEAVY, "yaml", "pydantic"),
    "cnnrun.cli": (*HEAVY, "yaml", "random", "rich.progress", "pydantic"),
    "cnnrun.comparison.text": HEAVY,
    "cnnrun.comparison.table": HEAVY,
    "cnnrun.config.document": (*HEAVY, "pydantic"),
    "cnnrun.config.identity": HEAVY,
    "cnnrun.runs.directory": (*HEAVY, "pydantic"),
    "cnnrun.runs.lock": (*HEAVY, "pydantic"),
}


@pytest.mark.parametrize("module", LIGHT)
def test_importing_it_loads_nothing_heavy(module: str) -> None:
    code = f"import sys, {module}; print([m for m in {LIGHT[module]} if m in sys.modules])"
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ended.stdout.strip() == "[]"


# What cli may import at its top: everything else waits until a command runs.
AT_ONCE = ("cli", "errors", "runtime", "version")


def test_commands_import_what_they_run_only_when_they_run() -> None:
    files = sorted((PACKAGE / "cli").glob("*.py"))
    assert len(files) > 10
    for file in files:
        tree = ast.parse(file.read_text())
        for node in tree.body:
            if isinstance(node, ast.ImportFrom) and str(node.module).startswith("cnnrun."):
                module = str(node.module)
                assert house.room_of(module) in AT_ONCE or module == "cnnrun.config.shipped"


COMPILER = ("torch._dynamo", "torch.fx.experimental.symbolic_shapes", "sympy")
OTHERS = ("torchvision", "sklearn", "torchmetrics", "scipy", "matplotlib.pyplot", *COMPILER)


TRAIN = """\
import sys
from pathlib import Path
from cnnrun import runner
from cnnrun.config.experiment import load
file, output, needless = Path(sys.argv[1]), sys.argv[2], set(sys.argv[3:])
for draw, known in (("false", {"matplotlib"}), ("true", set())):
    runner.train(load(file, [f"output={output}", f"training.draw={draw}"]), quiet=True)
    print(sorted((needless | known) & set(sys.modules)))
"""


@pytest.mark.slow
def test_training_own_data_never_imports_what_it_does_not_need(tiny: Path, tmp_path: Path) -> None:
    """Without plots, and then with them."""
    command = [sys.executable, "-c", TRAIN, str(tiny), str(tmp_path), *OTHERS]
    ended = subprocess.run(command, capture_output=True, text=True, check=True)
    assert ended.stdout.split("\n")[:2] == ["[]", "[]"]


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
    "plots/style.py": {"_repr_png_"},  # IPython's protocol
    "cli/__init__.py": {"_exit"},
    "comparison/text.py": {"_asdict"},  # public, of a named tuple
    "components/optimizers/usual.py": {"_foreach_mul_"},
    "data/sources/huggingface.py": {"_fingerprint"},
    "data/sources/torchvision_adapter.py": {"_images", "_image_files", "_labels"},
    "data/sources/torchvision_arrays.py": {"_samples"},
    "data/decoding_workers.py": {"_shutdown_workers"},
    "data/images/framing.py": {"_C", "_nn", "_upsample_bilinear2d_aa"},
    "engine/ema.py": {"_foreach_lerp_"},
    "engine/frozen_features.py": {"_version"},
    "models/description/field_rules.py": {
        *("_adaptive_avg_pool2d", "_safe_softmax", "_unsafe_view", "_to_copy"),
    },
    "models/description/field_tracking.py": {"_schema", "_base"},
    "models/description/receptive_field.py": {"_schema"},
    "multirun/sweep/storage.py": {"_trial_id"},
    "registry/kind.py": {"_getframe"},
    "registry/library.py": {"_getframe"},
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


PAGES_OF_PLACES = ("ARCHITECTURE.md", "CONTRIBUTING.md")
# In backticks: a path from the repository's root, or the name of a file.
_PATH = re.compile(r"`((?:[\w.-]+/)+[\w.*-]*|[\w-]+\.(?:py|md|yml|toml))`")


def _missing(line: str) -> list[str]:
    """The paths in a line that lead nowhere; a file may be named within a folder of that line."""
    named = _PATH.findall(line)
    folders = ["", *(name for name in named if name.endswith("/"))]
    return [n for n in named if not any(list(REPOSITORY.glob(folder + n)) for folder in folders)]


@pytest.mark.parametrize("page", PAGES_OF_PLACES)
def test_every_path_that_a_page_names_is_there(page: str) -> None:
    text = (REPOSITORY / page).read_text()
    assert len(set(_PATH.findall(text))) > 15
    assert [path for line in text.splitlines() for path in _missing(line)] == []
    assert _missing("`cnnrun/attic/`, `README.md`, `box.py`") == ["cnnrun/attic/", "box.py"]


def test_the_floors_of_the_page_are_those_that_are_measured() -> None:
    block = (REPOSITORY / "ARCHITECTURE.md").read_text().split("```")[1]
    floors = [set(line[:27].strip().split(" | ")) for line in block.strip().splitlines()]
    assert floors == [set(floor) for floor in reversed(house.FLOORS)]


def test_files_and_functions_are_short() -> None:
    assert [found for found in house.longest_files() if found[0] > 330] == []
    assert [found for found in house.longest_functions() if found[0] > 60] == []
