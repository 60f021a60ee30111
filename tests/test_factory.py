"""Tests of visionllm_edu/factory.py.

Generated from nbs/90_factory.ipynb by make export: do not edit, edit the notebook.
"""

import io
import json
import shutil
import tempfile
from pathlib import Path

from visionllm_edu.factory import (
    Project, Run, _files, body, check_clean, check_links, clean, directives, export_all,
    headline_scores, in_pairs, indent, keep_costs, lesson_table, main, make_readme, module_of,
    read_notebook, remove_stale, render_tests, run_notebook, stamp, write_notebook,
    write_tests, write_text,
)


# nbs/90_factory.ipynb, cell f1d183e2
import atexit
import contextlib
import copy

import pytest

SETTINGS = """[DEFAULT]
lib_name = toylib
lib_path = toylib
nbs_path = nbs
git_url = https://github.com/someone/toy
branch = main
user = someone
author = someone
repo = toy
description = toy
version = 0.0.1
update_pyproject = False
"""
LESSON = ["#| default_exp boxes",
          "# Boxes\n\n> Areas of boxes.\n\n<!-- badges -->",
          "#| colab\n#| hide",
          "- **It costs:** not measured yet",
          "#| export\ndef area(w, h):\n    return w * h",
          "area(2, 3)",
          "#| test area_of_a_square\nassert area(3, 3) == 9"]


def toy_notebook(*sources):
    "A notebook of these cells; a source that begins like code is a code cell."
    from nbformat import v4
    code = ("#|", "area", "assert", "import", "x")
    new = lambda source: v4.new_code_cell if source.startswith(code) else v4.new_markdown_cell
    cells = [new(source)(source, id=f"cell{n}") for n, source in enumerate(sources)]
    return clean(v4.new_notebook(cells=cells))


def toy_project(*sources):
    "A project of one lesson in a folder that goes away at the end."
    root = Path(tempfile.mkdtemp(prefix="toy"))
    atexit.register(shutil.rmtree, root, ignore_errors=True)
    (root / "settings.ini").write_text(SETTINGS, encoding="utf-8")
    (root / "nbs").mkdir()
    write_notebook(toy_notebook(*(sources or LESSON)), root / "nbs" / "00_boxes.ipynb")
    return Project.find(root)


# nbs/90_factory.ipynb, cell 939113c9
def test_project_is_found_from_any_folder_inside():
    inner = Project.find(Path(tempfile.mkdtemp(dir=toy_project().root)))
    assert inner.lib == inner.root / "toylib"
    assert [path.name for path in inner.notebooks] == ["00_boxes.ipynb"]
    with pytest.raises(ValueError, match="settings.ini"):
        Project.find("/")


# nbs/90_factory.ipynb, cell f249c3e1
def test_writing_what_was_read_changes_nothing():
    path = toy_project().notebooks[0]
    before = path.read_bytes()
    assert not write_notebook(read_notebook(path), path)
    assert path.read_bytes() == before


# nbs/90_factory.ipynb, cell 0042b745
def stained():
    "A toy notebook with every stain that a run can leave."
    from nbformat import v4
    notebook = toy_notebook(*LESSON)
    notebook.metadata["widgets"] = {"state": {}}
    ran = notebook.cells[5]
    ran.execution_count = 7
    ran.outputs = [v4.new_output("stream", name="stderr", text="a warning"),
                   v4.new_output("stream", name="stdout", text="saved in /home/ada/out\n"),
                   v4.new_output("error", ename="ZeroDivisionError", evalue="division by zero")]
    notebook.cells[6].id = ran.id
    return notebook


# nbs/90_factory.ipynb, cell 7aa4cab8
def test_clean_is_idempotent():
    once = clean(stained())
    assert [c.get("execution_count") for c in once.cells].count(None) == len(once.cells)
    assert len({c.id for c in once.cells}) == len(once.cells) and "widgets" not in once.metadata
    assert clean(copy.deepcopy(once)) == once
    path = toy_project().notebooks[0]
    assert check_clean(path) == []
    write_notebook(stained(), path)
    assert len(check_clean(path)) == 7


# nbs/90_factory.ipynb, cell be4511c0
def test_directives_end_where_code_begins():
    assert directives("x = 1\n#| export") == {}
    assert directives("\n#|export\n# | slow\nx") == {"export": "", "slow": ""}
    assert body("#| hide\n%matplotlib inline\nx = a\nx != 2") == "x = a\nx != 2"
    assert module_of(read_notebook(toy_project().notebooks[0])) == "boxes"


