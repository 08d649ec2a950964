// A classic script in the head: the chosen colours must stand before the first paint.
(() => {
  const root = document.documentElement;
  let kept = null;
  try {
    kept = localStorage.getItem("openline-theme");
  } catch {
    // No storage here: the system's colours it is.
  }
  if (kept === "dark" || kept === "light") root.dataset.theme = kept;
})();
