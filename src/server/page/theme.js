// Runs before the page is drawn, so that it never flashes in the wrong colours.  main.js changes the theme later.
try {
  document.documentElement.dataset.theme = JSON.parse(localStorage.getItem("kl-theme")) ?? "auto";
} catch {
  document.documentElement.dataset.theme = "auto";
}
