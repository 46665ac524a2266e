"""VS Code, simulated: a page with the widget manager of Jupyter, whose kernel lives.

What the real one also does: a widget's messages go to the kernel and back, which k3d needs, because
its script comes from there; and of the widgets' scripts, the page has those that are installed
beside Jupyter.
"""

import base64
import json
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from queue import Empty
from typing import TYPE_CHECKING

import lab
from jupyter_client.manager import start_new_kernel

if TYPE_CHECKING:
    from jupyter_client.blocking.client import BlockingKernelClient
    from playwright.sync_api import Page

VIEW = "application/vnd.jupyter.widget-view+json"
SHOW = """async ({ made, shown }) => {
    const load = name => new Promise(done => requirejs([name], done));
    const { HTMLManager } = await load('@jupyter-widgets/html-manager');
    const { requireLoader } = await load('@jupyter-widgets/html-manager/dist/libembed-amd');
    const { put_buffers } = await load('@jupyter-widgets/base');
    const bytes = text => Uint8Array.from(atob(text), letter => letter.charCodeAt(0));
    const view = text => new DataView(bytes(text).buffer);
    const base64 = buffer => btoa(String.fromCharCode(...new Uint8Array(buffer.buffer ?? buffer)));
    const heard = {};
    const comm = comm_id => ({
        comm_id,
        send(data, callbacks, metadata, buffers) {
            window.toKernel(comm_id, data, (buffers ?? []).map(base64));
            return comm_id; },
        on_msg(listener) { heard[comm_id] = listener; },
        on_close() {},
        close() {} });
    window.fromKernel = (comm_id, data, buffers) =>
        heard[comm_id]?.({ content: { comm_id, data }, buffers: buffers.map(view) });
    const manager = new HTMLManager({ loader: requireLoader });
    await Promise.all(Object.entries(made).map(([model_id, { state, buffers, ...names }]) => {
        put_buffers(state, buffers.map(({ path }) => path), buffers.map(({ data }) => view(data)));
        return manager.new_model({ model_id, comm: comm(model_id), ...names }, state); }));
    for (const { model_id } of shown) {
        const seen = await manager.create_view(await manager.get_model(model_id));
        await manager.display_view(seen, document.body); } }"""


@contextmanager
def without_a_server() -> Iterator[None]:
    """A kernel that starts inside takes itself for one that no Jupyter server started."""
    kept = {n: os.environ.pop(n, None) for n in ("SSLTUT_FRONTEND", "JPY_SESSION_NAME")}
    try:
        yield
    finally:
        os.environ.update({n: value for n, value in kept.items() if value is not None})


@contextmanager
def kernel() -> Iterator["BlockingKernelClient"]:
    """A kernel that no Jupyter server started."""
    with without_a_server():
        manager, client = start_new_kernel(kernel_name="python3")
    try:
        yield client
    finally:
        client.stop_channels()
        manager.shutdown_kernel(now=True)


def texts(message: dict) -> list[str]:
    """What a message carries beside its JSON."""
    return [base64.b64encode(buffer).decode() for buffer in message["buffers"]]


def run(client: "BlockingKernelClient", code: str) -> list[dict]:
    """What the kernel sends while it runs ``code``."""
    messages: list[dict] = []
    reply = client.execute_interactive(
        code, output_hook=messages.append, timeout=lab.PATIENCE_S, allow_stdin=False
    )
    assert reply["content"]["status"] == "ok", reply["content"]
    return messages


def widgets(messages: list[dict]) -> dict[str, dict]:
    """The widgets that were made: {id: names of the model, state, what lies beside its JSON}."""
    made: dict[str, dict] = {}
    for message in messages:
        content = message["content"]
        data = content.get("data", {})
        if message["msg_type"] not in ("comm_open", "comm_msg") or "state" not in data:
            continue
        widget = made.setdefault(content["comm_id"], {"state": {}, "buffers": []})
        widget["state"] |= data["state"]
        for path, text in zip(data.get("buffer_paths", []), texts(message), strict=True):
            widget["buffers"].append({"path": path, "data": text})
    for widget in made.values():
        for part in ("model_name", "model_module", "model_module_version"):
            widget[part] = widget["state"][f"_{part}"]
    return made


def scripts(manager: Path) -> str:
    """The head of a page: ``manager`` (require.js, embed-amd.js), and what is beside Jupyter."""
    beside = Path(sys.prefix) / "share" / "jupyter" / "nbextensions"
    paths = {
        folder.name: f"{folder.as_uri()}/index"
        for folder in beside.iterdir()
        if (folder / "index.js").is_file()
    }
    return (
        f'<script src="{(manager / "require.js").as_uri()}"></script>'
        f"<script>requirejs.config({{paths: {json.dumps(paths)}}})</script>"
        f'<script src="{(manager / "embed-amd.js").as_uri()}"></script>'
    )


class Wire:
    """Between the widgets of a page and their kernel; ``carry`` takes along what has come."""

    def __init__(self, page: "Page", client: "BlockingKernelClient") -> None:
        self.page, self.client = page, client
        self.waiting: list[tuple[str, dict, list[str]]] = []
        page.expose_function("toKernel", lambda *message: self.waiting.append(message))

    def carry(self) -> None:
        while self.waiting:
            comm_id, data, buffers = self.waiting.pop(0)
            content = {"comm_id": comm_id, "data": data}
            message = self.client.session.msg("comm_msg", content)
            message["buffers"] = [base64.b64decode(text) for text in buffers]
            self.client.shell_channel.send(message)
        while True:
            try:
                message = self.client.get_iopub_msg(timeout=0.1)
            except Empty:
                return
            if message["msg_type"] == "comm_msg":
                content = message["content"]
                given = [content["comm_id"], content["data"], texts(message)]
                self.page.evaluate("given => window.fromKernel(...given)", given)