# nbs/90_factory.ipynb, cell 77ff18ad
def test_indent_keeps_strings():
    plain = 't = """a\nb"""\nassert len(t) == 3'
    formatted = "t = f'''{1}\n{2}'''\nassert t == '1\\n2'"
    for code in (plain, formatted, "x = (1,\n     2)\nassert x"):
        scope = {}
        exec("def run():\n" + indent(code), scope)
        scope["run"]()
    assert indent("if True:\n    x = 1") == "    if True:\n        x = 1"


# nbs/90_factory.ipynb, cell 221a8637
def test_generated_test_passes_and_fails_with_the_code():
    text = render_tests(toy_notebook(*LESSON), "nbs/00_boxes.ipynb", "toylib")
    code = text.replace("from toylib.boxes import area", "area = lambda w, h: w * h")
    scope = {}
    exec(code, scope)
    scope["test_area_of_a_square"]()  # passes
    exec(code.replace("w * h", "w + h"), scope)  # break the part once by hand
    with pytest.raises(AssertionError):
        scope["test_area_of_a_square"]()


# nbs/90_factory.ipynb, cell 83a513c8
def test_tests_that_cannot_stand_alone_are_refused():
    exported = "#| default_exp boxes\n#| export\ndef area(w, h): return w * h\ndef _half(x): return x / 2"
    render = lambda *sources: render_tests(toy_notebook(exported, *sources), "nbs/x.ipynb", "toylib")
    for source, complaint in {"#| test late\nassert area(*size)": "uses size",
                              "#| test no name\nassert area(1, 1)": "needs a name"}.items():
        with pytest.raises(ValueError, match=complaint):
            render("x = size = (1, 2)", source)
    with pytest.raises(ValueError, match="name of its own"):
        render(*["#| test same\nassert area(1, 1)"] * 2)
    text = render("#| test_setup\nimport math", "#| test half\nassert _half(math.pi)")
    assert "import math\n" in text and "from toylib.boxes import _half\n" in text and "area" not in text


# nbs/90_factory.ipynb, cell 3a520f9d
def test_test_file_follows_its_notebook():
    project = toy_project()
    file = write_tests(project.notebooks[0], project.tests)
    assert file.name == "test_boxes.py" and "def test_area_of_a_square" in file.read_text()
    project.notebooks[0].rename(project.nbs / "05_boxes.ipynb")
    assert write_tests(project.notebooks[0], project.tests) == file and remove_stale(project) == []
    project.notebooks[0].unlink()
    assert remove_stale(project) == [file] and not file.exists()


# nbs/90_factory.ipynb, cell a889df90
def test_stamp_is_idempotent_and_complete():
    project = toy_project()
    path = project.relative(project.notebooks[0])
    once = stamp(read_notebook(project.notebooks[0]), path, project)
    text = "\n".join(c.source for c in once.cells)
    assert "colab.research.google.com/github/someone/toy/blob/main/nbs/00_boxes.ipynb" in text
    assert "blob/main/toylib/boxes.py" in text and "not measured yet on" in text and "find_spec" in text
    assert stamp(copy.deepcopy(once), path, project) == once
    write_text(project.nbs / "costs.json", '{"00_boxes": 3}')
    assert "about 3 s on one CPU core; no GPU" in stamp(once, path, project).cells[3].source
    assert "[Boxes](00_boxes.ipynb \"Areas of boxes.\") 3 s" in lesson_table(project)
    (project.nbs / "00ab_boxes.ipynb").write_bytes((project.nbs / "00_boxes.ipynb").read_bytes())
    with pytest.raises(ValueError, match="00ab_boxes.ipynb has no lesson's name"): lesson_table(project)


# nbs/90_factory.ipynb, cell e49fe179
def test_scores_stand_side_by_side():
    project = toy_project()
    assert headline_scores(project) == ""
    for name, scores in {"a": {"detect": {"AP": 0.5, "AP50": 0.75, "n": 7}, "answer": {"accuracy": 0.8, "blind": 0.25, "n": 9}},
                         "b": {"answer": {"accuracy": 0.9, "blind": {"accuracy": 0.5, "n": 9}, "n": 9}, "other": {"n": 1}}}.items():
        (project.root / "data/weights" / name / "scores").mkdir(parents=True)
        write_text(project.root / "data/weights" / name / "scores/test.json", json.dumps(scores))
    assert headline_scores(project).splitlines() == [
        "|  | a | b |", "| --- | --- | --- |", "| boxes | AP 0.50, AP50 0.75 (n 7) |  |",
        "| questions | accuracy 0.80, blind 0.25 (n 9) | accuracy 0.90, blind 0.50 (n 9) |"]


