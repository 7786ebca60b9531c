"""The floors of the design, read off the source: who imports whom, and what a file must have."""

import ast
import pathlib
import re
import sys
import tomllib

REPOSITORY = pathlib.Path(__file__).resolve().parent.parent
PACKAGE = "ai_econ_jax"
# From the ground up; a floor imports only from itself and those before it.
FLOORS = (CORE, ENVS, AGENTS, LAUNCH) = ("core", "envs", "agents", "launch")
SYSTEMS = {"ai_economist", "stepmix", "epsmix", "oppo", "dapo", "ocsampler"}  # "find" is a word
# Parts of a floor that the rest of it may use. Everything else there is a neighbour.
SHARED = {ENVS: {"economy"}, AGENTS: set(), LAUNCH: set()}
COMMAND_TABLE = f"{PACKAGE}/cli.py"  # the one file of the core that may name a system
MAY_PRINT = {COMMAND_TABLE, f"{PACKAGE}/progress.py"}  # errors, and progress without a bar
MOST_LINES, MOST_LINES_OF_A_LAUNCHER = 450, 100
# Imported under another name than the one they are installed by.
DISTRIBUTION = {
    "absl": "absl-py",
    "orbax": "orbax-checkpoint",
    "PIL": "pillow",
    "sklearn": "scikit-learn",
}


def _files():
    core = sorted((REPOSITORY / PACKAGE).glob("*.py"))
    rest = [path for floor in FLOORS[1:] for path in sorted((REPOSITORY / floor).rglob("*.py"))]
    return {path.relative_to(REPOSITORY).as_posix(): path.read_text() for path in core + rest}


TEXTS = _files()
TREES = {name: ast.parse(text, name) for name, text in TEXTS.items()}


def _place(parts):
    """Floor and neighbourhood of a file or a module, given as its path below the package.

    ``agents/ai_economist/report.py`` is ("agents", "ai_economist"), ``envs/__init__.py`` is
    ("envs", None), and what is on none of the three upper floors is the core.
    """
    if not parts or parts[0] not in FLOORS[1:]:
        return CORE, None
    return parts[0], parts[1] if len(parts) > 1 else None


def _place_of(name):
    parts = [part for part in name.removesuffix(".py").split("/") if part != "__init__"]
    return _place(parts[1:] if parts[0] == PACKAGE else parts)


def _imports(name):
    """Every module that a file imports, wherever in it, and every name it takes from one."""
    for node in ast.walk(TREES[name]):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{name}:{node.lineno}: relative import"
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def _imported_places(name):
    for module in _imports(name):
        package, *parts = module.split(".")
        if package == PACKAGE:
            yield module, *_place(parts)


def test_there_is_something_to_check():
    assert {_place_of(name)[0] for name in TEXTS} == set(FLOORS)


def test_a_floor_imports_only_from_the_floors_below():
    assert not [
        (name, module)
        for name in TEXTS
        for module, floor, _ in _imported_places(name)
        if FLOORS.index(floor) > FLOORS.index(_place_of(name)[0])
    ]


def test_nothing_imports_sideways():
    sideways = []
    for name in TEXTS:
        own_floor, own = _place_of(name)
        for module, floor, neighbour in _imported_places(name):
            if floor == own_floor != CORE and neighbour not in {own, None} | SHARED[floor]:
                sideways.append((name, module))
    assert not sideways


def test_floors_are_never_imported_by_the_bare_name_of_their_folder():
    assert not [
        (name, module)
        for name in TEXTS
        for module in _imports(name)
        if module.split(".")[0] in FLOORS
    ]


def test_a_launcher_uses_one_system_and_is_short():
    for name in TEXTS:
        if name.startswith(f"{LAUNCH}/"):
            used = {system for _, floor, system in _imported_places(name) if floor == AGENTS}
            assert len(used - {None}) <= 1, name
            assert TEXTS[name].count("\n") <= MOST_LINES_OF_A_LAUNCHER, name


def test_the_core_names_no_system():
    named = []
    for name in TEXTS:
        if _place_of(name)[0] != CORE or name == COMMAND_TABLE:
            continue
        for node in ast.walk(TREES[name]):
            # Identifiers, and whole strings; a docstring may cite a paper.
            words = [getattr(node, field, None) for field in ("id", "attr", "name", "arg", "value")]
            named += [(name, w) for w in words if isinstance(w, str) and w.lower() in SYSTEMS]
    assert not named


def test_every_module_says_what_it_is():
    assert not [name for name in TEXTS if not ast.get_docstring(TREES[name])]


def test_the_core_and_the_environments_do_not_print():
    assert not [
        f"{name}:{node.lineno}"
        for name in TEXTS
        if _place_of(name)[0] in (CORE, ENVS) and name not in MAY_PRINT
        for node in ast.walk(TREES[name])
        if isinstance(node, ast.Call) and getattr(node.func, "id", None) == "print"
    ]


def test_no_file_is_too_long():
    lines = {name: text.count("\n") for name, text in TEXTS.items()}
    assert not {name: count for name, count in lines.items() if count > MOST_LINES}


def test_what_is_imported_is_what_is_required():
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]

    def plain(distribution):
        return distribution.lower().replace("_", "-")

    def names(requirements):
        return {plain(re.match(r"[\w.-]+", requirement)[0]) for requirement in requirements}

    tops = {module.split(".")[0] for name in TEXTS for module in _imports(name)}
    tops -= {PACKAGE, *sys.stdlib_module_names}
    imported = {plain(DISTRIBUTION.get(top, top)) for top in tops}
    extras = project["optional-dependencies"]
    optional = set().union(
        *(names(extras[extra]) for extra in ("bench", "diffusion", "gym", "pettingzoo", "terrain"))
    )
    assert imported - optional == names(project["dependencies"])
