// Values on their way in and out of the browser: the clipboard, files, curl.

import { address } from "../core/api.js";
import { fileOf } from "../core/name.js";
import { t } from "../core/text.js";
import { notify } from "./notice.js";

// A text as one word of a shell.
const quoted = (text) => `'${text.replaceAll("'", `'\\''`)}'`;

// Copies the command that reads the key.
export const copyCurl = (name, literal) => copy(`curl ${quoted(location.origin + address("/v1/keys", name, { raw: true }, { literal }))}`);

async function copy(text) {
  try {
    await navigator.clipboard.writeText(text);
    notify(t("copy.done"));
  } catch {
    // Without TLS, or without leave, the clipboard is closed: the text can be taken by hand.
    const { DONE, openDialog } = await import("./dialog.js");
    const { el } = await import("../core/dom.js");
    const area = el("textarea", { readonly: true, rows: 4, value: text, "aria-label": t("copy.title") });
    await openDialog({ title: t("copy.title"), content: [area], actions: [DONE], onOpen: () => area.select() });
  }
}

// Gives the value to the browser as a file that is called like the key.
export function download(name, { bytes }) {
  save(fileOf(name) || "value", bytes);
}

// Gives bytes to the browser as a file.
export function save(file, bytes) {
  const link = document.createElement("a");
  // Whatever type it claims: the browser saves it and opens nothing.
  link.href = URL.createObjectURL(new Blob([bytes], { type: "application/octet-stream" }));
  link.download = file;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 10_000);
}

// Lets a person choose a file, or a folder: gives what is in it as `{ path, file }`, or undefined when they do not.
export const choose = (isFolder) =>
  new Promise((resolve) => {
    const input = document.createElement("input");
    Object.assign(input, { type: "file", webkitdirectory: isFolder });
    // Chromium writes a backslash as a slash in the path, and keeps it in the name.
    const inFolder = (file) => ({ path: file.webkitRelativePath.slice(0, -file.name.length).replace(/^[^/]*\//, "") + file.name, file });
    input.addEventListener("change", () => resolve([...input.files].map((file) => (isFolder ? inFolder(file) : { file, isAlone: true }))));
    input.addEventListener("cancel", () => resolve(undefined));
    input.click();
  });

// Lets a person choose a file; gives its bytes.
export async function upload(take) {
  const [chosen] = (await choose(false)) ?? [];
  if (chosen) take(new Uint8Array(await chosen.file.arrayBuffer()));
}
