"""Tests of visionllm_edu/browser.py.

Generated from nbs/93_browser.ipynb by make export: do not edit, edit the notebook.
"""

import base64
import json
import sys
import tempfile
from pathlib import Path

from visionllm_edu.browser import (
    FORMS, Page, find_chromium, main, program, wait_for, write_notebook,
)


# nbs/93_browser.ipynb, cell 06352bcd
import pytest
from io import StringIO
from contextlib import redirect_stdout

class Wire:
    "Stands for a browser: an event first, then the reply that was prepared."
    def __init__(self, *replies): self.replies, self.heard, self.queue = list(replies), [], []
    def send(self, text):
        self.heard.append(json.loads(text))
        self.queue = [{"method": "Some.event"}, {"id": self.heard[-1]["id"], **self.replies.pop(0)}]
    def recv(self): return json.dumps(self.queue.pop(0))


# nbs/93_browser.ipynb, cell 5fe1b1d3
def test_page_speaks_the_protocol():
    value = lambda x: {"result": {"result": {"value": x}}}
    page = Page(Wire(value(7), value(False), value("there"), {"error": {"message": "no such thing"}}))
    assert page.run("3 + 4") == 7 and page.wait("sometimes") == "there"
    with pytest.raises(RuntimeError, match="Bad.method: no such thing"): page.call("Bad.method")
    assert [one["id"] for one in page.connection.heard] == [1, 2, 3, 4]
    with pytest.raises(RuntimeError, match="in vain for a sign"): page.wait("never", 0, "a sign")


# nbs/93_browser.ipynb, cell 3f1a9d21
def test_page_clicks_and_looks():
    page = Page(Wire(*[{"result": {}}] * 3, {"result": {"data": base64.b64encode(b"png").decode()}}))
    page.click(5, 6)
    assert [one["params"]["type"] for one in page.connection.heard] == ["mouseMoved", "mousePressed", "mouseReleased"]
    assert {(one["params"]["x"], one["params"]["y"]) for one in page.connection.heard} == {(5, 6)}
    with tempfile.TemporaryDirectory() as folder:
        page.screenshot(Path(folder, "new", "shot.png"))
        assert Path(folder, "new", "shot.png").read_bytes() == b"png"


# nbs/93_browser.ipynb, cell 7cf18c8d
def test_page_drags_and_writes():
    page = Page(Wire(*[{"result": {}}] * 6))
    page.drag((1, 2), (3, 4), (5, 6))
    page.write("hello")
    *moves, last = [one["params"] for one in page.connection.heard]
    assert [(m["type"], m["x"], m["buttons"]) for m in moves] == [
        ("mouseMoved", 1, 0), ("mousePressed", 1, 1), ("mouseMoved", 3, 1), ("mouseMoved", 5, 1), ("mouseReleased", 5, 0)]
    assert last == {"text": "hello"}


# nbs/93_browser.ipynb, cell ae312013
def test_program_runs_and_ends():
    with tempfile.TemporaryDirectory() as folder:
        log, sleep = Path(folder, "log"), "import time; print('up', flush=True); time.sleep(60)"
        with program([sys.executable, "-c", sleep], log) as process:
            assert wait_for(lambda: log.read_text(), process, "the sleeper") == "up\n"
        assert process.poll() is not None
        with program([sys.executable, "-c", "1 / 0"], log) as process:
            with pytest.raises(RuntimeError, match="the divider did not start"): wait_for(lambda: False, process, "the divider")
        assert "ZeroDivisionError" in log.read_text()


# nbs/93_browser.ipynb, cell 60fc3ba6
def test_notebook_is_a_notebook():
    import nbformat

    with tempfile.TemporaryDirectory() as folder:
        for version, (model, module, form) in FORMS.items():
            write_notebook(Path(folder, "one.ipynb"), version, weights="nothing-of-that-name")
            notebook = nbformat.read(Path(folder, "one.ipynb"), 4)
            nbformat.validate(notebook)
            first, second = (cell.source for cell in notebook.cells)
            assert f'{model}.build("tiny")' in first and f".{module} import" in first and second.startswith(f"{form}(model")
        write_notebook(Path(folder, "one.ipynb"), weights=folder)
        assert f"from_pretrained({folder!r})" in Path(folder, "one.ipynb").read_text()


# nbs/93_browser.ipynb, cell e46dd234
def test_no_browser_no_test():
    monkey, told = pytest.MonkeyPatch(), StringIO()
    with monkey.context() as m, redirect_stdout(told):
        m.setenv("PATH", "")
        assert find_chromium() is None and main(["--out", "nowhere"]) == 0
    assert told.getvalue().startswith("skipped: there is no Chromium") and not Path("nowhere").exists()
