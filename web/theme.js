// Light or dark as chosen before, set ahead of the first paint. No module: those run too late for that.
try {
  const chosen = localStorage.getItem("vardr.theme");
  if (chosen === "light" || chosen === "dark") document.documentElement.dataset.theme = chosen;
} catch {
  // Where nothing may be stored, the system's choice holds.
}