# nbs/90_factory.ipynb, cell c70f3f6c
def test_readme_comes_from_the_index():
    project = toy_project()
    index = toy_notebook("# Toy\n\n[boxes](00_boxes.ipynb)\n\n<!-- lessons -->\n<!-- /lessons -->",
                         "#| hide\nx = 'secret'", "#| test snippet\nassert 1 + 1 == 2")
    write_notebook(stamp(index, "nbs/index.ipynb", project), project.nbs / "index.ipynb")
    make_readme(project)
    readme = (project.root / "README.md").read_text()
    assert "[boxes](nbs/00_boxes.ipynb)" in readme and "**Toybox" in readme
    assert "secret" not in readme and "```python\nassert 1 + 1 == 2\n```" in readme


# nbs/90_factory.ipynb, cell bce9f050
def test_broken_links_are_named():
    project = toy_project()
    page = project.root / "README.md"
    home = project.settings["git_url"]
    good = ["nbs/00_boxes.ipynb", "#a-heading", f"{home}/blob/main/nbs/00_boxes.ipynb", "https://a.org/x"]
    bad = ["nbs/gone.ipynb", "#nowhere", f"{home}/blob/main/gone.py"]
    links = "\n".join(f"[text]({link})" for link in good + bad)
    page.write_text(f"# A heading\n{links}\n`[in code](not/a/link)`")
    assert [line.split()[1] for line in check_links(page)] == bad


# nbs/90_factory.ipynb, cell f9afda14
def test_lesson_runs_and_a_broken_one_says_where():
    good = toy_project("#| default_exp boxes", "x = 2", "#| slow\nx = 1 / 0", "assert x == 2")
    before = good.notebooks[0].read_bytes()
    run = run_notebook(good.notebooks[0])
    assert not run.error and run.seconds < 60 and good.notebooks[0].read_bytes() == before
    bad = toy_project("#| default_exp boxes", "import os\nassert os.environ['IN_TEST']", "x = 1 / 0")
    assert "ZeroDivisionError" in run_notebook(bad.notebooks[0]).error


# nbs/90_factory.ipynb, cell dbac3958
def test_costs_are_steady():
    project = toy_project()
    assert keep_costs(project, {"00_boxes": 10.2, "99_gone": 3}) == {"00_boxes": 10}
    assert keep_costs(project, {"00_boxes": 11.9}) == {"00_boxes": 10}
    assert keep_costs(project, {"00_boxes": 13.1}) == {"00_boxes": 13}
    tasks = {"a": lambda: Run(0), "b": lambda: Run(0)}
    assert [name for name, _ in in_pairs(tasks, jobs=1)] == ["a", "b"]


# nbs/90_factory.ipynb, cell 48f9db3f
def test_export_has_a_fixed_point():
    project = toy_project()
    export_all(project)
    once = _files(project)
    assert {"toylib/boxes.py", "tests/test_boxes.py", "toylib/__init__.py"} <= set(once)
    export_all(project)
    assert _files(project) == once
    write_notebook(toy_notebook("#| default_exp cubes", *LESSON[1:]), project.notebooks[0])
    export_all(project)  # the module has a new name: nothing of the old one is left
    assert "cubes" in str(_files(project)) and "boxes.py" not in str(_files(project))
    shutil.copy(project.notebooks[0], project.nbs / "01_again.ipynb")
    with pytest.raises(ValueError, match="00_boxes.ipynb and 01_again.ipynb"):
        export_all(project)


# nbs/90_factory.ipynb, cell 084451f7
def test_command_line_refuses_what_it_does_not_know():
    for argv in (["polish"], ["notebooks", "12_no_such_lesson"]):
        with pytest.raises(SystemExit) as stop, contextlib.redirect_stderr(io.StringIO()) as said:
            main(argv)
        assert stop.value.code == 2 and argv[-1] in said.getvalue()
