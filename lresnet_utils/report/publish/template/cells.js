// Sorts and filters the table of cells. Where this cannot run, the plain table stays.
"use strict";
for (const box of document.querySelectorAll(".lr-cells")) {
  const words = JSON.parse(box.dataset.words), body = box.querySelector("tbody");
  const heads = [...box.querySelectorAll("thead th")], rows = [...body.rows];
  // A cell counts by its first element (a link, a verdict) where it has more to say than that.
  const text = (row, i) => (row.cells[i].querySelector("a, .lr-status") || row.cells[i]).textContent.trim();
  const number = (row, i) => parseFloat(text(row, i).replace("\u2212", "-").replace(/(\d)\u00a0(?=\d{3})/g, "$1"));
  const said = document.createElement("output");

  const choices = words.filters.map(i => {
    const select = document.createElement("select");
    select.add(new Option(words.all, ""));
    for (const value of new Set(rows.map(row => text(row, i)))) select.add(new Option(value));
    select.addEventListener("change", filter);
    return {i, select};
  });
  function filter() {
    for (const row of rows) row.hidden = choices.some(({i, select}) => select.value && select.value !== text(row, i));
    said.textContent = words.shown.replace("{n}", rows.filter(row => !row.hidden).length).replace("{of}", rows.length);
  }

  heads.forEach((head, i) => {
    const button = document.createElement("button"), numeric = head.classList.contains("num");
    button.type = "button";
    const sign = document.createElement("span");
    sign.className = "lr-sign";
    button.append(...head.childNodes);
    button.firstChild.after(sign);
    head.append(button);
    button.addEventListener("click", () => {
      // Numbers begin with the largest, words with the first; a second click turns them round.
      const up = head.ariaSort ? head.ariaSort === "descending" : !numeric;
      for (const other of heads) other.removeAttribute("aria-sort");
      head.ariaSort = up ? "ascending" : "descending";
      const order = (a, b) => {
        if (!numeric) return (up ? 1 : -1) * text(a, i).localeCompare(text(b, i));
        const [x, y] = [number(a, i), number(b, i)];
        // What was not measured comes last either way.
        return isNaN(x) || isNaN(y) ? isNaN(x) - isNaN(y) : (up ? x - y : y - x);
      };
      body.append(...[...rows].sort(order));
    });
  });

  const bar = document.createElement("div");
  bar.className = "lr-filter";
  for (const {i, select} of choices) {
    const label = document.createElement("label");
    label.append(heads[i].firstChild.firstChild.textContent.trim() + " ", select);
    bar.append(label);
  }
  bar.append(said);
  box.prepend(bar);
  filter();
}
